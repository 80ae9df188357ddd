"""Named shapes: the tests' (distinct primes) and the benchmarks' (real models)."""

from typing import NamedTuple


class AttentionSpec(NamedTuple):
    """Sizes of one attention call, in the house's letters."""

    B: int  # batch
    T: int  # queries
    S: int  # keys
    H: int  # heads
    D: int  # query and key width
    E: int  # value width


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


# A transposed axis cannot pass by luck.
ATTENTION = AttentionSpec(B=2, T=5, S=7, H=3, D=11, E=13)
RECURRENT = RecurrentSpec(B=3, T=7, M=5, D=11)
DECODER = DecoderSpec(B=3, S=7, T=5, D=11, M=13, E=22, A=17, L=19, V=23)
# Small enough for finite differences over every parameter.
TINY_DECODER = DecoderSpec(B=2, S=5, T=4, D=3, M=5, E=6, A=7, L=2, V=11)

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
