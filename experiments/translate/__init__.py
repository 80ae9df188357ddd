"""Translation: train, evaluate and use the encoder-decoder models of the lineage.

`task.py` is what is trained; the loop and its wiring are in `experiments.training`.
"""
