"""Decoding: from a step function to hypotheses, whatever the model.

A step is `step(carry, token[B]) -> carry, logits[B, V], weights[B, S]`. What it
reads besides (parameters, memory) is bound to it by `functools.partial`, so no
model is named here and the memory of a beam is never copied per hypothesis.
"""

from attnjax.decode.beam_search import beam
from attnjax.decode.contract import Hypotheses, Step
from attnjax.decode.single import greedy, sample

__all__ = ["Hypotheses", "Step", "beam", "greedy", "sample"]
