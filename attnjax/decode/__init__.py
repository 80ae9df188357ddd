"""Decoding: from a step function to hypotheses, whatever the model.

A step is `step(carry, token[B]) -> carry, logits[B, V], weights[B, S]`. Its parameters
and memory are bound with `functools.partial`, so no model is named here, and the memory
is not copied for each hypothesis of a beam.

- `greedy`, `sample` and `beam_search` return `Hypotheses`. All take bounds on lengths,
  tokens to suppress, n-grams not to repeat and prefixes to begin with. A row's result
  does not depend on other rows, and one compiled program serves every batch of a shape.
- `score_sequences` returns the log-probabilities of given sequences: `SequenceScores`.
- `ensemble` makes one step of the steps of several models.
- `keep_top_k`, `keep_top_p` and `keep_min_p` are the logits processors of `sample`.
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
