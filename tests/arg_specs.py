"""Named shapes of the tests: distinct primes. Some are shared with the benchmarks."""

from typing import NamedTuple

from experiments.bench.shapes import TINY_DECODER, TINY_RECURRENT

__all__ = ["ATTENTION", "TINY_DECODER", "TINY_RECURRENT", "AttentionSpec"]


class AttentionSpec(NamedTuple):
    """Sizes of one attention call, in the house's letters."""

    B: int  # batch
    T: int  # queries
    S: int  # keys
    H: int  # heads
    D: int  # query and key width
    E: int  # value width


# A transposed axis cannot pass by luck.
ATTENTION = AttentionSpec(B=2, T=5, S=7, H=3, D=11, E=13)
