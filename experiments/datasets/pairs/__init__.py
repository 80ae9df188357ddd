"""Sentence pairs: data sets, token ids, and batches of bucketed shapes.

Running text is in `text`; vocabularies are in `tokenizers`.
"""
