"""Log-probabilities of given sequences, against decoders and teacher forcing."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import score_sequences
from tests.decode.cases import (
    BOS,
    EOS,
    PAD,
    B,
    S,
    T,
    V,
    each_decoder,
    initial_carry,
    make_model,
    step,
)
from tests.oracle_decode import teacher_force

GIVEN = np.array([[4, 7, 6, EOS, PAD], [EOS, 9, EOS, EOS, 4], [8, 8, 3, 10, EOS]])
LENGTHS = (4, 1, 5)


@jax.jit
def scored(model, tokens, carry=None):
    carry = initial_carry(tokens.shape[0]) if carry is None else carry
    return score_sequences(
        functools.partial(step, model), carry, tokens, bos=BOS, eos=EOS
    )


@each_decoder
def test_hypotheses_score_as_their_decoder_reported(decode):
    model = make_model(1)
    found = decode(model)
    got = jax.vmap(lambda tokens: scored(model, tokens), 1, 1)(found.tokens)
    np.testing.assert_allclose(got.log_probs, found.log_probs, rtol=1e-5)
    np.testing.assert_array_equal(got.lengths, found.lengths)
    np.testing.assert_allclose(got.weights, found.weights, rtol=1e-4, atol=1e-6)


def test_scores_match_teacher_forcing():
    model = make_model(2)
    got = scored(model, GIVEN)
    assert got.lengths.tolist() == list(LENGTHS)
    for row, n in enumerate(LENGTHS):
        log_probs, weights = teacher_force(model, row, GIVEN[row, : n - 1])
        want = log_probs[np.arange(n), GIVEN[row, :n]]
        np.testing.assert_allclose(got.token_log_probs[row, :n], want, rtol=1e-5)
        np.testing.assert_allclose(got.log_probs[row], want.sum(), rtol=1e-5)
        np.testing.assert_allclose(got.weights[row, :n], weights, rtol=1e-4, atol=1e-6)
        assert (got.token_log_probs[row, n:] == 0).all()
        assert (got.weights[row, n:] == 0).all()


def test_tokens_after_eos_and_other_rows_change_nothing():
    model = make_model(3)
    want = scored(model, GIVEN)
    padded = np.pad(GIVEN, ((0, 0), (0, 2)), constant_values=V + 1)
    padded[0, 4:], padded[1, 1:] = -3, EOS
    padded[2] = [4, EOS, 4, 4, 4, 4, 4]
    got = scored(model, padded)
    for field in ("token_log_probs", "weights"):
        x, y = getattr(want, field), getattr(got, field)
        np.testing.assert_allclose(x[:2], y[:2, :5], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(want.log_probs[:2], got.log_probs[:2], rtol=1e-5)


def test_a_row_without_eos_is_empty():
    tokens = GIVEN.copy()
    tokens[0, 3] = 4
    got = scored(make_model(4), tokens)
    assert got.log_probs[0] == -np.inf
    assert got.lengths[0] == 0
    assert (got.token_log_probs[0] == 0).all()
    assert (got.weights[0] == 0).all()
    empty = scored(make_model(4), np.zeros((B, 0), np.int32))
    assert (empty.log_probs == -np.inf).all()
    assert empty.weights.shape == (B, 0, S)


@pytest.mark.parametrize("id_", [-1, V, 10 * V])
def test_an_id_outside_the_vocabulary_has_no_probability(id_):
    tokens = GIVEN.copy()
    tokens[0, 1] = id_
    got = scored(make_model(5), tokens)
    assert got.token_log_probs[0, 1] == got.log_probs[0] == -np.inf
    assert not any(np.isnan(x).any() for x in got)


def test_gradients_are_those_of_the_sum():
    """Log-probabilities are differentiable: a sequence's gradient sums its tokens'."""
    model = make_model(6)

    def total(emit, pick):
        got = scored(model._replace(emit=emit), GIVEN)
        return pick(got)

    emit = jnp.asarray(model.emit, jnp.float32)
    summed = jax.grad(total)(emit, lambda x: x.log_probs.sum())
    parts = jax.grad(total)(emit, lambda x: x.token_log_probs.sum())
    np.testing.assert_allclose(summed, parts, rtol=1e-5, atol=1e-6)


def test_compiles_once_for_each_shape():
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(n=1)(scored.__wrapped__))
    for seed in range(3):
        tokens = np.random.default_rng(seed).integers(0, V, size=(B, T))
        run(make_model(seed), tokens)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_log_probs_are_at_least_float32(dtype):
    with jax.enable_x64(dtype == "float64"):
        carry = initial_carry()
        carry = carry | {"h": carry["h"].astype(dtype)}
        got = scored(make_model(0), GIVEN, carry)
    want = {"bfloat16": "float32", "float64": "float64"}[dtype]
    assert [x.dtype for x in got] == [want, want, "int32", want]


# Error messages


@pytest.mark.parametrize(
    ("tokens", "options", "error", "text"),
    [
        (
            GIVEN[0],
            {},
            ValueError,
            r"tokens: expected shape \[B, T\], got \[5\] \(one sequence for each row\)",
        ),
        (
            GIVEN * 1.0,
            {},
            TypeError,
            r"tokens: expected int values, got float\d+ \(use astype\)",
        ),
        (
            GIVEN[:2],
            {},
            ValueError,
            r"carry\['h'\]: expected a leading axis of batch_size = 2, got shape \[3",
        ),
        (GIVEN, {"eos": V}, ValueError, r"eos: expected at most 10 \(the last id\)"),
        (GIVEN, {"bos": -1}, ValueError, "bos: expected at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(tokens, options, error, text):
    run = functools.partial(step, make_model(0))
    with pytest.raises(error, match=f"^{text}"):
        score_sequences(
            run, initial_carry(), tokens, **{"bos": BOS, "eos": EOS} | options
        )
