"""Ensembles: the steps of several models as one step, for any decoder."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.core.precision import upcast
from attnjax.decode.arguments import check_shape
from attnjax.decode.contract import Step, log_normaliser

# members, carry, token [B] -> carry, logits [B, V], weights [B, S]
MemberStep = Callable[[Any, Any, Array], tuple[Any, Array, Array]]


def ensemble(
    step: MemberStep,
    members: Any,
    *,
    combine: Literal["log-linear", "linear"] = "log-linear",
    shares: Sequence[float] | Float[Array, "N"] | None = None,
) -> Step:
    r"""Makes one step of N models that differ in their numbers only.

    .. math:: \log p(y) = \sum_n w_n \log p_n(y) - \log Z
              \quad \text{or} \quad \log p(y) = \log \sum_n w_n p_n(y)

    with w_n the share of model n. "log-linear", the default, favours what every
    model allows, "linear" what some model likes. Either way logits are
    log-probabilities of the ensemble, which sum to one, and what a decoder reports
    is the ensemble's; alignments are averaged by the same shares.

    Source: Sutskever, Vinyals & Le 2014 (arXiv:1409.3215), table 1, for translation
    by ensembles; Hinton 2002 (doi:10.1162/089976602760128018), eq. 1, for the
    product.

    Args:
      step: `(member, carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      members: what the models differ in, parameters and the memory that each has
        made of the source; every leaf has a leading axis N.
      combine: how probabilities are joined.
      shares: one number for each model, at least 0; scaled to sum to 1. Default:
        equal.

    Returns:
      A step. Every leaf of its carry has the axes [B, N, ...], as given by
      `jax.vmap(start, out_axes=1)(members)`.

    Raises:
      ValueError: if the leading axes, `shares` or `combine` do not fit.

    Example:
      >>> def step(table, carry, token):
      ...     return carry, table[token], jnp.zeros((1, 1))
      >>> tables = jnp.log(jnp.array([[[0.9, 0.1]], [[0.5, 0.5]]]))
      >>> both = ensemble(step, tables, combine="linear")
      >>> jnp.exp(both((), jnp.array([0]))[1])
      Array([[0.7, 0.3]], dtype=float32)
    """
    if combine not in _COMBINE:
        raise ValueError(
            f"combine: expected one of {', '.join(_COMBINE)}, got {combine!r}"
        )
    N = _count(members)
    # JAX has no custom derivative of a NumPy array that `jit` closes over and `vmap`
    # maps, such as a weight read from a file.
    members = jax.tree.map(jnp.asarray, members)
    share = _shares(shares, N)

    def combined(carry: Any, token: Array) -> tuple[Any, Array, Array]:
        _check_carry(carry, N)
        carry, logits, weights = jax.vmap(step, (0, 1, None), (1, 0, 0))(
            members, carry, token
        )
        logits = upcast(logits)
        log_probs = logits - log_normaliser(logits)[..., None]
        return carry, _COMBINE[combine](log_probs, share), _mean(weights, share)

    return combined


def _log_linear(log_probs: Float[Array, "N B V"], shares: Array) -> Array:
    shares = shares.astype(log_probs.dtype)[:, None, None]
    # A model without a share has no say, not even against what it excludes.
    heard = jnp.where(shares > 0, log_probs, 0)
    mean = jnp.sum(shares * heard, axis=0)
    return mean - log_normaliser(mean)[..., None]


def _linear(log_probs: Float[Array, "N B V"], shares: Array) -> Array:
    shares = shares.astype(log_probs.dtype)[:, None, None]
    return jax.nn.logsumexp(log_probs, axis=0, b=shares)


_COMBINE = {"log-linear": _log_linear, "linear": _linear}


def _mean(weights: Float[Array, "N B S"], shares: Array) -> Float[Array, "B S"]:
    weights = upcast(weights)
    return jnp.sum(shares.astype(weights.dtype)[:, None, None] * weights, axis=0)


def _count(members: Any) -> int:
    """Returns N, which every leaf of `members` must have as its leading axis."""
    sizes = {
        "members" + jax.tree_util.keystr(path): jnp.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(members)
    }
    first = next(iter(sizes.values()), ())
    N = first[0] if first else 0
    for name, shape in sizes.items():
        if shape[:1] != (N,) or N == 0:
            raise ValueError(
                f"{name}: expected a leading axis of {N or 'N'} models, got shape "
                f"{list(shape)} (stack them: jax.tree.map(lambda *x: jnp.stack(x), "
                "*models))"
            )
    if not sizes:
        raise ValueError(
            "members: expected arrays that the models differ in, got none "
            "(the first axis of each counts the models)"
        )
    return N


def _shares(shares: Any, N: int) -> Float[Array, "N"]:
    """Returns shares that sum to 1."""
    if shares is None:
        return jnp.full(N, 1 / N)
    if not isinstance(shares, jax.Array):
        shares = np.asarray(shares, np.float64)
        if not (shares >= 0).all() or not shares.sum() > 0:
            raise ValueError(
                f"shares: expected numbers of at least 0, one above, got "
                f"{shares.tolist()} (how much each model is heard)"
            )
    check_shape("shares", shares.shape, (N,), "one number for each model")
    return jnp.asarray(shares / shares.sum())


def _check_carry(carry: Any, N: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[1:2] != (N,):
            raise ValueError(
                f"carry{jax.tree_util.keystr(path)}: expected axes [B, {N}, ...], got "
                f"shape {list(leaf.shape)} (the second axis counts the models: "
                "jax.vmap(start, out_axes=1)(members))"
            )
