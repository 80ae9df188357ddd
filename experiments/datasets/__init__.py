"""Data sets, tokenisers and batches: whatever lies between raw text and token ids.

A folder per data set (`cldr`, `multi30k`, `parallel_text`); `pairs` and `text` hold
what data sets of one kind share. Nothing here knows a model, a loss or a run.
"""
