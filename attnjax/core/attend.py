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
    *,
    mask: Bool[Array, "S"] | None = None,
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
      bias: added to the scores, shape [S]; its dtype does not change the results'.
      score: maps query and keys to scores [S].
      weighting: maps scores and mask to weights [S].

    Returns:
      The context [E], in the promoted dtype of query, keys and values, and the
      weights [S], in that of query and keys. With nothing to attend to, both are 0.

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
    normalised = weighting(scored, mask).astype(precision.promoted(query, keys))
    return Attended(contexts.read(normalised, values), normalised)


@shaped
def attend_heads(
    query: Float[Array, "*B T H D"],
    keys: Float[Array, "*B S N C"],
    values: Float[Array, "*B S N E"],
    *,
    mask: Bool[Array, "..."] | None = None,
    bias: Float[Array, "..."] | None = None,
    score: Callable[..., Array] = scores.scaled_dot,
    score_params: Any = None,
    weighting: Weighting = weights.masked_softmax,
) -> Attended:
    """Attends for every head and target of a batch.

    The axes are those of `jax.nn.dot_product_attention`, with any number of leading
    axes, none included. With N key heads for H query heads, query heads h*G .. h*G +
    G - 1 share key head h, G = H / N. To use it inside `nnx.MultiHeadAttention`, see
    `attention_fn`.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.2; grouped heads:
    Ainslie et al. 2023 (arXiv:2305.13245).

    Args:
      query: shape [..., T, H, D].
      keys: shape [..., S, N, C].
      values: shape [..., S, N, E].
      mask: True = attend, broadcastable to [..., H, T, S]; None attends everywhere.
      bias: added to the scores, broadcastable to [..., H, T, S]; its dtype does not
        change the results'.
      score: maps one query and its keys to scores [S].
      score_params: parameters of each head's score, leaves [H, ...]; where given,
        the score is called as `score(params, query, keys)`.
      weighting: maps scores and mask to weights [S].

    Returns:
      Contexts [..., T, H, E] and weights [..., H, T, S].

    Raises:
      ValueError: if shapes disagree, or H is not a multiple of N.
      TypeError: if `mask` is not boolean.

    Example:
      >>> x = jnp.ones((1, 2, 4, 3))
      >>> attend_heads(x, x[:, :, :2], x[:, :, :2]).weights.shape
      (1, 4, 2, 2)
    """
    *leading, T, H, D = query.shape
    S, N, E = *keys.shape[-3:-1], values.shape[-1]
    if N == 0 or H % N:
        raise ValueError(
            f"query: expected a number of heads that is a multiple of the {N} key "
            f"heads, got {H} (each key head serves H / N query heads)"
        )
    G = H // N
    wanted = (*leading, H, T, S)
    mask, mask_axes = _mapped("mask", mask, wanted, N)
    bias, bias_axes = _mapped("bias", bias, wanted, N)

    def one(
        p: Any, q: Array, k: Array, v: Array, m: Array | None, b: Array | None
    ) -> Attended:
        bound = score if score_params is None else partial(score, p)
        return attend(q, k, v, mask=m, bias=b, score=bound, weighting=weighting)

    def over(axis: Any, function: Any, axes: tuple[Any, ...], out: Any = 0) -> Any:
        return jax.vmap(function, (*axes, mask_axes[axis], bias_axes[axis]), out)

    by_axis = Attended(1, 0)  # type: ignore[arg-type]  # axes, not arrays
    each = over("T", one, (None, 0, None, None))
    if G > 1:
        query = query.reshape(*leading, T, N, G, D)  # [..., T, H, D], H = N * G
        score_params = jax.tree.map(
            lambda p: p.reshape(N, G, *p.shape[1:]),  # [H, ...] -> [N, G, ...]
            score_params,
        )
        each = over("G", each, (0, 1, None, None), by_axis)
    each = over("N", each, (0, 1, 1, 1), by_axis)
    for axis in reversed(range(len(leading))):
        each = over(axis, each, (None, 0, 0, 0))
    found = each(score_params, query, keys, values, mask, bias)
    return Attended(
        found.context.reshape(*leading, T, H, E),  # [..., T, N, G, E] -> [..., T, H, E]
        found.weights.reshape(wanted),  # [..., N, G, T, S] -> [..., H, T, S]
    )


def _mapped(
    name: str, x: Array | None, wanted: tuple[int, ...], N: int
) -> tuple[Array | None, dict[Any, int | None]]:
    """Squeezes axes of size 1, and gives the vmap axis (0 or None) of each axis.

    So a mask shared by heads or targets is not repeated for each of them. Leading axes
    are named by number, the others N, G and T.
    """
    leading, (H, _, S) = wanted[:-3], wanted[-3:]
    names = [*range(len(leading)), "N", "G", "T"]
    if x is None:
        return None, dict.fromkeys(names)
    try:
        jax.eval_shape(lambda x: jnp.broadcast_to(x, wanted), x)
    except ValueError:
        axes = ["B", "H", "T", "S"] if len(leading) == 1 else ["...", "H", "T", "S"]
        raise ValueError(
            f"{name}: expected a shape that broadcasts to [{', '.join(axes)}] = "
            f"{list(wanted)}, got {list(x.shape)} (put 1 where an axis is shared)"
        ) from None
    *first, h, t, s = (1,) * (len(wanted) - x.ndim) + x.shape
    N, G = (1, 1) if h == 1 else (N, H // N)
    sizes = dict(zip(names, [*first, N, G, t], strict=True))
    kept = [size for size in sizes.values() if size != 1]
    axes_of = {axis: None if size == 1 else 0 for axis, size in sizes.items()}
    # [..., H or 1, T or 1, S] -> [..., N, G, T, S] without the axes of size 1
    return jnp.broadcast_to(x.reshape(*kept, s), (*kept, S)), axes_of
