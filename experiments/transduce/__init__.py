"""Readings of words, letters to phones: a transducer, and RNNSearch beside it.

`task.py` is what is trained; the loop and its wiring are in `experiments.training`.
"""
