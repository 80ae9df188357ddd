"""Forced decoding: the log-probabilities of given sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attnjax.decode.arguments import as_int_array, check_int
from attnjax.decode.contract import Step, log_normaliser, step_shapes


class SequenceScores(NamedTuple):
    """Log-probabilities of one given sequence per row."""

    log_probs: Float[Array, "B"]  # of the whole sequence, nats
    token_log_probs: Float[Array, "B T"]  # of each token, 0 after EOS
    lengths: Int[Array, "B"]  # tokens, EOS among them
    weights: Float[Array, "B T S"]  # alignment; zero after EOS


def score_sequences(
    step: Step, carry: Any, tokens: Int[Array, "B T"], *, bos: int, eos: int
) -> SequenceScores:
    """Computes the log-probabilities of given sequences, token by token.

    .. math:: \\log p(y) = \\sum_t \\log p(y_t \\mid y_1 \\ldots y_{t-1})

    A sequence ends with the first EOS of its row; the rest is padding. A row without
    EOS is no sequence: its length is 0 and its log-probability -inf, as in an empty
    entry of `Hypotheses`. To score all hypotheses of a beam, map over their axis:
    `jax.vmap(partial(score_sequences, step, carry, bos=1, eos=2), 1, 1)(tokens)`.

    Args:
      step: `(carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      carry: the carry of the first step; every leaf has a leading axis B.
      tokens: ids without BOS, shape [B, T]. One outside the vocabulary has
        probability 0.
      bos: id fed to the first step.
      eos: id that ends a sequence.

    Returns:
      Log-probabilities, lengths and alignments, in at least float32.

    Raises:
      ValueError: if a shape, an id or what `step` returns does not fit.
      TypeError: if an id is no int.

    Example:
      >>> table = jnp.log(jnp.array([[0, 0, 1, 9], [0, 0, 2, 8], [0, 0, 1, 0],
      ...                            [0, 0, 7, 3]]) / 10)
      >>> step = lambda carry, token: (carry, table[token], jnp.zeros((1, 1)))
      >>> scored = score_sequences(step, (), jnp.array([[3, 2, 0]]), bos=1, eos=2)
      >>> jnp.exp(scored.token_log_probs)
      Array([[0.8, 0.7, 1. ]], dtype=float32)
    """
    tokens = as_int_array("tokens", tokens, ("B", "T"), "one sequence for each row")
    B, T = tokens.shape
    logits, weights = step_shapes(step, carry, B)
    V = logits.shape[1]
    bos = check_int("bos", bos, 0, V - 1, "the last id")
    eos = check_int("eos", eos, 0, V - 1, "the last id")

    def advance(carry: Any, now: tuple[Array, Array]) -> tuple[Any, Any]:
        previous, token = now
        carry, given, read = step(carry, previous)
        given = given.astype(logits.dtype)
        chosen = jnp.take_along_axis(given, token[:, None], axis=1, mode="clip")[:, 0]
        gain = jnp.where((token >= 0) & (token < V), chosen, -jnp.inf)
        return carry, (gain - log_normaliser(given), read.astype(weights.dtype))

    before = jnp.concatenate([jnp.full((B, 1), bos, jnp.int32), tokens], axis=1)[:, :T]
    carry = jax.tree.map(jnp.asarray, carry)
    _, (gains, weights_by_time) = lax.scan(advance, carry, (before.T, tokens.T))
    ends = (tokens == eos).astype(jnp.int32)
    some = jnp.any(ends == 1, axis=1)
    # Within are the tokens of such a row that have no EOS before them.
    within = some[:, None] & (jnp.cumsum(ends, axis=1) == ends)
    gains = jnp.where(within, gains.T, 0)
    return SequenceScores(
        log_probs=jnp.where(some, gains.sum(axis=1), -jnp.inf),
        token_log_probs=gains,
        lengths=jnp.sum(within, axis=1, dtype=jnp.int32),
        weights=jnp.where(within[..., None], weights_by_time.swapaxes(0, 1), 0),
    )
