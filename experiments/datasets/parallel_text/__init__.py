"""Parallel text of your own: two line-aligned files, or one of two columns."""
