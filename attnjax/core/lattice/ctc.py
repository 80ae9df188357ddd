"""Connectionist temporal classification: one symbol at every frame, repeats are one.

A transducer without a prediction network: a path has one symbol at each frame, a label
or the blank; equal symbols after one another are one, then blanks go. So T frames hold
at most T labels, and between two equal ones a blank must be.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped
from attnjax.core.lattice import _ctc
from attnjax.core.lattice._counts import Count, count, or_nan
from attnjax.core.lattice._semiring import log_shares


class CTCPosteriors(NamedTuple):
    """Probabilities of where a path is, given the labels; 0 in padding."""

    label: Float[Array, "... T U"]  # that it is at this label
    blank: Float[
        Array, "... T"
    ]  # that it is at a blank; with the labels', the sum is 1


class CTCPath(NamedTuple):
    """A path: which label each frame is at."""

    positions: Int[Array, "... T"]  # the label's index from 0; -1 at a blank or padding
    log_prob: Float[Array, "..."]  # of the path and its labels


@shaped
def ctc_log_likelihood(
    log_probs: Float[Array, "T V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_frames: Count = None,
    num_labels: Count = None,
) -> Float[Array, ""]:
    r"""Sums the probabilities of all paths that collapse to the labels.

    .. math::
        \alpha_t(s) = y^t_{l'_s} \left(\alpha_{t-1}(s) + \alpha_{t-1}(s-1)
        + [l'_s \ne \varnothing, l'_s \ne l'_{s-2}]\,\alpha_{t-1}(s-2)\right)

    with l' the labels and a blank before, between and after them. The gradient at frame
    t and symbol v is the posterior that the path is at v. First derivatives are as of
    `transducer_log_likelihood`.

    Source: Graves, Fernández, Gomez & Schmidhuber 2006 (ICML), eqs. 6 to 8, there with
    s and t from 1.

    Args:
      log_probs: log-probabilities of all symbols, not logits, shape [T, V].
      labels: ids in the alphabet, none the blank's, shape [U].
      blank: id of the blank.
      num_frames: frames that are real, at most T; None means all. Padding may hold
        anything, and has gradient 0.
      num_labels: labels that are real, at most U; None means all.

    Returns:
      The log-likelihood, shape []; -inf, with gradient 0, without a path, as when there
      are fewer frames than labels and repeats; 0 of no labels in no frames; NaN if a
      label or count that is not known while a program is traced is wrong.

    Raises:
      ValueError: if a known count is out of range, or a known label is the blank or
        outside the alphabet.
      TypeError: if an array has another kind of dtype, or a count is no integer.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))  # paths of one label: a-, -a, aa
      >>> round(float(jnp.exp(ctc_log_likelihood(half, jnp.array([1])))), 3)
      0.75
    """
    states, valid = _ctc.prepare(log_probs, labels, blank, num_frames, num_labels)
    return or_nan(valid, _ctc.log_likelihood(*states))


@shaped
def ctc_loss(
    logits: Float[Array, "T V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_frames: Count = None,
    num_labels: Count = None,
) -> Float[Array, ""]:
    r"""Computes the negative log-likelihood of labels from the logits of each frame.

    .. math:: \frac{\partial \ell}{\partial z_{tv}} = \mathrm{softmax}(z_t)_v - p(t, v)

    with p(t, v) the posterior that the path is at symbol v at frame t. Its sum over v
    is 0. Log-probabilities may be given for logits.

    Source: Graves et al. 2006 (ICML), eqs. 14 to 16.

    Args:
      logits: scores of all symbols before their softmax, shape [T, V].
      labels: as of `ctc_log_likelihood`.
      blank: as of `ctc_log_likelihood`.
      num_frames: as of `ctc_log_likelihood`.
      num_labels: as of `ctc_log_likelihood`.

    Returns:
      Nats, shape [], in at least float32; infinite, with gradient 0, without a path.

    Raises:
      ValueError: as `ctc_log_likelihood`.
      TypeError: as `ctc_log_likelihood`.

    Example:
      >>> ctc_loss(jnp.zeros((2, 2)), jnp.array([1])).round(4)  # -log 0.75
      Array(0.2877, dtype=float32)
      >>> ctc_loss(jnp.zeros((2, 2)), jnp.array([1, 1]))  # 2 labels, 1 repeat: 3 frames
      Array(inf, dtype=float32)
    """
    frames, _ = count("num_frames", num_frames, logits.shape[0])
    real = jnp.arange(logits.shape[0], dtype=jnp.int32) < frames
    # Padding may hold NaN, whose softmax would pass it on to the gradient.
    log_probs = log_shares(jnp.where(real[:, None], precision.upcast(logits), 0))
    return -ctc_log_likelihood(
        log_probs, labels, blank=blank, num_frames=num_frames, num_labels=num_labels
    )


@shaped
def ctc_posteriors(
    log_probs: Float[Array, "T V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_frames: Count = None,
    num_labels: Count = None,
) -> CTCPosteriors:
    r"""Computes the expected alignment: which label or blank each frame is at.

    .. math::
        p(t, s) = \frac{\alpha_t(s)\,\beta_t(s)}{\sum_{s'} \alpha_t(s')\,\beta_t(s')}

    Source: Graves et al. 2006 (ICML), eqs. 13 and 14.

    Args:
      log_probs: as of `ctc_log_likelihood`.
      labels: as of `ctc_log_likelihood`.
      blank: as of `ctc_log_likelihood`.
      num_frames: as of `ctc_log_likelihood`.
      num_labels: as of `ctc_log_likelihood`.

    Returns:
      The posteriors; all are 0 where there is no path.

    Raises:
      ValueError: as `ctc_log_likelihood`.
      TypeError: as `ctc_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> [round(float(p), 3) for p in ctc_posteriors(half, jnp.array([1])).blank]
      [0.333, 0.333]
    """
    states, valid = _ctc.prepare(log_probs, labels, blank, num_frames, num_labels)
    found = or_nan(valid, _ctc.posteriors(states, _ctc.forward(states)[0]))
    return CTCPosteriors(found[:, 1::2], jnp.sum(found[:, ::2], axis=1))


@shaped
def ctc_best_path(
    log_probs: Float[Array, "T V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_frames: Count = None,
    num_labels: Count = None,
) -> CTCPath:
    """Finds the most probable path that collapses to the labels: the Viterbi alignment.

    Args:
      log_probs: as of `ctc_log_likelihood`.
      labels: as of `ctc_log_likelihood`.
      blank: as of `ctc_log_likelihood`.
      num_frames: as of `ctc_log_likelihood`.
      num_labels: as of `ctc_log_likelihood`.

    Returns:
      The label that each frame is at, and the log-probability of path and labels; -1
      and -inf where there is no path.

    Raises:
      ValueError: as `ctc_log_likelihood`.
      TypeError: as `ctc_log_likelihood`.

    Example:
      >>> log_probs = jnp.log(jnp.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]))
      >>> ctc_best_path(log_probs, jnp.array([1])).positions
      Array([-1,  0, -1], dtype=int32)
    """
    states, valid = _ctc.prepare(log_probs, labels, blank, num_frames, num_labels)
    path, log_prob = _ctc.back_trace(states)
    labelled = valid & (path % 2 == 1) & (path >= 0)
    positions = jnp.where(labelled, path // 2, -1)
    return CTCPath(positions.astype(jnp.int32), or_nan(valid, log_prob))
