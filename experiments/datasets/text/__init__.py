"""Plain text for language models: data sets, token files, and windows of tokens.

Sentence pairs are in `pairs`; vocabularies are in `tokenizers`, which knows neither.
"""
