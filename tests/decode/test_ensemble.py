"""Laws of ensembles, then their distributions by an oracle, then error messages."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core.precision import matmul
from attnjax.decode import beam_search, ensemble, greedy
from tests.conftest import TOLERANCE
from tests.decode.cases import (
    B,
    assert_same,
    decoder,
    initial_carry,
    make_model,
    masks,
    sample_with_key,
    sequences,
    step,
)
from tests.oracle_decode import combine_distributions, teacher_force

N = 3
COMBINE = ("log-linear", "linear")
each_combination = pytest.mark.parametrize("combine", COMBINE)
DECODE = {
    "greedy": decoder(greedy),
    "sample": decoder(sample_with_key, temperature=0.5),
    "beam": decoder(
        beam_search,
        beam_size=5,
        coverage_penalty=np.float32(0.7),
        no_repeat_ngram_size=2,
    ),
}


def stacked(models):
    return jax.tree.map(lambda *x: np.stack(x), *models)


def together(n):
    """The initial carry of an ensemble of n models."""
    return jax.tree.map(lambda x: jnp.stack([x] * n, axis=1), initial_carry())


@functools.cache
def combined(how):
    """One function for each way to combine, so that it compiles once."""

    def combined_step(members, carry, token):
        return ensemble(step, members, **dict(how))(carry, token)

    return combined_step


def decode_together(name, models, **how):
    """Decodes with an ensemble; `how` are the options of `ensemble`."""
    options = masks(models[0]) if name == "beam" else {}
    options["batch_size"] = B
    options |= {"carry": together(len(models)), "step": combined((*how.items(),))}
    return DECODE[name](stacked(models), **options)


def decode_alone(name, model):
    return DECODE[name](model, **(masks(model) if name == "beam" else {}))


# Laws


@pytest.mark.parametrize(
    ("name", "combine", "n"),
    [
        ("greedy", "linear", N),
        ("sample", "log-linear", N),
        ("beam", "log-linear", N),
        ("beam", "linear", N),
        ("beam", "log-linear", 1),
    ],
)
def test_an_ensemble_of_copies_is_the_model(name, combine, n):
    model = make_model(1)
    found = decode_together(name, [model] * n, combine=combine)
    assert_same(decode_alone(name, model), found)


def first_step(models, **how):
    """The first step of an ensemble: carry, logits, weights."""
    both = jax.jit(ensemble(step, stacked(models), **how))
    return both(together(len(models)), jnp.full(B, 1))


@each_combination
def test_a_model_with_coefficient_zero_does_not_contribute(combine):
    models = [make_model(seed) for seed in range(N)]
    # It does not contribute where it excludes every token either.
    models[0] = models[0]._replace(emit=np.full_like(models[0].emit, -np.inf))
    _, logits, weights = first_step(models, combine=combine, coefficients=(0, 5, 0))
    _, want, attention = step(models[1], initial_carry(), jnp.full(B, 1))
    np.testing.assert_allclose(logits, jax.nn.log_softmax(want), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, attention, rtol=1e-5)


@each_combination
def test_the_order_of_models_does_not_matter(combine):
    models, coefficients = [make_model(seed) for seed in range(N)], (1.0, 2.0, 4.0)
    want = first_step(models, combine=combine, coefficients=coefficients)
    got = first_step(models[::-1], combine=combine, coefficients=coefficients[::-1])
    for x, y in zip(want[1:], got[1:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@each_combination
@pytest.mark.parametrize("coefficients", [None, (1.0, 2.0, 4.0)])
def test_a_step_matches_the_oracle(combine, coefficients):
    models = [make_model(seed) for seed in range(N)]
    both = jax.jit(
        ensemble(step, stacked(models), combine=combine, coefficients=coefficients)
    )
    carry, tokens = together(N), [4, 7, 6]
    for t, token in enumerate([1, *tokens]):
        carry, logits, weights = both(carry, jnp.full(B, token))
        for row in range(B):
            alone = [teacher_force(model, row, tokens[:t]) for model in models]
            mixture = np.ones(N) if coefficients is None else coefficients
            p = combine_distributions(
                [np.exp(x[-1]) for x, _ in alone], mixture, combine
            )
            np.testing.assert_allclose(jnp.exp(logits[row]), p, rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(jnp.exp(logits[row]).sum(), 1, rtol=1e-5)
            average = np.average([w[-1] for _, w in alone], axis=0, weights=mixture)
            np.testing.assert_allclose(weights[row], average, rtol=1e-4, atol=1e-6)
    assert jax.tree.map(jnp.shape, carry) == jax.tree.map(jnp.shape, together(N))


def test_a_beam_reports_the_log_probabilities_of_the_ensemble():
    models = [make_model(seed) for seed in range(N)]
    found = decode_together("beam", models)
    for row, ys in enumerate(sequences(found)):
        for y, got in zip(ys, found.log_probs[row], strict=True):
            alone = [np.exp(teacher_force(model, row, y[:-1])[0]) for model in models]
            steps = zip(y, *alone, strict=True)
            ps = [
                combine_distributions(p, np.ones(N), "log-linear")[v] for v, *p in steps
            ]
            np.testing.assert_allclose(got, np.log(ps).sum(), rtol=1e-5)


@each_combination
def test_excluded_ids_stay_excluded_without_nan(combine):
    """One model excludes an id, the other excludes all ids."""
    some = jnp.log(jnp.array([[0.5, 0.5, 0.0]]))
    none = jnp.full((1, 3), -jnp.inf)

    def table(logits, carry, token):
        return carry, logits[token], jnp.zeros((1, 1))

    with jax.debug_nans(True):
        for pair, want in (
            ((some, some), [0.5, 0.5, 0.0]),
            ((some, none), [0, 0, 0] if combine == "log-linear" else [0.25, 0.25, 0]),
            ((none, none), [0.0, 0.0, 0.0]),
        ):
            both = ensemble(table, jnp.stack(pair), combine=combine)
            _, logits, _ = both((), jnp.array([0]))
            np.testing.assert_allclose(jnp.exp(logits[0]), want, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_log_probabilities_are_at_least_float32(dtype):
    with jax.enable_x64(dtype == "float64"):
        carry = together(N)
        carry = carry | {"h": carry["h"].astype(dtype)}
        for combine, coefficients in itertools.product(COMBINE, (None, jnp.ones(N))):
            both = ensemble(
                step,
                stacked([make_model(0)] * N),
                combine=combine,
                coefficients=coefficients,
            )
            token = jnp.zeros(B, jnp.int32)
            after, logits, weights = jax.eval_shape(both, carry, token)
            assert after["h"].dtype == dtype
            want = {"bfloat16": "float32", "float64": "float64"}[dtype]
            assert logits.dtype == weights.dtype == want


def test_members_may_be_numpy_arrays_that_jit_closes_over():
    def bfloat16_step(matrix, carry, token):
        token = jax.nn.one_hot(token, len(matrix), dtype=matrix.dtype)
        return carry, matmul(token, matrix), jnp.zeros((B, 1))

    matrices = np.random.default_rng(0).normal(size=(N, B, B)).astype(jnp.bfloat16)
    tokens = jnp.arange(B)
    got = jax.jit(ensemble(bfloat16_step, matrices))((), tokens)
    want = ensemble(bfloat16_step, jnp.asarray(matrices))((), tokens)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-2)


def test_coefficients_may_be_traced():
    members, carry = stacked([make_model(0), make_model(1)]), together(2)

    @jax.jit
    def run(coefficients):
        return ensemble(step, members, coefficients=coefficients)(
            carry, jnp.zeros(B, jnp.int32)
        )[1]

    want = ensemble(step, members, coefficients=[1, 3])(carry, jnp.zeros(B, jnp.int32))[
        1
    ]
    got = run(jnp.array([2.0, 6.0]))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["float32"])


# Error messages

TWO = np.zeros((2, 5))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: ensemble(step, TWO, combine="product"),
            "combine: expected one of log-linear, linear, got 'product'",
        ),
        (
            lambda: ensemble(step, {"a": TWO, "b": np.zeros((3, 5))}),
            r"members\['b'\]: expected a leading axis of 2 models, got shape \[3, 5\] "
            r"\(stack them",
        ),
        (
            lambda: ensemble(step, [np.zeros(())]),
            r"members\[0\]: expected a leading axis of N models, got shape \[\]",
        ),
        (
            lambda: ensemble(step, ()),
            r"members: expected arrays that the models differ in, got none \(the first",
        ),
        (
            lambda: ensemble(step, TWO, coefficients=[1, 2, 3]),
            r"coefficients: expected shape \[2\], got \[3\] \(one number for",
        ),
        (
            lambda: ensemble(step, TWO, coefficients=[1, -1]),
            r"coefficients: expected numbers of at least 0 with a positive sum, got "
            r"\[1.0, -1.0\] \(the share",
        ),
        (
            lambda: ensemble(step, TWO, coefficients=[0, 0]),
            "coefficients: expected numbers of at least 0 with a positive sum, got",
        ),
        (
            lambda: ensemble(step, TWO)({"h": jnp.zeros((B, 7))}, jnp.zeros(B)),
            r"carry\['h'\]: expected axes \[B, 2, ...\], got shape \[3, 7\] \(the",
        ),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()
