"""Attention of this library inside flax's modules, against flax's own numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax.core.weights import sparsemax
from attnjax.models.flax_attention import attention_fn
from tests.core.cases import draw

pytestmark = pytest.mark.versions

M, H, T, S = 6, 3, 5, 7
CLOSE = 2e-5


@pytest.fixture(autouse=True)
def promotion():
    """flax's own attention promotes dtypes as NumPy does."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def module(**options):
    settings = {"num_heads": H, "in_features": M, "decode": False, "rngs": nnx.Rngs(0)}
    return nnx.MultiHeadAttention(**(settings | options))


def both(**options):
    """flax's module, and the same one with this library's attention."""
    return module(**options), module(**options, attention_fn=attention_fn())


def normal(seed, *shape):
    return jnp.asarray(draw(seed, *shape), "float32")


LEADING = [(), (2,), (2, 3)]


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("is_causal", [False, True])
def test_self_attention_is_flaxs(leading, is_causal):
    x = normal(0, *leading, T, M)
    theirs, ours = both()
    got = ours(x, is_causal=is_causal)
    np.testing.assert_allclose(got, theirs(x, is_causal=is_causal), CLOSE, CLOSE)
    if is_causal:  # and no query sees what comes after it
        later = x.at[..., -1, :].add(1.0)
        np.testing.assert_array_equal(
            got[..., :-1, :], ours(later, is_causal=True)[..., :-1, :]
        )


@pytest.mark.parametrize("leading", LEADING, ids=str)
@pytest.mark.parametrize("dtype", [bool, "float32"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_cross_attention_with_a_padding_mask_is_flaxs(leading, dtype, is_causal):
    query, keys = normal(0, *leading, T, M), normal(1, *leading, S, M)
    real = jnp.asarray(draw(2, *leading, S) > -0.5).at[..., 0].set(True)
    mask = nnx.make_attention_mask(jnp.ones((*leading, T)), real, dtype=dtype)
    theirs, ours = both(num_kv_heads=1)
    if is_causal:  # flax broadcasts its causal mask to the given one
        mask = jnp.broadcast_to(mask, (*leading, H, T, S))
    options = {"mask": mask, "is_causal": is_causal}
    got, want = ours(query, keys, **options), theirs(query, keys, **options)
    np.testing.assert_allclose(got, want, CLOSE, CLOSE)


def test_flaxs_own_mask_helpers_are_taken():
    x, mask = normal(0, 2, T, M), nnx.make_causal_mask(jnp.ones((2, T)))
    assert mask.dtype == jnp.float32
    theirs, ours = both()
    np.testing.assert_allclose(ours(x, mask=mask), theirs(x, mask=mask), CLOSE, CLOSE)
    jitted = nnx.jit(lambda module, x, mask: module(x, mask=mask))
    np.testing.assert_allclose(
        jitted(ours, x, mask), theirs(x, mask=mask), CLOSE, CLOSE
    )


def test_decoding_with_flaxs_cache_is_flaxs():
    x = normal(0, 2, T, M)
    pair = both(decode=True)
    for one in pair:
        one.init_cache(x.shape)
    for t in range(T):
        want, got = (one(x[:, t : t + 1]) for one in pair)
        np.testing.assert_allclose(got, want, CLOSE, CLOSE)


@pytest.mark.parametrize("broadcast_dropout", [False, True])
def test_dropout_of_weights_is_flaxs(broadcast_dropout):
    x = normal(0, 2, T, M)
    options = {"dropout_rate": 0.4, "broadcast_dropout": broadcast_dropout}
    theirs, ours = both(**options, deterministic=False)
    want, got = (one(x, rngs=nnx.Rngs(dropout=3)) for one in (theirs, ours))
    np.testing.assert_allclose(got, want, CLOSE, CLOSE)
    quiet = ours(x, deterministic=True)
    np.testing.assert_allclose(quiet, theirs(x, deterministic=True), CLOSE, CLOSE)
    assert not np.allclose(quiet, got, 1e-3)


def test_dropout_needs_a_key():
    x = normal(0, T, H, 2)
    with pytest.raises(ValueError, match=r"^dropout_rng: expected a random key"):
        attention_fn()(x, x, x, dropout_rate=0.5)
    attention_fn()(x, x, x, dropout_rate=0.5, deterministic=True)


@pytest.mark.filterwarnings("ignore:Using 'Module.sow:DeprecationWarning")
def test_weights_are_sown_where_flax_sows_them():
    x, sown = normal(0, 2, T, M), []
    for one in both():
        one(x, sow_weights=True, is_causal=True)
        (weights,) = nnx.pop(one, nnx.Intermediate)["attention_weights"].get_value()
        sown.append(weights)
    np.testing.assert_allclose(sown[1], sown[0], CLOSE, CLOSE)


def test_dtype_and_precision_are_honoured():
    x = normal(0, 2, T, M)
    theirs, ours = both(dtype="bfloat16", precision=jax.lax.Precision.HIGHEST)
    assert ours(x).dtype == theirs(x).dtype == jnp.bfloat16
    q = normal(0, T, H, 2)
    text = str(
        jax.make_jaxpr(
            lambda q: attention_fn()(q, q, q, precision=jax.lax.Precision.HIGHEST)
        )(q)
    )
    assert text.count("Precision.HIGHEST") + text.count("HIGHEST, ") >= 2


def test_linens_module_takes_it():
    x = normal(0, 2, T, M)
    mask = nn.make_causal_mask(jnp.ones((2, T)))
    theirs = nn.MultiHeadDotProductAttention(num_heads=H)
    ours = nn.MultiHeadDotProductAttention(num_heads=H, attention_fn=attention_fn())
    params = theirs.init(jax.random.key(0), x)
    want = theirs.apply(params, x, mask=mask, sow_weights=True, mutable=True)
    got = ours.apply(params, x, mask=mask, sow_weights=True, mutable=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, CLOSE, CLOSE), got, want)


def test_another_weighting_takes_its_place():
    x = normal(0, 2, T, M)
    other = module(attention_fn=attention_fn(weighting=sparsemax))
    assert not np.allclose(other(x), module()(x), 1e-3)


def test_unknown_arguments_are_refused():
    q = normal(0, T, H, 2)
    with pytest.raises(TypeError, match="is_casual"):
        attention_fn()(q, q, q, is_casual=True)
    with pytest.raises(TypeError, match="positional"):
        attention_fn()(q, q, q, jnp.zeros((T, T)))


def test_an_additive_mask_is_refused():
    """Adding 0 and -1e9 is the job of `bias`; as a mask it would hide everything."""
    q = normal(0, T, H, 2)
    additive = jnp.where(jnp.tri(T, dtype=bool), 0, -1e9)
    with pytest.raises(ValueError, match=r"^mask: expected booleans.*`bias`"):
        attention_fn()(q, q, q, mask=additive)
    traced = jax.jit(lambda q, mask: attention_fn()(q, q, q, mask=mask))
    assert np.isnan(traced(q, additive)).all()
    np.testing.assert_allclose(
        attention_fn()(q, q, q, bias=additive),
        attention_fn()(q, q, q, is_causal=True),
        CLOSE,
        CLOSE,
    )


def test_nothing_to_attend_with_is_the_empty_array():
    x = jnp.ones((0, T, M))
    assert module(attention_fn=attention_fn())(x).shape == (0, T, M)
