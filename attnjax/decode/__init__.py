"""Decoding: from a step function to hypotheses, for any model.

A step is `step(carry, token[B]) -> carry, logits[B, V], weights[B, S]`. Parameters and
encoder memory are bound to it with `functools.partial`, so no decoder knows a model,
and beam search does not copy the memory for each hypothesis.

- `greedy`, `sample` and `beam_search` return `Hypotheses`. All of them accept limits on
  lengths, tokens to suppress, n-grams not to repeat and forced prefixes. A row's result
  never depends on the other rows, and one compiled program serves every batch of a
  shape.
- `score_sequences` returns the log-probabilities of given sequences: `SequenceScores`.
- `ensemble` combines the steps of several models into one step.
- `transducer_greedy` and `transducer_beam_search` decode a transducer, which has two
  cursors: `TransducerHypotheses`.
- `sample_strokes` draws lines of writing, point by point: `Strokes`.
- `ctc_greedy` decodes scores of frames by CTC.
- `keep_top_k`, `keep_top_p` and `keep_min_p` are logits processors for sampling.
"""

from attnjax.decode.beam import beam_search
from attnjax.decode.contract import Hypotheses, Step
from attnjax.decode.ctc_greedy import ctc_greedy
from attnjax.decode.ensemble import ensemble
from attnjax.decode.logits_processors import keep_min_p, keep_top_k, keep_top_p
from attnjax.decode.sequence_scores import SequenceScores, score_sequences
from attnjax.decode.single import greedy, sample
from attnjax.decode.strokes import Strokes, sample_strokes
from attnjax.decode.transducer import TransducerHypotheses
from attnjax.decode.transducer_beam import transducer_beam_search
from attnjax.decode.transducer_greedy import transducer_greedy

__all__ = [
    "Hypotheses",
    "SequenceScores",
    "Step",
    "Strokes",
    "TransducerHypotheses",
    "beam_search",
    "ctc_greedy",
    "ensemble",
    "greedy",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "sample",
    "sample_strokes",
    "score_sequences",
    "transducer_beam_search",
    "transducer_greedy",
]
