"""Parallel text of your own: two line-aligned files, or one of two columns.

Decoding lines and reporting invalid ones is in `text_files`, which others use too.
"""
