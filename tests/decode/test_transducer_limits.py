"""Limits on the labels of a row, of a frame and of a beam."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import transducer_beam_search, transducer_greedy
from tests.decode.test_transducer import B, T, U, V, decoders, random_tables, system


def test_a_model_that_never_emits_a_blank_ends_all_the_same():
    tables = {k: np.tile([-50.0, 0.0, 0.0], (B, T, 1)) for k in random_tables(0)}
    counts = jnp.array([T, T])
    found = transducer_greedy(*system(tables), counts, max_labels=U, max_per_frame=9)
    assert found.lengths.tolist() == [[U], [U]]
    found = transducer_beam_search(*system(tables), counts, max_labels=U, beam_size=2)
    assert found.lengths[:, 0].tolist() == [U, U]


@pytest.mark.parametrize("limits", [(1, 3), (2, 0), (3, 9)])
def test_each_row_may_have_a_limit_of_its_own(limits):
    """A row is what it is if its limit is that of all, and has the same padding."""
    tables = {k: x - 4 * np.eye(V)[0] for k, x in random_tables(3).items()}
    model, counts = system(tables), jnp.array([T, T])
    for decode in (
        partial(transducer_greedy, *model, counts, max_per_frame=2),
        partial(transducer_beam_search, *model, counts, beam_size=3),
    ):
        decode = partial(decode, max_decode_length=U)
        found = jax.jit(lambda x, f=decode: f(max_labels=x))(jnp.array(limits))
        assert found.labels.shape[-1] == found.frames.shape[-1] == U
        for row, limit in enumerate(limits):
            assert found.lengths[row].max() == min(limit, U)
            if limit == 0:  # only blanks are left
                assert found.log_probs[row, 0] > -jnp.inf
                continue
            want = decode(max_labels=limit)
            for x, y in zip(found, want, strict=True):
                np.testing.assert_allclose(x[row], y[row], rtol=1e-6)


def test_limits_are_integers_of_one_or_more():
    made = system(random_tables(0))
    counts = jnp.array([T, T])
    with pytest.raises(TypeError, match="beam_size: expected a Python int, got float"):
        transducer_beam_search(*made, counts, max_labels=U, beam_size=2.0)
    with pytest.raises(ValueError, match="max_per_frame: expected at least 1, got 0"):
        transducer_greedy(*made, counts, max_labels=U, max_per_frame=0)
    with pytest.raises(ValueError, match="beam_size: expected at least 1, got 0"):
        transducer_beam_search(*made, counts, max_labels=U, beam_size=0)
    with pytest.raises(ValueError, match="max_labels: expected at least 1, got 0"):
        transducer_beam_search(*made, counts, max_labels=0, beam_size=1)
    for name in ("greedy", "beam"):
        decode, each = decoders()[name], jnp.array([1, 2])
        with pytest.raises(ValueError, match="max_decode_length: expected an int whe"):
            decode(counts, max_labels=each)
        with pytest.raises(ValueError, match=r"max_labels: expected shape \[2\], got"):
            decode(counts, max_labels=each[:1], max_decode_length=U)
        with pytest.raises(TypeError, match="max_labels: expected int values, got fl"):
            decode(counts, max_labels=jnp.ones(2), max_decode_length=U)
