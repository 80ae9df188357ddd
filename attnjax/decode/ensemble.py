"""Ensembles: the steps of several models combined into one step for any decoder."""

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
    coefficients: Sequence[float] | Float[Array, "N"] | None = None,
) -> Step:
    r"""Combines N models of one architecture into one step.

    .. math:: \log p(y) = \sum_n w_n \log p_n(y) - \log Z
              \quad \text{or} \quad \log p(y) = \log \sum_n w_n p_n(y)

    with w_n the coefficient of model n. "log-linear", the default, is a product of
    experts: a token needs probability under every model. "linear" is a mixture: one
    model suffices. Both return normalised log-probabilities as logits, so decoders
    report the log-probabilities of the ensemble. Alignments are averaged with the same
    coefficients.

    Source: Sutskever, Vinyals & Le 2014 (arXiv:1409.3215), table 1, for translation
    by ensembles; Hinton 2002 (doi:10.1162/089976602760128018), eq. 1, for the
    product.

    Args:
      step: `(member, carry, token[B]) -> carry, logits[B, V], weights[B, S]`.
      members: the arrays in which the models differ, such as parameters and encoder
        memories; every leaf has a leading axis N.
      combine: how probabilities are combined.
      coefficients: one number for each model, at least 0; normalised to sum to 1.
        Default: equal.

    Returns:
      A step. Every leaf of its carry has the axes [B, N, ...], as returned by
      `jax.vmap(start, out_axes=1)(members)`.

    Raises:
      ValueError: if a leading axis, `coefficients` or `combine` is invalid.

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
    # As JAX arrays: a custom derivative rejects NumPy arrays that `jit` closes over
    # and `vmap` maps, such as parameters read from a file.
    members = jax.tree.map(jnp.asarray, members)
    mixture = _normalise(coefficients, N)

    def combined(carry: Any, token: Array) -> tuple[Any, Array, Array]:
        _check_carry(carry, N)
        carry, logits, weights = jax.vmap(step, (0, 1, None), (1, 0, 0))(
            members, carry, token
        )
        logits = upcast(logits)
        log_probs = logits - log_normaliser(logits)[..., None]
        return carry, _COMBINE[combine](log_probs, mixture), _mean(weights, mixture)

    return combined


def _log_linear(log_probs: Float[Array, "N B V"], coefficients: Array) -> Array:
    coefficients = coefficients.astype(log_probs.dtype)[:, None, None]
    # A coefficient of 0 removes a model, also where it excludes a token: 0 * -inf is
    # NaN.
    log_probs = jnp.where(coefficients > 0, log_probs, 0)
    mean = jnp.sum(coefficients * log_probs, axis=0)
    return mean - log_normaliser(mean)[..., None]


def _linear(log_probs: Float[Array, "N B V"], coefficients: Array) -> Array:
    coefficients = coefficients.astype(log_probs.dtype)[:, None, None]
    return jax.nn.logsumexp(log_probs, axis=0, b=coefficients)


_COMBINE = {"log-linear": _log_linear, "linear": _linear}


def _mean(weights: Float[Array, "N B S"], coefficients: Array) -> Float[Array, "B S"]:
    weights = upcast(weights)
    coefficients = coefficients.astype(weights.dtype)[:, None, None]
    return jnp.sum(coefficients * weights, axis=0)


def _count(members: Any) -> int:
    """Returns N, the leading axis that every leaf of `members` must have."""
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


def _normalise(coefficients: Any, N: int) -> Float[Array, "N"]:
    """Returns coefficients that sum to 1."""
    if coefficients is None:
        return jnp.full(N, 1 / N)
    if not isinstance(coefficients, jax.Array):
        coefficients = np.asarray(coefficients, np.float64)
        if not (coefficients >= 0).all() or not coefficients.sum() > 0:
            raise ValueError(
                f"coefficients: expected numbers of at least 0 with a positive sum, "
                f"got {coefficients.tolist()} (the share of each model)"
            )
    check_shape("coefficients", coefficients.shape, (N,), "one number for each model")
    return jnp.asarray(coefficients / coefficients.sum())


def _check_carry(carry: Any, N: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[1:2] != (N,):
            raise ValueError(
                f"carry{jax.tree_util.keystr(path)}: expected axes [B, {N}, ...], got "
                f"shape {list(leaf.shape)} (the second axis counts the models: "
                "jax.vmap(start, out_axes=1)(members))"
            )
