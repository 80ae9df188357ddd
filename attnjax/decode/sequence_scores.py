"""Forced decoding: log-probabilities of given sequences under a model."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.core._checks import broadcasting, static_int
from attnjax.decode.arguments import int32_array
from attnjax.decode.contract import Step, log_normaliser, step_output_shapes


class SequenceScores(NamedTuple):
    """Log-probabilities and alignments of given sequences, one for each row."""

    log_probs: Float[Array, "B"]  # of the whole sequence, nats
    token_log_probs: Float[Array, "B T"]  # of each token, 0 after EOS
    lengths: Int[Array, "B"]  # tokens, including EOS
    weights: Float[Array, "B T S"]  # alignment; zero after EOS


@broadcasting
def score_sequences(
    step: Step, carry: Any, tokens: Int[Array, "B T"], *, bos: int, eos: int
) -> SequenceScores:
    """Computes the log-probabilities of given sequences, token by token.

    .. math:: \\log p(y) = \\sum_t \\log p(y_t \\mid y_1 \\ldots y_{t-1})

    A sequence ends with the first EOS of its row; later tokens are ignored as padding.
    A row without EOS has length 0 and log-probability -inf, like an empty slot of
    `Hypotheses`. For the hypotheses of a beam, map over the second axis of `tokens`:
    `jax.vmap(lambda y: score_sequences(step, carry, y, bos=1, eos=2), 1, 1)(tokens)`.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: the carry of the first step; every leaf has a leading axis B.
      tokens: ids without BOS, shape [B, T]. An id outside the vocabulary has
        probability 0.
      bos: id fed to the first step.
      eos: id that ends a sequence.

    Returns:
      SequenceScores, in at least float32.

    Raises:
      ValueError: if a shape, an id or an output of `step` is invalid.
      TypeError: if `bos` or `eos` is not an int, or `tokens` does not hold ints.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> scored = score_sequences(step, (), jnp.array([[3, 2, 0]]), bos=1, eos=2)
      >>> jnp.exp(scored.token_log_probs)
      Array([[0.8, 0.7, 1. ]], dtype=float32)
    """
    tokens = int32_array("tokens", tokens, ("B", "T"), "one sequence for each row")
    B, T = tokens.shape
    logits, weights = step_output_shapes(step, carry, B)
    V = logits.shape[1]
    bos = static_int("bos", bos, 0, V - 1, "the last id")
    eos = static_int("eos", eos, 0, V - 1, "the last id")

    def advance(carry: Any, pair: tuple[Array, Array]) -> tuple[Any, Any]:
        previous, token = pair
        carry, step_logits, step_weights = step(carry, previous)
        step_logits = step_logits.astype(logits.dtype)
        # An id outside the vocabulary is clipped here and masked below.
        chosen = jnp.take_along_axis(step_logits, token[:, None], axis=1, mode="clip")
        chosen = jnp.where((token >= 0) & (token < V), chosen[:, 0], -jnp.inf)
        log_prob = chosen - log_normaliser(step_logits)
        return carry, (log_prob, step_weights.astype(weights.dtype))

    first = jnp.full((B, 1), bos, jnp.int32)
    previous = jnp.concatenate([first, tokens], axis=1)[:, :T]
    carry = jax.tree.map(jnp.asarray, carry)
    # [B, T] -> [T, B]: `scan` runs over positions.
    _, (log_probs, all_weights) = lax.scan(advance, carry, (previous.T, tokens.T))
    ends = (tokens == eos).astype(jnp.int32)
    complete = jnp.any(ends == 1, axis=1)
    # Up to the first EOS, the running count of EOS equals the indicator of EOS.
    counted = complete[:, None] & (jnp.cumsum(ends, axis=1) == ends)
    token_log_probs = jnp.where(counted, log_probs.T, 0)  # [T, B] -> [B, T]
    all_weights = all_weights.swapaxes(0, 1)  # [T, B, S] -> [B, T, S]
    return SequenceScores(
        log_probs=jnp.where(complete, token_log_probs.sum(axis=1), -jnp.inf),
        token_log_probs=token_log_probs,
        lengths=jnp.sum(counted, axis=1, dtype=jnp.int32),
        weights=jnp.where(counted[..., None], all_weights, 0),
    )
