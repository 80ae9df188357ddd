"""Laws of every decoder, with and without token constraints.

`test_decode_beam.py` and `test_decode_sample.py` compare with oracles;
`test_decode_errors.py` tests error messages.
"""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decode.cases import (
    BOS,
    DECODERS,
    EOS,
    PAD,
    UNK,
    B,
    D,
    S,
    T,
    V,
    assert_empty,
    assert_same,
    decode_table,
    each_decoder,
    each_kind,
    initial_carry,
    make_model,
    rows_of,
    sequences,
    step,
)
from tests.oracle_decode import repeats, teacher_force

pytestmark = pytest.mark.versions

CONSTRAINED = [name for name in DECODERS if "constrained" in name]


@each_decoder
@pytest.mark.parametrize("seed", range(3))
def test_hypotheses_respect_lengths_and_suppressed_tokens(decode, seed):
    found = decode(
        make_model(seed), min_length=4, max_length=7, suppress_tokens=(UNK, 5)
    )
    for y in itertools.chain.from_iterable(sequences(found)):
        assert 4 <= len(y) <= 7
        assert y[-1] == EOS
        assert not {PAD, BOS, EOS, UNK, 5} & set(y[:-1])
    beyond = np.arange(7) >= np.asarray(found.lengths)[..., None]
    assert (np.asarray(found.tokens)[beyond] == PAD).all()
    assert (np.asarray(found.weights)[beyond] == 0).all()
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()


@pytest.mark.parametrize("name", CONSTRAINED)
@pytest.mark.parametrize("seed", range(3))
def test_hypotheses_begin_with_the_prefix_and_repeat_no_bigram(name, seed):
    model = make_model(seed)
    for row, ys in enumerate(sequences(DECODERS[name](model))):
        first = model.prefix[row, : model.prefix_lengths[row]].tolist()
        assert ys[0]
        for y in filter(None, ys):
            assert y[: len(first)] == first
            ends = range(len(first) + 1, len(y) + 1)
            assert not any(repeats(y[:end], 2) for end in ends)


@each_decoder
@pytest.mark.parametrize("seed", range(3))
def test_teacher_forcing_gives_the_same_log_probs_and_weights(decode, seed):
    model = make_model(seed)
    found = decode(model)
    for row, ys in enumerate(sequences(found)):
        for k, y in enumerate(ys):
            log_probs, weights = teacher_force(model, row, y[:-1])
            want = log_probs[np.arange(len(y)), y].sum()
            np.testing.assert_allclose(found.log_probs[row, k], want, rtol=1e-5)
            np.testing.assert_allclose(
                found.weights[row, k, : len(y)], weights, rtol=1e-4, atol=1e-6
            )


@each_decoder
def test_shapes_and_dtypes(decode):
    found = decode(make_model(0))
    K = found.tokens.shape[1]
    assert found.tokens.shape == (B, K, T)
    assert found.weights.shape == (B, K, T, S)
    assert {x.shape for x in (found.lengths, found.log_probs, found.scores)} == {(B, K)}
    assert [x.dtype for x in found] == ["int32", "int32", *["float32"] * 3]


@each_decoder
def test_rows_are_independent_of_each_other_and_of_padding_rows(decode):
    model = make_model(7)
    full = decode(model)
    # A sample depends on the index of its row, so rows keep theirs; the batch changes.
    more = rows_of(model, [0, 1, 2, 0, 1, 2])
    more.keys[B:] *= 9
    found = decode(more, max_length=jnp.array([T, T, T, T, T, 0]), max_decode_length=T)
    assert_same(full, jax.tree.map(lambda x: x[:B], found))
    assert_empty(jax.tree.map(lambda x: x[-1:], found))


@pytest.mark.parametrize("name", [x for x in DECODERS if "sample" not in x])
def test_permuting_rows_permutes_hypotheses(name):
    model, order = make_model(8), np.array([2, 0, 1])
    full = DECODERS[name](model)
    found = DECODERS[name](rows_of(model, order))
    assert_same(jax.tree.map(lambda x: x[order], full), found)


@each_decoder
def test_padding_of_source_prefix_and_positions_changes_nothing(decode):
    model = make_model(11)
    padded = model._replace(
        keys=np.pad(model.keys, ((0, 0), (0, 3), (0, 0)), constant_values=1e6),
        mask=np.pad(model.mask, ((0, 0), (0, 3))),
        prefix=np.pad(model.prefix, ((0, 0), (0, 5)), constant_values=-7),
    )
    alone, found = decode(model), decode(padded, max_length=T, max_decode_length=T + 4)
    assert (np.asarray(found.tokens[..., T:]) == PAD).all()
    assert (np.asarray(found.weights[..., T:, :]) == 0).all()
    assert (np.asarray(found.weights[..., S:]) == 0).all()
    cut = found.tokens[..., :T], found.weights[..., :T, :S]
    assert_same(alone, found._replace(tokens=cut[0], weights=cut[1]))


@each_kind
def test_each_row_has_its_own_maximum_length(decode):
    model = make_model(10)
    limits = [2, 5, 3]
    found = decode(model, max_length=jnp.array(limits), max_decode_length=T)
    for row, limit in enumerate(limits):
        alone = decode(model, max_length=jnp.full(B, limit), max_decode_length=T)
        assert_same(*(jax.tree.map(lambda x, r=row: x[r], x) for x in (found, alone)))
        assert np.asarray(found.lengths[row]).max() <= limit


@each_kind
def test_max_length_overrides_min_length(decode):
    found = decode(
        make_model(0),
        max_length=jnp.array([2, 3, 6]),
        max_decode_length=6,
        min_length=5,
    )
    assert [max(map(len, ys)) for ys in sequences(found)] == [2, 3, 6]


@each_kind
def test_constraints_that_allow_no_token_give_empty_hypotheses_without_nan(decode):
    everything = tuple(set(range(V)) - {EOS})
    found = decode(
        make_model(0), suppress_tokens=everything, min_length=4, max_length=5
    )
    assert_empty(found)
    assert not any(np.isnan(x).any() for x in found)


@pytest.mark.parametrize("name", ["greedy", "beam 5"])
def test_logits_of_minus_infinity_give_empty_hypotheses_without_nan(name):
    def impossible(model, carry, token):
        carry, logits, weights = step(model, carry, token)
        return carry, jnp.full_like(logits, -jnp.inf), weights

    with jax.debug_nans(True), jax.disable_jit():
        assert_empty(DECODERS[name](make_model(0), step=impossible))


@each_kind
def test_bos_eos_and_pad_may_be_one_id(decode):
    found = decode(make_model(3), bos=EOS, pad=EOS)
    for y in itertools.chain.from_iterable(sequences(found)):
        assert y.index(EOS) == len(y) - 1


@each_kind
def test_jit_gives_the_eager_result(decode):
    model = make_model(4)
    found = decode(model, max_length=5)
    with jax.disable_jit():
        assert_same(decode(model, max_length=5), found)


@pytest.mark.parametrize("name", CONSTRAINED)
def test_compiles_once_for_each_shape(name):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, limits):
        return DECODERS[name](model, max_length=limits, max_decode_length=T)

    for seed in range(3):
        model = make_model(seed)._replace(prefix_lengths=np.full(B, seed))
        run(model, jnp.array([T, seed, 2 + seed]))


@each_kind
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_log_probs_are_at_least_float32(decode, dtype):
    with jax.enable_x64(dtype == "float64"):
        carry = initial_carry() | {"h": jnp.zeros((B, D), dtype)}
        found = jax.eval_shape(lambda: decode(make_model(0), carry))
    want = {"bfloat16": "float32", "float64": "float64"}[dtype]
    assert [x.dtype for x in found] == ["int32", "int32", *[want] * 3]


@each_kind
def test_the_carry_may_be_empty(decode):
    table = np.log(np.random.default_rng(0).dirichlet(np.ones(V), size=V))
    found = decode_table(decode, table)
    for y, log_prob in zip(sequences(found)[0], found.log_probs[0], strict=True):
        want = sum(table[a, b] for a, b in itertools.pairwise([BOS, *y]))
        np.testing.assert_allclose(log_prob, want, rtol=1e-5)


# Constraints


@pytest.mark.parametrize("name", ["greedy", "sample", "beam 5"])
def test_constraints_without_effect_change_nothing(name):
    model = make_model(12)
    none = np.zeros(B, np.int32)
    options = {
        "prefix": model.prefix,
        "prefix_lengths": none,
        "no_repeat_ngram_size": T,
    }
    assert_same(DECODERS[name](model), DECODERS[name](model, **options))


def test_a_prefix_without_columns_changes_nothing():
    model = make_model(12)
    found = DECODERS["greedy"](model, prefix=model.prefix[:, :0])
    assert_same(DECODERS["greedy"](model), found)


@pytest.mark.parametrize("name", ["greedy", "sample"])
def test_forcing_the_tokens_of_free_decoding_changes_nothing(name):
    model = make_model(13)
    free = DECODERS[name](model)
    begun = {"prefix": free.tokens[:, 0], "prefix_lengths": jnp.array([2, 0, 5])}
    assert_same(free, DECODERS[name](model, **begun))
    assert_same(free, DECODERS[name](model, prefix=free.tokens[:, 0]))  # EOS and all


@pytest.mark.parametrize("name", ["greedy", "sample", "beam 5"])
def test_the_prefix_overrides_other_constraints(name):
    options = {
        "suppress_tokens": (UNK,),
        "no_repeat_ngram_size": 1,
        "min_length": 6,
        "max_length": 7,
    }
    prefix = np.array([[UNK, UNK, 9, UNK], [4, EOS, 4, 4], [9, 4, 9, 4]])
    found = DECODERS[name](make_model(14), prefix=prefix, **options)
    for row, ys in enumerate(sequences(found)):
        assert ys[0]
        for y in filter(None, ys):
            if row == 1:
                assert y == [4, EOS]
                continue
            assert y[:4] == prefix[row].tolist()
            assert not {UNK, 9, 4 if row == 2 else UNK} & set(y[4:])
            assert len(set(y[4:])) == len(y[4:]) >= 2
    assert [sum(map(bool, ys)) for ys in sequences(found)][1] == 1


@pytest.mark.parametrize("name", ["greedy", "sample", "beam 5"])
def test_an_impossible_prefix_leaves_the_row_empty(name):
    model = make_model(15)
    prefix = np.array([[4, 6, 4], [4, V, 4], [4, -1, 4]])  # too long, no ids
    found = DECODERS[name](model, prefix=prefix, max_length=3)
    assert_empty(found)
    assert not any(np.isnan(x).any() for x in found)
    prefix[0, 2] = EOS  # now EOS fits
    found = DECODERS[name](model, prefix=prefix, max_length=3)
    assert sequences(found)[0][0] == [4, 6, EOS]


@pytest.mark.parametrize("name", ["greedy", "sample", "beam 5"])
def test_hypotheses_end_when_every_token_would_repeat(name):
    words = (4, 6)
    options = {
        "suppress_tokens": tuple(set(range(V)) - {EOS, *words}),
        "no_repeat_ngram_size": 1,
    }
    found = DECODERS[name](make_model(16), **options)
    for y in itertools.chain.from_iterable(sequences(found)):
        assert len(set(y)) == len(y)
    assert_empty(DECODERS[name](make_model(16), **options, min_length=4))
