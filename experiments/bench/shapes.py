"""Named shapes of the benchmarks, in the letters of the glossary."""

from typing import NamedTuple


class RecurrentSpec(NamedTuple):
    """Sizes of a cell that is scanned over time."""

    B: int
    T: int
    M: int  # input width
    D: int  # state width


class StackSpec(NamedTuple):
    """Sizes of a deep stack with skip connections."""

    B: int
    T: int
    M: int  # input width
    D: int  # width of each layer
    L: int  # layers


class DecoderSpec(NamedTuple):
    """Sizes of an RNNSearch decoder, with the letters of Bahdanau et al. 2015."""

    B: int
    S: int
    T: int
    D: int  # n, state width
    M: int  # m, embedding width
    E: int  # 2n, value width: both directions of the encoder
    A: int  # n', width of the additive score
    L: int  # l, readout width, after maxout
    V: int  # K_x = K_y, size of both vocabularies


class BatchSpec(NamedTuple):
    """Shape of a training batch, and how much of it is padding."""

    B: int
    S: int
    T: int
    batches: int  # number of such batches in an epoch
    source_tokens: int  # mean number per batch, without padding
    target_tokens: int  # likewise


RECURRENT_512 = RecurrentSpec(B=64, T=24, M=512, D=512)
# Handwriting prediction of Graves 2013 (arXiv:1308.0850), section 4.
HANDWRITING_STACK = StackSpec(B=32, T=300, M=3, D=400, L=3)
# RNNSearch on Multi30k: batches of 2,048 target positions, 14 tokens per sentence.
MULTI30K_DECODER = DecoderSpec(
    B=146, S=14, T=14, D=512, M=256, E=1024, A=512, L=256, V=8000
)
MULTI30K_RECURRENT = RecurrentSpec(B=146, T=14, M=256, D=512)
# The 8 bucket shapes of Multi30k's 29,000 training pairs, with a joint vocabulary of
# 8,000 pieces and at most 2,048 positions per side.
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
# Distinct primes, so that a transposed axis always fails; the tests use them too.
TINY_RECURRENT = RecurrentSpec(B=3, T=7, M=5, D=11)
TINY_STACK = StackSpec(B=3, T=7, M=5, D=11, L=2)
# Small enough for finite differences over every parameter.
TINY_DECODER = DecoderSpec(B=2, S=5, T=4, D=3, M=5, E=6, A=7, L=2, V=11)
TINY_BATCHES = (
    BatchSpec(B=3, S=7, T=5, batches=2, source_tokens=17, target_tokens=13),
    BatchSpec(B=2, S=11, T=13, batches=1, source_tokens=19, target_tokens=23),
)
