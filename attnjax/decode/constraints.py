"""Token constraints: lengths, suppressed tokens, forced prefixes, repeated n-grams.

One logits processor for what Hugging Face spreads over several: `MinLength`,
`ForcedEOSToken`, `SuppressTokens`, `NoRepeatNGram` and `PrefixConstrained`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int


class SpecialTokens(NamedTuple):
    """The ids with a meaning."""

    bos: int
    eos: int
    pad: int


class ForcedPrefix(NamedTuple):
    """The tokens that every hypothesis of a row begins with."""

    tokens: Int[Array, "B P"]
    lengths: Int[Array, "B"]


class TokenConstraints(NamedTuple):
    """Which tokens are allowed at which position, as a logits processor."""

    tokens: SpecialTokens
    suppressed: np.ndarray  # [V], True = never generated
    max_lengths: Int[Array, "B"]  # tokens of each row, including EOS
    min_length: int
    no_repeat_ngram_size: int  # 0 for no constraint
    prefix: ForcedPrefix | None

    def mask_logits(
        self,
        logits: Float[Array, "B ... V"],
        t: Int[Array, ""],
        generated: Int[Array, "B ... T"] | None,
    ) -> Float[Array, "B ... V"]:
        """Returns the logits with -inf at tokens that are not allowed at position t.

        Positions count from 0. `generated` holds the tokens before t; None where
        no_repeat_ngram_size is 0.
        """
        beam = tuple(range(1, logits.ndim - 1))
        allowed = jnp.expand_dims(self._allowed(t), beam)  # [B, V] -> [B, ..., V]
        masked = jnp.where(allowed, logits, -jnp.inf)
        if generated is None:
            return masked
        unrepeated = mask_repeated_ngrams(
            masked, generated, t, self.no_repeat_ngram_size
        )
        if self.prefix is None:
            return unrepeated
        # A forced prefix may repeat n-grams.
        forced = t < self.prefix.lengths
        forced = jnp.expand_dims(forced, (*beam, logits.ndim - 1))  # -> [B, ..., 1]
        return jnp.where(forced, masked, unrepeated)

    def _allowed(self, t: Int[Array, ""]) -> Bool[Array, "B V"]:
        """Returns which tokens are allowed at position t after any tokens."""
        last = (t + 1 >= self.max_lengths)[:, None]  # only EOS still fits
        vocabulary = np.arange(self.suppressed.size, dtype=np.int32)
        is_eos = vocabulary == self.tokens.eos
        may_end = last | (t + 1 >= self.min_length)
        free = jnp.where(is_eos, may_end, ~self.suppressed & ~last)
        if self.prefix is None:
            return free
        tokens = lax.dynamic_index_in_dim(self.prefix.tokens, t, axis=1)  # [B, 1]
        forced = (t < self.prefix.lengths)[:, None]
        return jnp.where(forced, (vocabulary == tokens) & (is_eos | ~last), free)


def mask_repeated_ngrams(
    logits: Float[Array, "... V"],
    tokens: Int[Array, "... T"],
    t: Int[Array, ""],
    n: int,
) -> Float[Array, "... V"]:
    """Returns the logits with -inf at tokens that would repeat an n-gram.

    Args:
      logits: of the token at position t.
      tokens: the tokens before position t; later entries are ignored.
      t: position, from 0.
      n: size of the n-grams, below T.

    Example:
      >>> tokens = jnp.array([3, 4, 3, 0])
      >>> mask_repeated_ngrams(jnp.zeros(5), tokens, jnp.array(3), 2).tolist()
      [0.0, 0.0, 0.0, 0.0, -inf]
    """
    *lead, T = tokens.shape
    starts = T - n + 1
    # An earlier n-gram matches if its first n - 1 tokens are the last n - 1 tokens.
    matches = jnp.arange(starts, dtype=t.dtype) + n <= t
    for i in range(n - 1):
        last = lax.dynamic_index_in_dim(tokens, t - (n - 1) + i, axis=-1)
        matches = matches & (tokens[..., i : i + starts] == last)
    rows, V = int(np.prod(lead)), logits.shape[-1]
    ends = tokens[..., n - 1 :].reshape(rows, starts)  # [..., starts] -> [N, starts]
    bound = jnp.where(jnp.broadcast_to(matches, (*lead, starts)), -jnp.inf, jnp.inf)
    bound = bound.reshape(rows, starts)  # [..., starts] -> [N, starts]
    flat = logits.reshape(rows, V)  # [..., V] -> [N, V]
    # A scatter-min: several n-grams may end in one token, and one match is enough.
    flat = flat.at[jnp.arange(rows)[:, None], ends].min(
        bound.astype(flat.dtype), mode="promise_in_bounds"
    )
    return flat.reshape(logits.shape)  # [N, V] -> [..., V]
