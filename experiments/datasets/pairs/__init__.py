"""Sentence pairs: their data set interface, token ids, buckets and padded batches.

Plain text for language models is in `text`, vocabularies are in `tokenizers`, and
each data set of pairs is in a folder beside this one.
"""
