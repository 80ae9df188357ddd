"""Named sizes of what is timed: real models, in the house's letters."""

from typing import NamedTuple


class RecurrentSpec(NamedTuple):
    """Sizes of one cell scanned over time."""

    B: int
    T: int
    M: int  # input width
    D: int  # state width


class DecoderSpec(NamedTuple):
    """Sizes of an RNNSearch decoder; Bahdanau's letters beside ours."""

    B: int
    S: int
    T: int
    D: int  # n, state width
    M: int  # m, embedding width
    E: int  # 2n, width of an annotation: two directions
    A: int  # n', width of the alignment network
    L: int  # l, width after maxout
    V: int  # K_x = K_y, both vocabularies


class BatchSpec(NamedTuple):
    """One shape of training batches, and what fills it."""

    B: int
    S: int
    T: int
    batches: int  # in an epoch
    source_tokens: int  # real ones, mean of a batch
    target_tokens: int


WIDE_RECURRENT = RecurrentSpec(B=64, T=24, M=512, D=512)
# RNNSearch on Multi30k: 2,048 target tokens a batch, 14 a sentence.
MULTI30K_DECODER = DecoderSpec(
    B=146, S=14, T=14, D=512, M=256, E=1024, A=512, L=256, V=8000
)
MULTI30K_RECURRENT = RecurrentSpec(B=146, T=14, M=256, D=512)
# Bahdanau, Cho & Bengio 2015, appendix A.2.3; batches of 80, up to 50 words.
PAPER_DECODER = DecoderSpec(
    B=80, S=50, T=50, D=1000, M=620, E=2000, A=1000, L=500, V=30_000
)
PAPER_RECURRENT = RecurrentSpec(B=80, T=50, M=620, D=1000)
# The 8 shapes of Multi30k's 29,000 training pairs (joint vocabulary of 8,000 pieces, at
# most 2,048 positions a side), as `TokenBatches` fills them.
MULTI30K_BATCHES = (
    BatchSpec(B=204, S=10, T=10, batches=10, source_tokens=1854, target_tokens=1780),
    BatchSpec(B=170, S=12, T=12, batches=21, source_tokens=1884, target_tokens=1842),
    BatchSpec(B=146, S=14, T=14, batches=33, source_tokens=1860, target_tokens=1854),
    BatchSpec(B=120, S=16, T=17, batches=50, source_tokens=1726, target_tokens=1799),
    BatchSpec(B=102, S=19, T=20, batches=53, source_tokens=1714, target_tokens=1770),
    BatchSpec(B=81, S=24, T=25, batches=57, source_tokens=1627, target_tokens=1714),
    BatchSpec(B=60, S=31, T=34, batches=36, source_tokens=1446, target_tokens=1588),
    BatchSpec(B=36, S=53, T=56, batches=11, source_tokens=1160, target_tokens=1255),
)
# Distinct primes, so that a transposed axis cannot pass by luck; the tests' sizes too.
TINY_RECURRENT = RecurrentSpec(B=3, T=7, M=5, D=11)
# Small enough for finite differences over every parameter.
TINY_DECODER = DecoderSpec(B=2, S=5, T=4, D=3, M=5, E=6, A=7, L=2, V=11)
TINY_BATCHES = (
    BatchSpec(B=3, S=7, T=5, batches=2, source_tokens=17, target_tokens=13),
    BatchSpec(B=2, S=11, T=13, batches=1, source_tokens=19, target_tokens=23),
)
