"""Memory networks on bAbI and on a simulated world: train, evaluate, ask.

`task.py` is what is trained; the loop and its wiring are in `experiments.training`.
"""
