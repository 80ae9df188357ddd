"""Handwriting: pen points predicted, and texts written through a soft window.

`task.py` is what is trained; the loop and its wiring are in `experiments.training`.
"""
