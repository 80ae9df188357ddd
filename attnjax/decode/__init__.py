"""Decoding: from a step function to hypotheses, whatever the model.

A step is `step(carry, token[B]) -> carry, logits[B, V], weights[B, S]`. What it
reads besides (parameters, memory) is bound to it by `functools.partial`, so no
model is named here and the memory of a beam is never copied per hypothesis.

- `greedy`, `sample` and `beam_search` give `Hypotheses`. All take bounds on lengths, ids
  to suppress_tokens, n-grams not to repeat and prefixes to begin with; what a row gets never
  depends on the other rows, and one compiled program serves every batch of a shape.
- `score_sequences` gives what a model thinks of given sequences: `SequenceScores`.
- `ensemble` makes one step of the steps of several models.
- `keep_top_k`, `keep_top_p` and `keep_min_p` choose what `sample` draws from.
"""

from attnjax.decode.beam import beam_search
from attnjax.decode.contract import Hypotheses, Step
from attnjax.decode.ensemble import ensemble
from attnjax.decode.logits_processors import keep_min_p, keep_top_k, keep_top_p
from attnjax.decode.sequence_scores import SequenceScores, score_sequences
from attnjax.decode.single import greedy, sample

__all__ = [
    "Hypotheses",
    "SequenceScores",
    "Step",
    "beam_search",
    "ensemble",
    "greedy",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "sample",
    "score_sequences",
]
