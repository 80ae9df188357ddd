"""Multi30k, task 1: image captions in English, German, French and Czech.

The files are downloaded, or read from a folder. Batching and tokenising are in `pairs`.
"""
