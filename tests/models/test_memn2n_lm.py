"""The memory network as a language model: the paper's loop, in pieces and padded."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax as aj
from tests import oracle_memory
from tests.models.laws import check_tokens_are_named

pytestmark = pytest.mark.versions

V, D, N, K, B, T = 11, 6, 4, 3, 2, 9
CONFIG = aj.MemN2NLMConfig(
    vocab_size=V, embed_dim=D, num_hops=K, memory_size=N, init_stddev=0.7
)
TOKENS = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)


def build(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    return aj.split(aj.MemN2NLM(config, rngs=nnx.Rngs(0)))


def papers_matrices(params):
    names = {
        "A": "key_embedding", "C": "value_embedding", "T_A": "age_keys",
        "T_C": "age_values", "W": "w_output",
    }  # fmt: skip
    found = {name: np.array(params[ours], np.float64) for name, ours in names.items()}
    return found | {"H": np.array(params["w_query"], np.float64).T}


@pytest.mark.parametrize("linear", [None, 0, D])
def test_it_is_the_papers_loop(linear):
    rebuild, params = build(linear_units=linear)
    logits, weights = jax.jit(lambda p: rebuild(p)(TOKENS))(params)
    matrices = papers_matrices(params)
    assert weights.shape == (B, K, T, N)
    for b in range(B):
        for t in range(T):
            want, read = oracle_memory.language_model(
                matrices, TOKENS[b, : t + 1], hops=K, size=N,
                linear=D // 2 if linear is None else linear,
            )  # fmt: skip
            np.testing.assert_allclose(logits[b, t], want, rtol=1e-4, atol=1e-4)
            for k in range(K):
                np.testing.assert_allclose(
                    weights[b, k, t, : len(read[k])], read[k], atol=1e-5
                )
                assert not weights[b, k, t, len(read[k]) :].any()


def test_the_gradient_is_the_loops():
    """A directional derivative of the loop in float64, against ours in float32."""
    rebuild, params = build()
    rng = np.random.default_rng(1)
    along = jax.tree.map(lambda x: rng.standard_normal(x.shape), params)

    def loss(p):
        logits, _ = rebuild(p)(TOKENS[:1, :-1])
        return aj.token_cross_entropy(logits, jnp.array(TOKENS[:1, 1:])).sum()

    def loop(step):
        moved = jax.tree.map(lambda x, d: np.asarray(x) + step * d, params, along)
        matrices = papers_matrices(moved)
        return sum(
            oracle_memory.softmax_cross_entropy(
                oracle_memory.language_model(
                    matrices, TOKENS[0, : t + 1], hops=K, size=N, linear=D // 2
                )[0],
                TOKENS[0, t + 1],
            )
            for t in range(T - 1)
        )

    grads = jax.jit(jax.grad(loss))(params)
    ours = sum(
        np.vdot(np.float64(g), d)
        for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(along), strict=True)
    )
    want = (loop(1e-6) - loop(-1e-6)) / 2e-6
    np.testing.assert_allclose(ours, want, rtol=1e-4)


def test_pieces_of_any_size_and_single_steps_give_the_whole():
    rebuild, params = build()
    model = rebuild(params)
    whole, weights = model(TOKENS)
    carry, found = model.start(B), []
    for piece in np.split(TOKENS, [1, 3], axis=1):
        carry, logits = model.prefill(carry, piece)
        found.append(logits)
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)
    carry = model.start(B)
    for t in range(T):
        carry, logits, read = model.step(carry, TOKENS[:, t])
        np.testing.assert_allclose(logits, whole[:, t], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(read, weights[:, -1, t], atol=1e-6)


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_on_either_side_changes_nothing(left):
    rebuild, params = build()
    model = rebuild(params)
    lengths = [3, 5]
    mask = np.zeros((B, 6), bool)
    for row, n in zip(mask, lengths, strict=True):
        row[-n:] = left
        row[:n] |= not left
    padded = np.full((B, 6), -1, np.int32)  # of no token
    padded[mask] = np.concatenate([TOKENS[b, 2 : 2 + lengths[b]] for b in range(B)])
    before, _ = model.prefill(model.start(B), TOKENS[:, :2])
    carry, logits = model.prefill(before, padded, mask)
    after, _, _ = model.step(carry, TOKENS[:, 0])
    for b, n in enumerate(lengths):
        row = aj.TokenHistory(before.tokens[b : b + 1])
        alone, want = model.prefill(row, TOKENS[b : b + 1, 2 : 2 + n])
        np.testing.assert_allclose(logits[b][mask[b]], want[0], rtol=1e-5, atol=1e-5)
        then, _, _ = model.step(alone, TOKENS[b : b + 1, 0])
        assert np.array_equal(after.tokens[b], then.tokens[0])


def test_a_memory_of_one_word_is_a_bigram():
    rebuild, params = build(memory_size=1)
    model = rebuild(params)
    logits, weights = model(np.array([[3, 5, 3], [2, 5, 5]], np.int32))
    assert weights.min() == 1
    np.testing.assert_allclose(logits[0, 1], logits[1, 2], rtol=1e-6)
    np.testing.assert_allclose(logits[0, 0], logits[0, 2], rtol=1e-6)


def test_bfloat16_is_the_dtype_of_computation_only():
    rebuild, params = build()
    low, _ = build(dtype="bfloat16")
    logits, weights = low(params)(TOKENS)
    assert (logits.dtype, weights.dtype) == ("float32", "bfloat16")
    np.testing.assert_allclose(logits, rebuild(params)(TOKENS)[0], rtol=0.1, atol=0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_size": 0}, "memory_size: expected at least 1, got 0"),
        ({"linear_units": D + 1}, f"linear_units: expected 0 to {D}, got {D + 1}"),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_an_id_outside_the_vocabulary_is_named():
    rebuild, params = build()
    with pytest.raises(ValueError, match=f"tokens: expected ids from 0 to {V - 1}"):
        rebuild(params)(np.array([[V]]))
    with pytest.raises(ValueError, match=f"tokens: expected ids from 0 to {V - 1}"):
        rebuild(params)(np.array([[-1]]))


def test_other_tokens_and_masks_are_named():
    rebuild, params = build()
    check_tokens_are_named(rebuild(params), TOKENS)
