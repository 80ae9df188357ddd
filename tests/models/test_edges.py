"""Padding on either side, full caches and positions beyond a table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attnjax as aj

B, S, T, V = 2, 7, 5, 11
BLOCK = aj.BlockConfig(d_model=8, num_heads=2, d_ff=7)
PLACES = ["sinusoidal", "learned", "rope", "alibi", "relative"]
RNG = np.random.default_rng(5)
SOURCE = jnp.asarray(RNG.integers(1, V, (B, S)), jnp.int32)
TARGET = jnp.asarray(RNG.integers(1, V, (B, T)), jnp.int32)
COUNTS = (7, 3)  # tokens of each row


def gpt(places, **changes):
    block = dataclasses.replace(BLOCK, position_embedding=places)
    config = {"vocab_size": V, "num_layers": 2, "max_length": S, "block": block}
    return aj.GPT(aj.GPTConfig(**config | changes), rngs=nnx.Rngs(0))


def transformer(places="sinusoidal", **changes):
    block = dataclasses.replace(BLOCK, position_embedding=places)
    layers = {"encoder_layers": 1, "decoder_layers": 1, "max_length": S}
    vocab = {"source_vocab_size": V, "target_vocab_size": V}
    config = aj.TransformerConfig(block=block, **vocab | layers | changes)
    return aj.Transformer(config, rngs=nnx.Rngs(0))


def recurrent(kind, **changes):
    sizes = {"embed_dim": 4, "hidden_dim": 6, "readout_dim": 4}
    vocab = {"source_vocab_size": V, "target_vocab_size": V}
    # With the paper's tiny parameters no state would reach the logits.
    config = getattr(aj, f"{kind}Config")(init="glorot", **sizes | vocab | changes)
    return getattr(aj, kind)(config, rngs=nnx.Rngs(0))


def placed(row, padding):
    """The tokens of a row among padding: after it, before it, or on both sides."""
    count, spare = COUNTS[row], S - COUNTS[row]
    before = {"right": 0, "left": spare, "both": spare // 2}[padding]
    mask = np.zeros(S, bool)
    mask[before : before + count] = True
    ids = np.full(S, 9)
    ids[mask] = SOURCE[row, :count]
    return ids, mask


def padded(padding):
    ids, masks = zip(*(placed(row, padding) for row in range(B)), strict=True)
    return jnp.asarray(np.stack(ids), jnp.int32), jnp.asarray(np.stack(masks))


@pytest.mark.parametrize("padding", ["right", "left", "both"])
@pytest.mark.parametrize("places", PLACES)
def test_prefill_takes_padding_on_either_side(places, padding):
    """As the row alone, and so does the step after it."""
    model = gpt(places, max_length=S + 1)
    ids, mask = padded(padding)
    cache, logits = model.prefill(model.start(B), ids, mask)
    _, after, _ = model.step(cache, jnp.full(B, 4, jnp.int32))
    for row, count in enumerate(COUNTS):
        alone = jnp.append(SOURCE[row, :count], 4)[None]
        want = model(alone)[0][0]
        np.testing.assert_allclose(logits[row][mask[row]], want[:count], 1e-4, 1e-5)
        np.testing.assert_allclose(after[row], want[count], 1e-4, 1e-5)


ENCODERS = {
    **{f"Transformer-{p}": lambda p=p: transformer(p) for p in PLACES},
    "RNNEncoderDecoder": lambda: recurrent("RNNEncoderDecoder"),
    "MarginalCursor": lambda: recurrent("MarginalCursor", align_dim=3),
    **{
        f"RNNSearch-{a}": lambda a=a: recurrent("RNNSearch", align_dim=3, aligner=a)
        for a in ("additive", "location", "local-p", "diagonal")
    },
}


@pytest.mark.parametrize("padding", ["left", "both"])
@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_take_padding_on_either_side(name, padding):
    model = ENCODERS[name]()
    ids, mask = padded(padding)
    logits, weights = model(ids, mask, TARGET)
    for row, count in enumerate(COUNTS):
        alone = SOURCE[row : row + 1, :count], jnp.ones((1, count), bool)
        want, attended = model(*alone, TARGET[row : row + 1])
        np.testing.assert_allclose(logits[row], want[0], 1e-4, 1e-5)
        got = weights[row][:, mask[row]]
        np.testing.assert_allclose(got, attended[0], 1e-4, 1e-5)


def test_lengths_are_those_of_tokens_not_of_arrays():
    """A source of S tokens, padded to more, fits a table of S positions."""
    model = transformer("learned", max_length=S)
    mask = jnp.arange(S + 4) < jnp.array([[S], [S - 2]])
    ids = jnp.where(mask, 3, 0)
    got, _ = model(ids, mask, TARGET)
    want, _ = model(ids[:, :S], mask[:, :S], TARGET)
    np.testing.assert_allclose(got, want, 1e-4, 1e-5)
    with pytest.raises(
        ValueError, match=rf"^source: expected at most {S} tokens, got {S + 4}"
    ):
        model.encode(ids, jnp.ones(ids.shape, bool))
    traced = jax.jit(lambda ids, mask: model(ids, mask, TARGET)[0])
    assert np.isnan(traced(ids, jnp.ones(ids.shape, bool))).all()


def decode_beyond(model, memory, capacity, steps):
    """Logits of steps, traced so that no position is known."""

    def body(carry, token):
        carry, logits, _ = model.step(memory, carry, jnp.full(B, token))
        return carry, logits

    start = model.start(memory, capacity)
    return jax.jit(lambda c: jax.lax.scan(body, c, jnp.arange(steps) % V))(start)[1]


@pytest.mark.parametrize("places", ["sinusoidal", "learned", "rope"])
def test_a_full_cache_is_exact_then_nan(places):
    model = transformer(places, max_length=12)
    memory = model.encode(SOURCE, jnp.ones(SOURCE.shape, bool))
    want = decode_beyond(model, memory, 12, 9)
    got = decode_beyond(model, memory, 6, 9)
    np.testing.assert_allclose(got[:6], want[:6], 1e-4, 1e-5)
    assert np.isfinite(want).all()
    assert np.isnan(got[6:]).all()


def test_a_full_cache_is_an_error_where_positions_are_known():
    model = gpt("rope")
    cache, _ = model.prefill(model.start(B, 4), TARGET[:, :4])
    with pytest.raises(ValueError, match=r"^positions: .* below 4, got 4 .*full"):
        model.step(cache, TARGET[:, 0])


def test_beam_search_never_scores_what_the_cache_forgot():
    """Its total equals teacher forcing, or is no number that could be one."""
    model = transformer(max_length=6)
    memory = model.encode(SOURCE[:1], jnp.ones((1, S), bool))
    found = aj.decode.beam_search(
        lambda carry, token: model.step(memory, carry, token),
        model.start(memory),
        batch_size=1,
        beam_size=2,
        max_length=9,
        min_length=9,
        bos=1,
        eos=2,
    )
    # Neither hypothesis could be finished: empty, and impossible.
    assert (found.scores == -np.inf).all()
    assert not found.lengths.any()


@pytest.mark.parametrize("window", [None, 3])
def test_padding_claims_no_slot_of_a_full_cache(window):
    block = dataclasses.replace(BLOCK, position_embedding="rope", sliding_window=window)
    model = gpt("rope", block=block)
    some, _ = model.prefill(model.start(1, S), SOURCE[:1, :4])
    full, _ = model.prefill(some, SOURCE[:1, 4:])
    assert (full.positions >= 0).all()
    none = jnp.zeros((1, 1), bool)
    after, _ = model.prefill(full, TARGET[:1, :1], none)
    jax.tree.map(np.testing.assert_array_equal, after, full)


@pytest.mark.parametrize("kind", ["gpt", "transformer"])
def test_nothing_to_do_is_no_error(kind):
    empty = jnp.zeros((0, T), jnp.int32)
    if kind == "gpt":
        assert gpt("rope")(empty)[0].shape == (0, T, V)
        assert gpt("rope")(TARGET[:, :0])[0].shape == (B, 0, V)
        return
    mask = jnp.ones((0, S), bool)
    found = transformer()(jnp.zeros((0, S), jnp.int32), mask, empty)
    assert found[0].shape == (0, T, V)


def test_sinusoidal_positions_need_an_even_model_not_an_even_head():
    aj.BlockConfig(d_model=6, num_heads=2, d_ff=7).check()
    with pytest.raises(ValueError, match=r"^d_model: expected an even number"):
        aj.BlockConfig(d_model=9, num_heads=3, d_ff=7).check()


def test_models_run_where_ranks_may_not_be_promoted():
    with jax.numpy_rank_promotion("raise"):
        gpt("relative")(TARGET)
        model = recurrent("RNNSearch", align_dim=3, aligner="local-p")
        jax.eval_shape(model, SOURCE, SOURCE > 0, TARGET)
        jax.eval_shape(transformer("alibi"), SOURCE, SOURCE > 0, TARGET)


VECTORS, POINTS = jnp.ones((B, T, 2)), jnp.ones((B, T, 3))
FACTS, ANSWERS = SOURCE[:, :, None], TARGET[:, 0]
VOCAB = {"vocab_size": V}


def hard(model):
    supports = jnp.zeros((B, 2), jnp.int32)
    return model.losses(FACTS, TARGET, supports, ANSWERS), model(FACTS, TARGET)


def written(model):
    text = jnp.zeros((B, S), jnp.int32), np.arange(S) < np.array([[3], [6]])
    return model(model.encode(*text), POINTS)


MEMORIES = {
    "NTM": ({"input_dim": 2, "hidden_dim": 3, "num_read_heads": 2},
            lambda model: model(VECTORS)),
    "RNN": ({"input_dim": 2, "hidden_dim": 3}, lambda model: model(VECTORS)),
    "MemN2N": (VOCAB | {"sink": True, "tying": "layer-wise"},
               lambda model: model(FACTS, TARGET, rng=jax.random.key(0))),
    "MemoryNetwork": (VOCAB, hard),
    "MemN2NLM": (VOCAB, lambda model: model(TARGET)),
    "LSTMLM": (VOCAB | {"hidden_dim": 3, "num_layers": 2},
               lambda model: model(TARGET, rng=jax.random.key(0))),
    "Seq2Seq": ({"source_vocab_size": V, "target_vocab_size": V, "num_layers": 2},
                lambda model: model(SOURCE, SOURCE > 0, TARGET)),
    "Handwriting": ({"hidden_dim": 3, "num_symbols": 4}, written),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEMORIES)
def test_models_are_made_and_run_under_strict_promotion(kind):
    settings, call = MEMORIES[kind]
    config = getattr(aj, f"{kind}Config")(**settings)

    def run():
        return call(getattr(aj, kind)(config, rngs=nnx.Rngs(0)))

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(run)


RECURRENT = (
    *("RNNSearch", "RNNEncoderDecoder", "MarginalCursor", "Seq2Seq"),
    *("Transducer", "CTC", "RNN"),
)


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, r"^num_layers: expected at least 1, got 0 \("),
        ({"hidden_dim": 0}, "^hidden_dim: expected at least 1, got 0"),
        ({"cell": "rnn"}, "^cell: expected one of gru, lstm, peephole_lstm, got 'rnn'"),
        ({"init": "he"}, "^init: expected one of .*glorot.*, got 'he'"),
    ],
)
def test_wrong_settings_of_recurrent_models_are_named(kind, changes, message):
    config = getattr(aj, f"{kind}Config")(**changes)
    with pytest.raises(ValueError, match=message):
        getattr(aj, kind)(config, rngs=nnx.Rngs(0))


def test_wrong_words_of_one_model_are_named():
    with pytest.raises(ValueError, match=r"^aligner: expected one of additive, dot"):
        recurrent("RNNSearch", aligner="soft")
    with pytest.raises(ValueError, match=r"^moves: expected one of first-order, "):
        recurrent("MarginalCursor", moves="any")
