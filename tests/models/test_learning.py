"""Models learn: small seeded trainings that must reach a stated accuracy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.core.losses import token_cross_entropy
from attnjax.decode import beam_search
from attnjax.models.rnnsearch import RNNSearch, RNNSearchConfig
from attnjax.models.state import split
from attnjax.train import Loss, init_state, make_train_step

pytestmark = pytest.mark.learning

PAD, BOS, EOS = 0, 1, 2
B, S, V = 64, 7, 11  # sources of 3 to 6 tokens and EOS
T = S

SIZES = RNNSearchConfig(
    source_vocab_size=V,
    target_vocab_size=V,
    embed_dim=16,
    hidden_dim=24,
    align_dim=16,
    readout_dim=16,
    maxout=False,
    init="glorot",
)


def _batch(seed, reverse):
    """Random sources and their copies or reversals, each ended by EOS, [B, S]."""
    rng = np.random.default_rng(seed)
    source, target = np.zeros((2, B, S), np.int32)
    for b, length in enumerate(rng.integers(3, S, B)):
        tokens = rng.integers(3, V, length)
        source[b, : length + 1] = [*tokens, EOS]
        target[b, : length + 1] = [*(tokens[::-1] if reverse else tokens), EOS]
    return source, target


def _train(config, steps, reverse):
    rebuild, params = split(RNNSearch(config, rngs=nnx.Rngs(0)))

    def loss(params, batch, rng):
        source, target = batch
        previous = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
        logits, _ = rebuild(params)(source, source != PAD, previous, rng)
        nats, real = token_cross_entropy(logits, target), target != PAD
        return Loss(jnp.where(real, nats, 0).sum(), real.sum())

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        tx = optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adam(optax.cosine_decay_schedule(1e-2, steps)),
        )
        state, step = init_state(params, tx), make_train_step(loss, tx)
        for i in range(steps):
            state, _ = step(state, _batch(i, reverse), jax.random.key(0))
    return rebuild, state.params


def _exact_match(rebuild, params, reverse):
    """The share of new sequences that a beam gets right from first token to last."""
    source, target = _batch(2**20, reverse)

    @jax.jit
    def decode(params, source):
        model = rebuild(params)
        memory = model.encode(source, source != PAD)
        return beam_search(
            lambda carry, token: model.step(memory, carry, token),
            model.start(memory, T),
            batch_size=B,
            beam_size=3,
            max_length=T,
            bos=BOS,
            eos=EOS,
            pad=PAD,
        ).tokens[:, 0]

    return (np.asarray(decode(params, source)) == target).all(axis=1).mean()


@pytest.mark.parametrize(
    ("options", "reverse"),
    [
        ({"cell": "lstm", "num_layers": 2}, True),
        ({"aligner": "location"}, False),
    ],
    ids=["two-layer LSTM reverses", "location-aware attention copies"],
)
def test_rnnsearch_learns(options, reverse):
    config = dataclasses.replace(SIZES, **options)
    trained = _train(config, 150, reverse)
    assert _exact_match(*trained, reverse) >= 0.95
