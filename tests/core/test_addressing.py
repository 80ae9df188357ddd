"""Addressing of the Neural Turing Machine: loops of the paper, laws, and edges."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.core import addressing, context
from tests import oracles
from tests.core.cases import draw

N, M, R = 7, 5, 3
TAPE = draw(0, N, M)
KEY = draw(1, M)


def simplex(seed, size):
    return oracles.masked_softmax(draw(seed, size), np.ones(size, bool))


LAST, SHIFT = simplex(2, N), simplex(3, R)
STEPS = {  # name -> (ours, the loop, arguments)
    "content_weights": (
        addressing.content_weights,
        oracles.content_weights,
        (KEY, TAPE, np.array(3.7)),
    ),
    "interpolate": (
        addressing.interpolate,
        oracles.interpolate,
        (np.array(0.3), simplex(4, N), LAST),
    ),
    "circular_shift": (
        addressing.circular_shift,
        oracles.circular_shift,
        (LAST, SHIFT),
    ),
    "sharpen": (addressing.sharpen, oracles.sharpen, (LAST, np.array(2.3))),
    "erase_tape": (
        addressing.erase_tape,
        lambda tape, w, e: oracles.write_tape(tape, [(w, e, np.zeros(M))]),
        (TAPE, LAST, simplex(5, M)),
    ),
    "add_to_tape": (
        addressing.add_to_tape,
        lambda tape, w, a: oracles.write_tape(tape, [(w, np.zeros(M), a)]),
        (TAPE, LAST, draw(6, M)),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_is_the_papers_in_value_and_gradient(name):
    ours, loop, arguments = STEPS[name]
    want = loop(*arguments)
    along = np.cos(np.arange(want.size)).reshape(want.shape)
    with jax.enable_x64(True):
        given = [jnp.asarray(x) for x in arguments]
        np.testing.assert_allclose(ours(*given), want, rtol=1e-12, atol=1e-14)
        every = tuple(range(len(given)))
        got = jax.grad(lambda *x: jnp.sum(ours(*x) * along), every)(*given)
    for i, gradient in enumerate(got):

        def objective(x, i=i):
            changed = [x if j == i else y for j, y in enumerate(arguments)]
            return float((loop(*changed) * along).sum())

        slow = oracles.numerical_gradient(objective, arguments[i])
        np.testing.assert_allclose(gradient, slow, rtol=1e-6, atol=1e-8)


def test_address_is_the_four_steps_in_order():
    parameters = {
        "key": KEY,
        "strength": np.array(2.0),
        "gate": np.array(0.4),
        "shift": SHIFT,
        "exponent": np.array(3.0),
    }
    with jax.enable_x64(True):
        given = {name: jnp.asarray(x) for name, x in parameters.items()}
        got = addressing.address(jnp.asarray(TAPE), jnp.asarray(LAST), **given)
    np.testing.assert_allclose(got, oracles.address(TAPE, LAST, parameters), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_short_tapes_wrap_around_as_often_as_they_must(rows, width):
    given, shift = simplex(7, rows), simplex(8, width)
    with jax.enable_x64(True):
        got = addressing.circular_shift(jnp.asarray(given), jnp.asarray(shift))
        got = np.asarray(got)
    np.testing.assert_allclose(got, oracles.circular_shift(given, shift), rtol=1e-12)
    np.testing.assert_allclose(got.sum(), 1, rtol=1e-12)


def test_a_positive_step_goes_to_the_next_row():
    at = jnp.eye(N)[2]
    forward = addressing.circular_shift(at, jnp.array([0.0, 0.0, 1.0]))
    assert forward.tolist() == jnp.eye(N)[3].tolist()
    last = addressing.circular_shift(jnp.eye(N)[N - 1], jnp.array([0.0, 0.0, 1.0]))
    assert last.tolist() == jnp.eye(N)[0].tolist()


weights_of_n = st.lists(
    st.floats(0, 1, width=32), min_size=N, max_size=N
).map(lambda x: np.float32(x))  # fmt: skip


@hypothesis.given(
    last=weights_of_n,
    strength=st.floats(0, 1e4, width=32),
    gate=st.floats(0, 1, width=32),
    step=st.integers(0, R - 1),
    exponent=st.floats(1, 1e3, width=32),
)
@hypothesis.settings(max_examples=50)
def test_weights_stay_in_the_simplex(last, strength, gate, step, exponent):
    total = last.sum()
    last = last / total if total > 0 else np.float32(np.eye(N)[0])
    got = ADDRESS(
        jnp.float32(TAPE),
        jnp.asarray(last),
        key=jnp.float32(KEY),
        strength=jnp.float32(strength),
        gate=jnp.float32(gate),
        shift=jnp.eye(R)[step],
        exponent=jnp.float32(exponent),
    )
    assert ((got >= 0) & (got <= 1)).all()
    np.testing.assert_allclose(got.sum(), 1, rtol=1e-5)


ADDRESS = jax.jit(addressing.address)
EDGES = {
    "a key of zeros": {"key": np.zeros(M)},
    "a tape of zeros": {"tape": np.zeros((N, M))},
    "a huge strength": {"strength": np.array(1e30)},
    "weights that are exactly zero": {"previous": np.eye(N)[3], "gate": np.array(0.0)},
    "a huge exponent": {"exponent": np.array(1e6)},
    "weights of zeros": {"previous": np.zeros(N), "gate": np.array(0.0)},
}


@pytest.mark.parametrize("edge", EDGES)
def test_edges_are_finite_in_value_and_gradient(edge):
    inputs = {
        "tape": TAPE,
        "previous": LAST,
        "key": KEY,
        "strength": np.array(2.0),
        "gate": np.array(0.4),
        "shift": SHIFT,
        "exponent": np.array(3.0),
    } | EDGES[edge]
    given = {name: jnp.float32(x) for name, x in inputs.items()}
    along = jnp.cos(jnp.arange(N, dtype=jnp.float32))

    def objective(given):
        rest = {k: x for k, x in given.items() if k not in ("tape", "previous")}
        return addressing.address(given["tape"], given["previous"], **rest) @ along

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(objective)(given)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradient.values())


def test_a_sharpened_zero_stays_zero():
    got = addressing.sharpen(jnp.array([0.0, 0.5, 0.5]), jnp.array(1.0))
    assert got.tolist() == [0.0, 0.5, 0.5]
    assert addressing.sharpen(jnp.zeros(3), jnp.array(2.0)).tolist() == [0.0] * 3


def test_all_heads_erase_before_any_adds():
    heads = [
        (simplex(10 + i, N), simplex(12 + i, M), draw(14 + i, M)) for i in range(2)
    ]
    with jax.enable_x64(True):
        tape = jnp.asarray(TAPE)
        for w, e, _ in heads:
            tape = addressing.erase_tape(tape, jnp.asarray(w), jnp.asarray(e))
        for w, _, a in heads:
            tape = addressing.add_to_tape(tape, jnp.asarray(w), jnp.asarray(a))
    np.testing.assert_allclose(tape, oracles.write_tape(TAPE, heads), rtol=1e-12)


def test_the_papers_copy_is_a_program_of_addresses():
    """Section 4.1: write each input and step on; return to the start; read in turn."""
    rows, forward = jnp.float32(draw(20, 4, M)), jnp.array([0.0, 0.0, 1.0])
    start, one, zero = jnp.eye(N)[0], jnp.array(1.0), jnp.array(0.0)
    stay = {"key": jnp.ones(M), "strength": one, "gate": zero, "exponent": one}
    tape, at = jnp.float32(TAPE), start
    for row in rows:
        tape = addressing.add_to_tape(
            addressing.erase_tape(tape, at, jnp.ones(M)), at, row
        )
        at = addressing.address(tape, at, shift=forward, **stay)
    read, at = [], start
    for _ in rows:
        read.append(context.read(at, tape))
        at = addressing.address(tape, at, shift=forward, **stay)
    np.testing.assert_array_equal(jnp.stack(read), rows)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_dtypes_are_those_of_the_contract(dtype):
    given = {
        "key": KEY,
        "strength": np.array(2.0),
        "gate": np.array(0.4),
        "shift": SHIFT,
        "exponent": np.array(3.0),
    }
    low = {name: jnp.asarray(x, dtype) for name, x in given.items()}
    tape, last = jnp.asarray(TAPE, dtype), jnp.asarray(LAST, dtype)
    assert addressing.address(tape, last, **low).dtype == jnp.float32
    assert addressing.erase_tape(tape, last, low["key"]).dtype == dtype
    assert addressing.add_to_tape(tape, last, low["key"]).dtype == dtype


BAD = {
    "key": (
        lambda: addressing.content_weights(jnp.ones(2), jnp.ones((3, 4)), jnp.ones(())),
        r"^tape: expected shape \[N, M=2\], got \[3, 4\]",
    ),
    "even": (
        lambda: addressing.circular_shift(jnp.ones(4), jnp.ones(2)),
        r"^shift: expected an odd number of steps R, got 2 \(",
    ),
    "weights": (
        lambda: addressing.erase_tape(jnp.ones((3, 2)), jnp.ones(4), jnp.ones(2)),
        r"^given: expected shape \[N=3\], got \[4\]",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("first", [0, 2])
def test_rows_that_are_masked_are_not_on_the_tape(first):
    """Padding on either side, poisoned: as if the tape were shorter, and wrapped."""
    size = N + 3
    mask = (np.arange(size) >= first) & (np.arange(size) < first + N)
    tape, last = np.full((size, M), 1e6), np.zeros(size)
    tape[mask], last[mask] = TAPE, LAST
    parameters = {
        "key": KEY,
        "strength": np.array(2.0),
        "gate": np.array(0.4),
        "shift": SHIFT,
        "exponent": np.array(3.0),
    }
    with jax.enable_x64(True):
        given = {name: jnp.asarray(x) for name, x in parameters.items()}
        got = addressing.address(
            jnp.asarray(tape), jnp.asarray(last), **given, mask=jnp.asarray(mask)
        )
        got = np.asarray(got)
    want = oracles.address(TAPE, LAST, parameters)
    np.testing.assert_allclose(got[mask], want, rtol=1e-12)
    assert not got[~mask].any()


def test_a_tape_without_rows_has_weights_of_zero():
    mask = jnp.zeros(N, bool)
    with jax.debug_nans(True):
        got = addressing.circular_shift(jnp.float32(LAST), jnp.ones(3), mask=mask)
    assert not got.any()
