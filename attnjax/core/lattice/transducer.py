"""The transducer: two cursors, one over frames and one over labels, marginalised.

A path goes through a lattice of nodes (t, u): frame t, with u labels emitted so far. At
each node it emits the next label, or a blank, which moves on to the next frame. It ends
with a blank at the last frame. The functions here take the log-probabilities of blanks
[T, U + 1] and labels [T, U] of one lattice; a batch is `jax.vmap`, with padding behind
`num_frames` and `num_labels`. All compute in at least float32.

Time is T + U steps of vectors [U + 1], memory O(T U).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attnjax.core._checks import shaped
from attnjax.core.lattice import _transducer, _wavefront
from attnjax.core.lattice._counts import Count, check_labels, count, or_nan
from attnjax.core.lattice._semiring import xlogx


class TransducerPosteriors(NamedTuple):
    """Probabilities that a path takes each arc, given the labels; 0 in padding."""

    blank: Float[Array, "... T U+1"]  # each frame's sum to 1
    label: Float[Array, "... T U"]  # each label's sum to 1

    @property
    def nodes(self) -> Float[Array, "... T U+1"]:
        """Probabilities of the nodes; those of an anti-diagonal sum to 1."""
        none = jnp.zeros_like(self.blank[..., :1])
        return self.blank + jnp.concatenate([self.label, none], axis=-1)

    @property
    def weights(self) -> Float[Array, "... U T"]:
        """The alignment: the weights of each label over the frames."""
        return jnp.swapaxes(self.label, -1, -2)  # [..., T, U] -> [..., U, T]


@shaped
def transducer_log_likelihood(
    blank: Float[Array, "T C"],
    label: Float[Array, "T U"],
    *,
    num_frames: Count = None,
    num_labels: Count = None,
) -> Float[Array, ""]:
    r"""Sums the probabilities of all paths through a lattice.

    .. math::
        \alpha(t, u) = \alpha(t-1, u)\,\varnothing(t-1, u) + \alpha(t, u-1)\,y(t, u-1),
        \qquad p = \alpha(T-1, U)\,\varnothing(T-1, U)

    Its gradient is the posterior of each arc (`transducer_posteriors`). First
    derivatives in reverse mode only: `jax.grad` and `jax.hessian`, not `jax.jvp`.

    Source: Graves 2012 (arXiv:1211.3711), eqs. 16 and 17, there with u from 0 and t
    from 1.

    Args:
      blank: log-probability of a blank at each node, shape [T, U + 1].
      label: log-probability of the next label at each node, shape [T, U].
      num_frames: frames that are real, at most T; None means all.
      num_labels: labels that are real, at most U; None means all.

    Returns:
      The log-likelihood of the labels, shape []; -inf without a frame, or without a
      path; NaN if a count that is not known while a program is traced is out of range.

    Raises:
      ValueError: if shapes disagree, or a known count is out of range.
      TypeError: if an array is not floating-point, or a count no integer.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))  # two frames, one label
      >>> jnp.exp(transducer_log_likelihood(half, half[:, :1])).round(3)  # 2 paths / 8
      Array(0.25, dtype=float32)
    """
    arcs, T, U, valid = _transducer.prepare(blank, label, num_frames, num_labels)
    return or_nan(valid, _transducer.log_likelihood(arcs, T, U))


@shaped
def transducer_posteriors(
    blank: Float[Array, "T C"],
    label: Float[Array, "T U"],
    *,
    num_frames: Count = None,
    num_labels: Count = None,
) -> TransducerPosteriors:
    r"""Computes the expected alignment: the posterior of every arc and node.

    .. math:: p(\varnothing(t, u)) =
        \frac{\alpha(t, u)\,\varnothing(t, u)\,\beta(t+1, u)}{p}

    and with y(t, u) and beta(t, u + 1) for the label. They are differentiable.

    Source: Graves 2012 (arXiv:1211.3711), eqs. 18 to 20.

    Args:
      blank: as of `transducer_log_likelihood`.
      label: as of `transducer_log_likelihood`.
      num_frames: as of `transducer_log_likelihood`.
      num_labels: as of `transducer_log_likelihood`.

    Returns:
      The posteriors; all are 0 where there is no path.

    Raises:
      ValueError: as `transducer_log_likelihood`.
      TypeError: as `transducer_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> transducer_posteriors(half, half[:, :1]).weights.round(3)
      Array([[0.5, 0.5]], dtype=float32)
    """
    arcs, T, U, valid = _transducer.prepare(blank, label, num_frames, num_labels)
    skewed = _wavefront.skew(arcs)
    found = _transducer.arc_posteriors(skewed, _transducer.forward(skewed).alpha, T, U)
    return TransducerPosteriors(
        or_nan(valid, found.blank), or_nan(valid, found.label[:, :-1])
    )


@shaped
def transducer_entropy(
    blank: Float[Array, "T C"],
    label: Float[Array, "T U"],
    *,
    num_frames: Count = None,
    num_labels: Count = None,
) -> Float[Array, ""]:
    r"""Computes the entropy of the paths, given the labels, in nats.

    .. math:: H = -\sum_\pi p(\pi \mid y) \log p(\pi \mid y)

    It is 0 if one path has all probability, and where there is no path. A path is a
    Markov chain of nodes, so H is a sum over nodes: the entropy of the arc that leaves
    it, weighted by its posterior.

    Args:
      blank: as of `transducer_log_likelihood`.
      label: as of `transducer_log_likelihood`.
      num_frames: as of `transducer_log_likelihood`.
      num_labels: as of `transducer_log_likelihood`.

    Returns:
      Nats, shape [].

    Raises:
      ValueError: as `transducer_log_likelihood`.
      TypeError: as `transducer_log_likelihood`.

    Example:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> transducer_entropy(half, half[:, :1]).round(4)  # log 2
      Array(0.6931, dtype=float32)
    """
    found = transducer_posteriors(
        blank, label, num_frames=num_frames, num_labels=num_labels
    )
    return (
        jnp.sum(xlogx(found.nodes))
        - jnp.sum(xlogx(found.blank))
        - jnp.sum(xlogx(found.label))
    )


@shaped
def transducer_arcs(
    log_probs: Float[Array, "T C V"],
    labels: Int[Array, "U"],
    *,
    blank: int = 0,
    num_labels: Count = None,
) -> tuple[Float[Array, "T C"], Float[Array, "T U"]]:
    """Gathers the arcs of a lattice from log-probabilities of the whole alphabet.

    For a loss from logits, `transducer_loss` needs half the memory.

    Args:
      log_probs: the emission lattice: log-probabilities at each node, not logits, shape
        [T, U + 1, V].
      labels: ids in the alphabet, none the blank's, shape [U].
      blank: id of the blank.
      num_labels: labels that are real; what is behind them may hold any id.

    Returns:
      Log-probabilities of blanks [T, U + 1] and of the next label [T, U]; NaN if a
      label that is not known while a program is traced is wrong.

    Raises:
      ValueError: if shapes disagree, or a known label is the blank or outside the
        alphabet.
      TypeError: if an array has another kind of dtype.

    Example:
      >>> uniform = jnp.log(jnp.full((2, 2, 4), 0.25))
      >>> blank, label = transducer_arcs(uniform, jnp.array([3]))
      >>> blank.shape, label.shape
      ((2, 2), (2, 1))
    """
    V = log_probs.shape[-1]
    _transducer.check_columns("log_probs", log_probs.shape, labels.shape[0], ", V")
    U, valid = count("num_labels", num_labels, labels.shape[0])
    ids, right = check_labels(labels, V, blank, U)
    gathered = jnp.take_along_axis(
        log_probs[:, :-1],
        ids[None, :, None],  # [U] -> [1, U, 1]
        axis=2,
    )[:, :, 0]  # [T, U, 1] -> [T, U]
    valid = valid & right
    return or_nan(valid, log_probs[:, :, blank]), or_nan(valid, gathered)
