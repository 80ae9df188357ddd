"""Decoders of a transducer against sums over all paths, written out."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import ctc_greedy, transducer_beam_search, transducer_greedy

V, T, U = 3, 4, 3  # ids with the blank (0), frames, the most labels
B = 2


def random_tables(seed, scale=1.5):
    """Logits [T, V] of each sequence of labels: any function of the history."""
    rng = np.random.default_rng(seed)
    return {
        labels: rng.normal(0, scale, (B, T, V))
        for n in range(U + 1)
        for labels in itertools.product((1, 2), repeat=n)
    }


def number(labels):
    """Base 3, so that a state is one integer."""
    return sum(k * 3**n for n, k in enumerate(labels))


def system(tables):
    """join, advance and the first state: (history, its length, the row)."""
    dense = np.zeros((B, 3**U, T, V), np.float32)
    for labels, logits in tables.items():
        dense[:, number(labels)] = logits
    dense = jnp.asarray(dense)

    def join(frame, state):
        history, _, row = state
        return dense[row, history, frame[:, 0].astype(jnp.int32)]

    def advance(state, label):
        history, length, row = state
        return history + label * 3**length, length + 1, row

    zeros = jnp.zeros(B, jnp.int32)
    frames = jnp.broadcast_to(
        jnp.arange(T, dtype=jnp.float32)[None, :, None], (B, T, 1)
    )
    return join, advance, (zeros, zeros, jnp.arange(B)), frames


def log_softmax(x):
    return x - np.log(np.exp(x).sum())


def probability(tables, row, labels, num_frames, t=0, u=0):
    """Sums over all paths by recursion."""
    if t == num_frames:
        return float(u == len(labels))
    p = np.exp(log_softmax(tables[labels[:u]][row, t]))
    total = p[0] * probability(tables, row, labels, num_frames, t + 1, u)
    if u < len(labels):
        total += p[labels[u]] * probability(tables, row, labels, num_frames, t, u + 1)
    return total


def everything(tables, row, num_frames):
    found = {k: probability(tables, row, k, num_frames) for k in tables}
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_holds_everything_is_exact(seed):
    tables = random_tables(seed)
    num_frames = np.array([T, T - 2])
    found = jax.jit(
        lambda: transducer_beam_search(
            *system(tables),
            jnp.asarray(num_frames),
            max_labels=U,
            beam_size=len(tables),
        )
    )()
    for row in range(B):
        want = everything(tables, row, num_frames[row])
        assert len(want) == len(tables)
        for k, (labels, p) in enumerate(want):
            n = int(found.lengths[row, k])
            assert tuple(found.labels[row, k, :n].tolist()) == labels
            assert not found.labels[row, k, n:].any()
            np.testing.assert_allclose(np.exp(found.log_probs[row, k]), p, rtol=1e-4)


def test_equal_labels_by_several_paths_are_one_hypothesis_that_adds_up():
    """Every path of "1" has less than the empty path; together they have more."""
    tables = {k: np.zeros((B, T, V)) for k in random_tables(0)}
    tables[()][:] = np.log([0.72, 0.27, 0.01])
    tables[(1,)][:] = np.log([0.98, 0.01, 0.01])
    best_path = 0.72**3 * 0.27 * 0.98  # the label at the last frame: less than 0.72^4
    assert best_path < 0.72**4 < probability(tables, 0, (1,), T)
    counts = jnp.array([T, T])
    beam = transducer_beam_search(*system(tables), counts, max_labels=U, beam_size=4)
    assert beam.labels[0, 0].tolist() == [1, 0, 0]
    strings = [tuple(x) for x in beam.labels[0].tolist()]
    assert len(set(strings)) == len(strings)
    greedy = transducer_greedy(*system(tables), counts, max_labels=U, max_per_frame=U)
    assert greedy.lengths[0, 0] == 0
    np.testing.assert_allclose(np.exp(greedy.log_probs[0, 0]), 0.72**4, rtol=1e-5)


def greedy_by_hand(tables, row, num_frames, cap):
    labels, frames, total, t, here = (), [], 0.0, 0, 0
    while t < num_frames:
        log_probs = log_softmax(tables[labels][row, t])
        best = int(np.argmax(log_probs))
        if here == cap or len(labels) == U:
            best = 0
        total += log_probs[best]
        if best:
            labels, frames, here = (*labels, best), [*frames, t], here + 1
        else:
            t, here = t + 1, 0
    return labels, frames, total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cap", [1, 2, 3])
def test_greedy_takes_the_best_arc_and_stops_at_the_cap(seed, cap):
    tables, num_frames = random_tables(seed), np.array([T, T - 3])
    found = transducer_greedy(
        *system(tables), jnp.asarray(num_frames), max_labels=U, max_per_frame=cap
    )
    for row in range(B):
        labels, frames, total = greedy_by_hand(tables, row, num_frames[row], cap)
        n = len(labels)
        assert found.lengths[row, 0] == n
        assert found.labels[row, 0].tolist() == [*labels, *[0] * (U - n)]
        assert found.frames[row, 0].tolist() == [*frames, *[-1] * (U - n)]
        np.testing.assert_allclose(found.log_probs[row, 0], total, rtol=1e-5)


def test_a_row_without_frames_has_no_hypothesis():
    tables, counts = random_tables(0), jnp.array([0, T])
    for found in (
        transducer_greedy(*system(tables), counts, max_labels=U, max_per_frame=2),
        transducer_beam_search(*system(tables), counts, max_labels=U, beam_size=2),
    ):
        assert found.log_probs[0, 0] == -jnp.inf
        assert found.lengths[0, 0] == 0
        assert np.isfinite(found.log_probs[1, 0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_log_probabilities_of_low_precision_add_up_in_float32(dtype):
    """Of 300 frames: in float16 they would add up to an infinity, or to 8 bits."""
    frames, counts = jnp.zeros((1, 300, 1)), jnp.array([300])
    logits = jnp.array([[0.0, -300.0, -300.0]], dtype)
    long = logits + jnp.asarray(300 * np.eye(3)[[1]], dtype)  # as probable as a blank

    def join(frame, state):
        return state

    def advance(state, label):
        return jnp.broadcast_to(logits, state.shape)

    options = {"max_labels": 1, "beam_size": 2}
    beam = transducer_beam_search(join, advance, long, frames, counts, **options)
    greedy = transducer_greedy(
        join, advance, long, frames, counts, max_labels=1, max_per_frame=1
    )
    ctc = ctc_greedy(jnp.broadcast_to(long, (1, 300, 3)), counts)
    for found in (beam, greedy, ctc):
        assert found.log_probs.dtype == jnp.float32
    half = np.log(0.5)
    # One label at the first frame or any later one; no label.
    np.testing.assert_allclose(np.exp(beam.log_probs[0, 0]), 1, rtol=1e-5)
    np.testing.assert_allclose(beam.log_probs[0, 1], 300 * half, rtol=1e-5)
    np.testing.assert_allclose(greedy.log_probs[0, 0], 300 * half, rtol=1e-5)
    np.testing.assert_allclose(ctc.log_probs[0, 0], 300 * half, rtol=1e-5)


def test_suppressed_labels_never_come_out_and_change_no_probability():
    """As `beam_search` does it: without a new normalisation."""
    tables, counts, no = random_tables(1), jnp.array([T, T]), {"suppress_labels": (2,)}
    beam = transducer_beam_search(
        *system(tables), counts, max_labels=U, beam_size=U + 1, **no
    )
    for row in range(B):
        want = [probability(tables, row, (1,) * n, T) for n in range(U + 1)]
        got = dict(zip(beam.lengths[row].tolist(), beam.log_probs[row], strict=True))
        assert not (beam.labels[row] == 2).any()
        np.testing.assert_allclose(
            [np.exp(got[n]) for n in range(U + 1)], want, rtol=1e-4
        )
    likes_two = {k: np.tile([0.0, 1.0, 9.0], (B, T, 1)) for k in tables}
    greedy = transducer_greedy(
        *system(likes_two), counts, max_labels=U, max_per_frame=1, **no
    )
    assert greedy.labels.tolist() == [[[1] * U]] * B
    ctc = ctc_greedy(jnp.asarray(likes_two[()], jnp.float32), counts, **no)
    assert ctc.labels[:, 0, 0].tolist() == [1] * B
    at_one = 1 - np.log(np.exp([0.0, 1.0, 9.0]).sum())
    np.testing.assert_allclose(ctc.log_probs, T * at_one, rtol=1e-5)
    with pytest.raises(ValueError, match="suppress_labels: expected ids other than"):
        ctc_greedy(jnp.zeros((B, T, V)), counts, suppress_labels=(0,))
    with pytest.raises(ValueError, match="suppress_labels: expected at most 2"):
        ctc_greedy(jnp.zeros((B, T, V)), counts, suppress_labels=(3,))


def decoders(frames=None):
    """Every decoder, as a function of counts of frames and options."""
    join, advance, state, given = system(random_tables(0))
    frames = given if frames is None else frames
    searched = partial(transducer_beam_search, join, advance, state, frames)
    followed = partial(transducer_greedy, join, advance, state, frames)
    return {
        "beam": partial(searched, max_labels=U, beam_size=2),
        "greedy": partial(followed, max_labels=U, max_per_frame=2),
        "ctc": partial(ctc_greedy, jnp.zeros((B, T, V))),
    }


DECODERS = "beam", "greedy", "ctc"


@pytest.mark.parametrize("name", DECODERS)
def test_wrong_counts_of_frames_and_blanks_are_named(name):
    decode, good = decoders()[name], jnp.array([T, 1])
    with pytest.raises(ValueError, match=f"num_frames: expected numbers from 0 to {T}"):
        decode(jnp.array([1, T + 1]))
    with pytest.raises(ValueError, match=r"num_frames: expected .*, got -1 \(the"):
        decode(jnp.array([-1, T]))
    with pytest.raises(ValueError, match=r"num_frames: expected shape \[(B=)?2\], got"):
        decode(jnp.array([T]))
    with pytest.raises(TypeError, match="num_frames: expected int values, got float32"):
        decode(jnp.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"blank: expected at most 2 \(the last id\)"):
        decode(good, blank=V)
    with pytest.raises(ValueError, match="blank: expected at least 0, got -1"):
        decode(good, blank=-1)


@pytest.mark.parametrize("name", DECODERS)
def test_a_count_that_is_wrong_and_not_known_gives_nan(name):
    log_probs = jax.jit(decoders()[name])(jnp.array([T, T + 1])).log_probs
    assert np.isfinite(log_probs[0, 0])
    assert np.isnan(log_probs[1]).all()


def test_wrong_shapes_are_named():
    counts, (join, *rest) = jnp.array([T, T]), system(random_tables(0))
    with pytest.raises(
        ValueError, match=r"frames: expected shape \[B, T, J\], got \[4"
    ):
        decoders(jnp.zeros((T, 1)))["greedy"](counts)
    with pytest.raises(
        ValueError, match=r"join: expected shape \[2, V\], got \[3, 2\]"
    ):
        transducer_greedy(
            lambda *x: join(*x).T, *rest, counts, max_labels=U, max_per_frame=2
        )
    with pytest.raises(ValueError, match=r"logits: expected shape \[B, T, V\], got"):
        ctc_greedy(jnp.zeros((T, V)), counts)
