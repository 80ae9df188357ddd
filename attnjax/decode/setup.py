"""The arguments that all decoders share: their groups and their checks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from attnjax.core._checks import check_ids, static_int
from attnjax.decode.arguments import int32_array, row_limits
from attnjax.decode.constraints import ForcedPrefix, SpecialTokens, TokenConstraints
from attnjax.decode.contract import Step, step_output_shapes


class LengthArguments(NamedTuple):
    """The arguments that limit lengths."""

    max_length: int | Int[Array, "B"]
    max_decode_length: int | None
    min_length: int


class ConstraintArguments(NamedTuple):
    """The arguments that restrict which tokens a hypothesis may hold."""

    suppress_tokens: Sequence[int]
    no_repeat_ngram_size: int
    prefix: Int[Array, "B P"] | None
    prefix_lengths: Int[Array, "B"] | None


class DecodeSetup(NamedTuple):
    """Checked arguments of a decoder: static sizes, dtypes and token constraints."""

    constraints: TokenConstraints
    max_decode_length: int  # T, the axis of positions
    vocab_size: int
    dtype: Any  # of log-probabilities: at least float32
    weights: jax.ShapeDtypeStruct  # [B, S], at least float32


def set_up(
    step: Step,
    carry: Any,
    batch_size: int,
    tokens: SpecialTokens,
    lengths: LengthArguments,
    constraints: ConstraintArguments,
) -> DecodeSetup:
    """Checks the arguments that all decoders share; `step` is traced, not run."""
    B = static_int("batch_size", batch_size, 1)
    logits, weights = step_output_shapes(step, carry, B)
    V = logits.shape[1]
    max_lengths, T = row_limits(
        "max_length", lengths.max_length, lengths.max_decode_length, B
    )
    min_length = static_int(
        "min_length", lengths.min_length, 0, T, "the longest hypothesis"
    )
    named = tokens._asdict().items()
    tokens = SpecialTokens(
        *(static_int(name, i, 0, V - 1, "the last id") for name, i in named)
    )
    n = static_int("no_repeat_ngram_size", constraints.no_repeat_ngram_size, 0)
    return DecodeSetup(
        constraints=TokenConstraints(
            tokens=tokens,
            suppressed=_suppressed(constraints.suppress_tokens, tokens, V),
            max_lengths=max_lengths,
            min_length=min_length,
            # T tokens hold one n-gram of size T: nothing can repeat.
            no_repeat_ngram_size=n if n < T else 0,
            prefix=_prefix(constraints.prefix, constraints.prefix_lengths, B, V),
        ),
        max_decode_length=T,
        vocab_size=V,
        dtype=logits.dtype,
        weights=weights,
    )


def _suppressed(
    suppress_tokens: Sequence[int], tokens: SpecialTokens, V: int
) -> np.ndarray:
    """Returns a mask [V], True = never generated; EOS is never among them."""
    suppressed = np.zeros(V, bool)
    for i in suppress_tokens:
        suppressed[static_int("suppress_tokens", i, 0, V - 1, "the last id")] = True
    if suppressed[tokens.eos]:
        raise ValueError(
            f"suppress_tokens: expected ids other than eos, got {tokens.eos} "
            "(a hypothesis could not end; raise min_length to delay its end)"
        )
    suppressed[[tokens.bos, tokens.pad]] = True
    suppressed[tokens.eos] = False  # some vocabularies have one id for bos, eos and pad
    return suppressed


def _prefix(prefix: Any, lengths: Any, B: int, V: int) -> ForcedPrefix | None:
    if prefix is None:
        if lengths is not None:
            raise ValueError(
                "prefix: expected the tokens that prefix_lengths counts, got None "
                "(shape [B, P], padded to the longest)"
            )
        return None
    if lengths is None:
        check_ids("prefix", prefix, V)
    prefix = int32_array("prefix", prefix, (B, "P"), "how each row begins, without bos")
    P = prefix.shape[1]
    if lengths is None:
        lengths = jnp.full(B, P, jnp.int32)
    else:
        hint = "tokens of each row's prefix"
        lengths = int32_array("prefix_lengths", lengths, (B,), hint)
    return ForcedPrefix(prefix, jnp.minimum(lengths, P)) if P else None
