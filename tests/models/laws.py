"""Laws that every sequence model obeys, whatever is inside."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.core.losses import token_cross_entropy
from attnjax.models.state import split
from tests import oracles
from tests.arg_specs import TINY_DECODER

B, S, T, D, M, _, A, L, V = TINY_DECODER
PAD, BOS = 0, 1
SOURCE = np.array([[5, 9, 3, 7, 2], [4, 2, PAD, PAD, PAD]], np.int32)
TARGET = np.array([[8, 3, 6, 2], [10, 2, PAD, PAD]], np.int32)
PREVIOUS = np.concatenate([np.full((B, 1), BOS, np.int32), TARGET[:, :-1]], axis=1)
MASK = SOURCE != PAD


class Model:
    """A model as pure functions of its parameters, each compiled once."""

    def __init__(self, module, config):
        self.config = config
        self.rebuild, self.params = split(module(config, rngs=nnx.Rngs(0)))
        self.call = jax.jit(lambda p, *x, **k: self.rebuild(p)(*x, **k))
        self.encode = jax.jit(lambda p, *x: self.rebuild(p).encode(*x))
        self.start = jax.jit(lambda p, memory: self.rebuild(p).start(memory))
        self.step = jax.jit(lambda p, *x: self.rebuild(p).step(*x))
        self.value_and_grad = jax.jit(jax.value_and_grad(self.loss))

    def loss(self, params, source, mask, previous, target):
        """Nats of all real target tokens."""
        logits, _ = self.rebuild(params)(source, mask, previous)
        nats = token_cross_entropy(logits, target)
        return jnp.where(target != PAD, nats, 0).sum()


@functools.cache
def model(module, config):
    """One `Model` per configuration, shared by all tests."""
    return Model(module, config)


def stepping_is_teacher_forcing(m):
    """`start` and `step` give the numbers of the call, token by token."""
    logits, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    memory = m.encode(m.params, SOURCE, MASK)
    carry = m.start(m.params, memory)
    structure = jax.tree.map(jnp.shape, carry)
    for t in range(T):
        carry, step_logits, step_weights = m.step(
            m.params, memory, carry, PREVIOUS[:, t]
        )
        np.testing.assert_allclose(step_logits, logits[:, t], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(step_weights, weights[:, t], rtol=1e-5, atol=1e-6)
        assert jax.tree.map(jnp.shape, carry) == structure


def stepping_maps_over_a_beam(m):
    """Beam search maps the step over hypotheses that share one memory."""
    memory = m.encode(m.params, SOURCE, MASK)
    carry = m.start(m.params, memory)
    tokens = np.array([[3, 4, 5], [6, 7, 8]], np.int32)  # [B, K]
    tiled = jax.tree.map(lambda x: jnp.stack([x] * 3, axis=1), carry)
    step = functools.partial(m.step, m.params, memory)
    got = jax.vmap(step, in_axes=1, out_axes=1)(tiled, tokens)
    for k in range(3):
        want = step(carry, tokens[:, k])
        one = jax.tree.map(lambda x, k=k: x[:, k], got)
        chex.assert_trees_all_close(one, want, rtol=1e-5, atol=1e-5)


def _padded():
    """Source, previous and target with three, two and two columns and a row more."""
    return tuple(
        np.pad(x, ((0, 1), (0, extra)))
        for x, extra in ((SOURCE, 3), (PREVIOUS, 2), (TARGET, 2))
    )


def more_padding_changes_nothing(m):
    """Longer rows of padding, and a row of padding only."""
    longer, previous, _ = _padded()
    logits, weights = m.call(m.params, longer, longer != PAD, previous)
    want_logits, want_weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    np.testing.assert_allclose(logits[:B, :T], want_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(weights[:B, :T, :S], want_weights, 1e-5, 1e-6)
    assert (weights[:, :, S:] == 0).all()
    assert np.isfinite(logits).all()


def more_padding_keeps_loss_and_gradient(m):
    """The same, for training."""
    longer, previous, target = _padded()
    got = m.value_and_grad(m.params, longer, longer != PAD, previous, target)
    want = m.value_and_grad(m.params, SOURCE, MASK, PREVIOUS, TARGET)
    chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


def rows_are_independent(m):
    """A batch gives the numbers of its rows alone."""
    logits, weights = m.call(m.params, SOURCE, MASK, PREVIOUS)
    for b in range(B):
        row = slice(b, b + 1)
        one = m.call(m.params, SOURCE[row], MASK[row], PREVIOUS[row])
        np.testing.assert_allclose(one[0][0], logits[b], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one[1][0], weights[b], rtol=1e-5, atol=1e-6)


def later_tokens_change_nothing(m):
    """The logits of a position depend only on the tokens before it."""
    changed = PREVIOUS.copy()
    changed[:, 2:] = 9
    before, after = (m.call(m.params, SOURCE, MASK, p)[0] for p in (PREVIOUS, changed))
    np.testing.assert_array_equal(before[:, :2], after[:, :2])
    assert not np.allclose(before[:, 2:], after[:, 2:], 1e-4)


def dropout_draws_by_its_key(m):
    """None means no dropout; equal keys draw equally, other keys differently."""
    arguments = m.params, SOURCE, MASK, PREVIOUS
    plain, _ = m.call(*arguments)
    first, _ = m.call(*arguments, rng=jax.random.key(1))
    again, _ = m.call(*arguments, rng=jax.random.key(1))
    other, _ = m.call(*arguments, rng=jax.random.key(2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, plain, 1e-4)
    assert not np.allclose(first, other, 1e-4)


def gradients_match_along_random_directions(gradients, loss, p):
    """Finite differences in all parameters at once: an error in any one shows.

    `gradients` and the oracle's parameters `p` are dicts of arrays; `loss(p)` is the
    oracle's loss.
    """
    rng = np.random.default_rng(0)
    for _ in range(5):
        along = {k: rng.standard_normal(x.shape) for k, x in p.items()}

        def moved(step, along=along):
            return loss({k: x + step * along[k] for k, x in p.items()})

        got = sum((np.asarray(gradients[k]) * along[k]).sum() for k in p)
        want = oracles.numerical_gradient(moved, np.zeros(()), step=1e-6)
        np.testing.assert_allclose(got, want, rtol=1e-6)


LAWS = [
    stepping_is_teacher_forcing,
    stepping_maps_over_a_beam,
    more_padding_changes_nothing,
    rows_are_independent,
    later_tokens_change_nothing,
]


def check_tokens_are_named(model, tokens):
    """A language model that carries a state says what is wrong with tokens or masks."""
    B, T = tokens.shape
    cases = (
        (tokens[0], None, rf"tokens: expected shape \[B, T\], got \[{T}\]"),
        (tokens * 1.5, None, "tokens: expected int values, got float"),
        (tokens, np.ones((B, T), int), "mask: expected a boolean mask"),
        (tokens, np.ones((B, 2), bool), rf"mask: expected shape \[{B}, {T}\], got "),
    )
    for given, mask, message in cases:
        with pytest.raises((ValueError, TypeError), match=f"^{message}"):
            model.prefill(model.start(B), given, mask)
    with pytest.raises(ValueError, match=r"token: expected shape \[B\], got "):
        model.step(model.start(B), tokens[:, :1])
