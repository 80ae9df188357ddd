"""Attention: score -> weights -> context.

`attend` is attention for one query. Targets, heads and batch are `jax.vmap` around
it; `attend_heads` nests these vmaps once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attnjax.core import context as contexts
from attnjax.core import precision, scores, weights
from attnjax.core._checks import shaped

Score = Callable[[Array, Array], Array]
Weighting = Callable[[Array, Array | None], Array]


class Memory(NamedTuple):
    """What a query may attend to; fixed while a sequence is decoded."""

    keys: Float[Array, "... S C"]
    values: Float[Array, "... S E"]
    mask: Bool[Array, "... S"]


class Attended(NamedTuple):
    """A context, and the weights that it was computed with."""

    context: Float[Array, "... E"]
    weights: Float[Array, "... S"]


@shaped
def attend(
    query: Float[Array, "D"],
    keys: Float[Array, "S C"],
    values: Float[Array, "S E"],
    mask: Bool[Array, "S"] | None = None,
    *,
    bias: Float[Array, "S"] | None = None,
    score: Score = scores.scaled_dot,
    weighting: Weighting = weights.masked_softmax,
) -> Attended:
    r"""Attends to values with the weights that a query gives to their keys.

    .. math:: c = \sum_j a_j h_j, \qquad a = \mathrm{weighting}(\mathrm{score}(q, k))

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), eqs. 5 and 6.

    Args:
      query: shape [D].
      keys: shape [S, C]; the score decides which C fits D.
      values: shape [S, E].
      mask: True = attend, shape [S]; None attends everywhere.
      bias: added to the scores, shape [S].
      score: maps query and keys to scores [S].
      weighting: maps scores and mask to weights [S].

    Returns:
      The context [E], in the promoted dtype of the inputs, and the weights [S].
      With nothing to attend to, both are 0.

    Raises:
      ValueError: if shapes disagree.
      TypeError: if `mask` is not boolean.

    Example:
      >>> attend(jnp.ones(2), jnp.ones((2, 2)), jnp.array([[1.0], [3.0]])).context
      Array([2.], dtype=float32)
    """
    scored = score(query, keys)
    if bias is not None:
        dtype = precision.promoted(scored, bias)
        scored = scored.astype(dtype) + bias.astype(dtype)
    normalised = weighting(scored, mask)
    return Attended(contexts.read(normalised, values), normalised)


@shaped
def attend_heads(
    query: Float[Array, "B T H D"],
    keys: Float[Array, "B S N C"],
    values: Float[Array, "B S N E"],
    mask: Bool[Array, "..."] | None = None,
    *,
    bias: Float[Array, "..."] | None = None,
    score: Callable[..., Array] = scores.scaled_dot,
    score_params: Any = None,
    weighting: Weighting = weights.masked_softmax,
) -> Attended:
    """Attends for every head and target of a batch.

    The axes are those of `jax.nn.dot_product_attention`. With N key heads for H
    query heads, query heads h*G .. h*G + G - 1 share key head h, G = H / N. To use
    it inside `nnx.MultiHeadAttention`, see `attention_fn`.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.2; grouped heads:
    Ainslie et al. 2023 (arXiv:2305.13245).

    Args:
      query: shape [B, T, H, D].
      keys: shape [B, S, N, C].
      values: shape [B, S, N, E].
      mask: True = attend, broadcastable to [B, H, T, S]; None attends everywhere.
      bias: added to the scores, broadcastable to [B, H, T, S].
      score: maps one query and its keys to scores [S].
      score_params: parameters of each head's score, leaves [H, ...]; where given,
        the score is called as `score(params, query, keys)`.
      weighting: maps scores and mask to weights [S].

    Returns:
      Contexts [B, T, H, E] and weights [B, H, T, S].

    Raises:
      ValueError: if shapes disagree, or H is not a multiple of N.
      TypeError: if `mask` is not boolean.

    Example:
      >>> x = jnp.ones((1, 2, 4, 3))
      >>> attend_heads(x, x[:, :, :2], x[:, :, :2]).weights.shape
      (1, 4, 2, 2)
    """
    B, T, H, _ = query.shape
    S, N = keys.shape[1:3]
    if H % N:
        raise ValueError(
            f"query: expected a number of heads that is a multiple of the {N} key "
            f"heads, got {H} (each key head serves H / N query heads)"
        )
    G = H // N
    wanted = (B, H, T, S)
    mask, mask_axes = _mapped("mask", mask, wanted, N)
    bias, bias_axes = _mapped("bias", bias, wanted, N)

    def one(
        p: Any, q: Array, k: Array, v: Array, m: Array | None, b: Array | None
    ) -> Attended:
        bound = score if score_params is None else partial(score, p)
        return attend(q, k, v, m, bias=b, score=bound, weighting=weighting)

    def over(axis: str, function: Any, axes: tuple[Any, ...], out: Any = 0) -> Any:
        return jax.vmap(function, (*axes, mask_axes[axis], bias_axes[axis]), out)

    by_axis = Attended(1, 0)  # type: ignore[arg-type]  # axes, not arrays
    each = over("T", one, (None, 0, None, None))
    if G > 1:
        query = query.reshape(B, T, N, G, -1)  # [B, T, H, D] -> [B, T, N, G, D]
        score_params = jax.tree.map(
            lambda p: p.reshape(N, G, *p.shape[1:]),  # [H, ...] -> [N, G, ...]
            score_params,
        )
        each = over("G", each, (0, 1, None, None), by_axis)
    each = over("N", each, (0, 1, 1, 1), by_axis)
    each = over("B", each, (None, 0, 0, 0))
    found = each(score_params, query, keys, values, mask, bias)
    return Attended(
        found.context.reshape(B, T, H, -1),  # [B, T, N, G, E] -> [B, T, H, E]
        found.weights.reshape(wanted),  # [B, N, G, T, S] -> [B, H, T, S]
    )


def attention_fn(
    *, score: Score = scores.scaled_dot, weighting: Weighting = weights.masked_softmax
) -> Callable[..., Array]:
    """Makes an `attention_fn` for `flax.nnx.MultiHeadAttention`.

    It returns contexts only, as flax expects; use `attend_heads` for the weights.
    Dropout on weights is not supported.

    Args:
      score: maps one query and its keys to scores [S].
      weighting: maps scores and mask to weights [S].

    Returns:
      A function of (query, key, value, mask=None, bias=None, ...) that gives
      contexts [B, T, H, E].

    Raises (when called):
      ValueError: if the dropout rate is not 0.

    Example:
      >>> x = jnp.ones((1, 2, 4, 3))
      >>> attention_fn()(x, x, x).shape
      (1, 2, 4, 3)
    """

    def attention(
        query: Array,
        key: Array,
        value: Array,
        mask: Array | None = None,
        bias: Array | None = None,
        dropout_rate: float = 0.0,
        deterministic: bool = False,
        **_: object,
    ) -> Array:
        if dropout_rate and not deterministic:
            raise ValueError(
                f"dropout_rate: expected 0, got {dropout_rate} (apply dropout to "
                "the module's inputs or outputs)"
            )
        if mask is not None and mask.dtype != bool:
            mask = mask > 0  # flax's mask helpers return float masks of 0 and 1
        return attend_heads(
            query, key, value, mask, bias=bias, score=score, weighting=weighting
        ).context

    return attention


def _mapped(
    name: str, x: Array | None, wanted: tuple[int, ...], N: int
) -> tuple[Array | None, dict[str, int | None]]:
    """Squeezes axes of size 1, and gives the vmap axis (0 or None) of B, N, G and T.

    So a mask shared by heads or targets is not repeated for each of them.
    """
    if x is None:
        return None, dict.fromkeys("BNGT")
    _, H, _, S = wanted
    try:
        jax.eval_shape(lambda x: jnp.broadcast_to(x, wanted), x)
    except ValueError:
        raise ValueError(
            f"{name}: expected a shape that broadcasts to [B, H, T, S] = "
            f"{list(wanted)}, got {list(x.shape)} (put 1 where an axis is shared)"
        ) from None
    b, h, t, s = (1,) * (4 - x.ndim) + x.shape
    N, G = (1, 1) if h == 1 else (N, H // N)
    sizes = {"B": b, "N": N, "G": G, "T": t}
    kept = [size for size in sizes.values() if size != 1]
    axes = {axis: None if size == 1 else 0 for axis, size in sizes.items()}
    # [B or 1, H or 1, T or 1, S] -> [B, N, G, T, S] without the axes of size 1
    return jnp.broadcast_to(x.reshape(*kept, s), (*kept, S)), axes
