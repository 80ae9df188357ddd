"""The transducer's loss from logits of the whole alphabet, in little memory.

Log-probabilities of the alphabet are never in memory: the gradient is computed from
logits, their log-normalisers [T, U + 1] and the posteriors of the arcs.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.lattice import _transducer
from attnjax.core.lattice._counts import Count, check_labels, count, or_nan
from attnjax.core.lattice._semiring import finite, log_sum


@shaped
def transducer_loss(
    logits: Float[Array, "T C V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_frames: Count = None,
    num_labels: Count = None,
) -> Float[Array, ""]:
    r"""Computes the negative log-likelihood of labels from the logits at each node.

    .. math:: \ell = -\log \sum_\pi \prod_{(t, u, k) \in \pi}
        \frac{\exp z_{tuk}}{\sum_v \exp z_{tuv}}

    Its gradient needs one array of the size of the logits,

    .. math:: \frac{\partial \ell}{\partial z_{tuv}} =
        p(t, u)\,\mathrm{softmax}(z_{tu})_v - p(t, u \to v),

    whose terms are the posteriors of nodes and arcs (`transducer_posteriors`). Its sum
    over v is 0. Log-probabilities may be given for logits. First derivatives
    are as of `transducer_log_likelihood`.

    Source: Graves 2012 (arXiv:1211.3711), section 2.4; from logits: Bagby, Rao & Sim
    2018 (SLT), section 3.

    Args:
      logits: the emission lattice before its softmax, shape [T, U + 1, V].
      labels: ids in the alphabet, none the blank's, shape [U].
      blank: id of the blank.
      num_frames: frames that are real, at most T; None means all. Padding may hold
        anything, and has gradient 0.
      num_labels: labels that are real, at most U; None means all.

    Returns:
      Nats, shape [], in at least float32; infinite, with gradient 0, without a frame or
      a path; NaN if a label or count that is not known while a program is traced is
      wrong.

    Raises:
      ValueError: if shapes disagree, a known count is out of range, or a known label is
        the blank or outside the alphabet.
      TypeError: if an array has another kind of dtype, or a count is no integer.

    Example:
      >>> transducer_loss(jnp.zeros((1, 2, 4)), jnp.array([3])).round(4)  # 2 log 4
      Array(2.7726, dtype=float32)
    """
    T, _, V = logits.shape
    _transducer.check_columns("logits", logits.shape, labels.shape[0], ", V")
    frames, valid = count("num_frames", num_frames, T)
    real, also = count("num_labels", num_labels, labels.shape[0])
    ids, right = check_labels(labels, V, blank, real)
    arguments = precision.same_devices((logits, ids, frames, real))
    return or_nan(valid & also & right, _nats(*arguments, blank))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _nats(logits: Array, labels: Array, T: Array, U: Array, blank: int) -> Array:
    return _forward(logits, labels, T, U, blank)[0]


def _forward(
    logits: Array, labels: Array, T: Array, U: Array, blank: int
) -> tuple[Array, Any]:
    normaliser = log_sum(precision.upcast(logits))  # [T, U + 1]
    shift = finite(normaliser)
    chosen = jnp.take_along_axis(
        logits[:, :-1],
        labels[None, :, None],  # [U] -> [1, U, 1]
        axis=2,
    )[:, :, 0]  # [T, U, 1] -> [T, U]
    arcs, T, U, _ = _transducer.prepare(
        logits[:, :, blank].astype(shift.dtype) - shift,
        chosen.astype(shift.dtype) - shift[:, :-1],
        T,
        U,
    )
    likelihood, residuals = _transducer.likelihood_and_residuals(arcs, T, U)
    return -likelihood, (logits, labels, shift, residuals)


def _backward(blank: int, saved: Any, cotangent: Array) -> tuple[Any, ...]:
    logits, labels, shift, residuals = saved
    found = _transducer.arc_posteriors(*residuals)
    V = jnp.arange(logits.shape[2], dtype=jnp.int32)[None, None, :]  # [1, 1, V]
    ids = jnp.pad(labels, (0, 1))[None, :, None]  # [U] -> [1, U + 1, 1]
    node, by_blank, by_label = (
        (cotangent * x)[:, :, None]  # [T, U + 1] -> [T, U + 1, 1]
        for x in (found.blank + found.label, found.blank, found.label)
    )
    # One elementwise expression: XLA fuses it, and writes the gradient only.
    softmax = jnp.exp(precision.upcast(logits) - shift[:, :, None])
    arc = jnp.where(blank == V, by_blank, 0) + jnp.where(ids == V, by_label, 0)
    gradient = jnp.where(node == 0, 0, node * softmax - arc)
    return gradient.astype(logits.dtype), None, None, None


_nats.defvjp(_forward, _backward)
