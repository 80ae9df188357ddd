"""Running text: data sets, token files on disk, and windows of tokens.

Sentence pairs are in `pairs`; vocabularies are in `tokenizers`.
"""
