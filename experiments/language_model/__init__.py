"""Language models: train a GPT on text, evaluate it, sample from it.

`task.py` is what is trained; the loop and its wiring are in `experiments.training`.
"""
