"""Tokenisers: text to token ids and back, of single sentences and of running text.

They take plain strings. Data sets, padding and batches are in `pairs` and `text`.
"""
