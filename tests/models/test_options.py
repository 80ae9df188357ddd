"""Every option of every model, in bfloat16 and with x64: call, gradient, cached step.

By shapes: nothing is compiled, so that no option is too dear to be tried.
"""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import attnjax as aj

B, S, T, V = 2, 5, 3, 11
BLOCK = aj.BlockConfig(d_model=24, num_heads=6, d_ff=7)
SMALL = {
    "GPT": aj.GPTConfig(vocab_size=V, num_layers=1, max_length=8, block=BLOCK),
    "Transformer": aj.TransformerConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        encoder_layers=1,
        decoder_layers=1,
        max_length=8,
        block=BLOCK,
    ),
    "RNNSearch": aj.RNNSearchConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        embed_dim=4,
        hidden_dim=6,
        align_dim=3,
        readout_dim=4,
    ),
    "MarginalCursor": aj.MarginalCursorConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        embed_dim=4,
        hidden_dim=6,
        align_dim=3,
        readout_dim=4,
        max_jump=2,
    ),
    "RNNEncoderDecoder": aj.RNNEncoderDecoderConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        embed_dim=4,
        hidden_dim=6,
        readout_dim=4,
    ),
    "Seq2Seq": aj.Seq2SeqConfig(
        source_vocab_size=V,
        target_vocab_size=V,
        embed_dim=6,
        hidden_dim=6,
        num_layers=2,
    ),
}
# Values for the fields whose type does not list them.
NUMBERS = {
    "num_kv_heads": 3,
    "head_dim": 4,
    "sliding_window": 2,
    "logit_softcap": 5.0,
    "dropout": 0.5,
    "norm_epsilon": 1e-6,
    "num_layers": 3,
    "rope_theta": 500.0,
    "rope_attention_factor": 0.5,
}
# What an option needs beside itself.
BESIDE = {
    "rope_theta": {"position_embedding": "rope"},
    "rope_attention_factor": {"position_embedding": "rope", "rope_scaling": "yarn"},
    "rope_scaling": {"position_embedding": "rope", "rope_scaling_factor": 2.0},
}
SIZES = {"vocab_size", "max_length", "d_model", "num_heads", "d_ff", "dtype"}


def variants(config, kind):
    """The config with each option at each of its other values, one at a time."""
    for field, hint in typing.get_type_hints(type(config)).items():
        if field == "block":
            for name, block in variants(config.block, kind):
                # Other options of a block do the same in an encoder as in a GPT.
                if kind == "Transformer" and "position" not in name:
                    continue
                yield f"block.{name}", dataclasses.replace(config, block=block)
            continue
        if field in SIZES:
            continue
        values = [v for v in typing.get_args(hint) if isinstance(v, str)]
        either = hint is bool or bool in typing.get_args(hint)
        values = values or ([False, True] if either else [])
        values = values or ([NUMBERS[field]] if field in NUMBERS else [])
        for value in values:
            beside = BESIDE.get(field, {})
            changed = dataclasses.replace(config, **beside | {field: value})
            if changed != config:
                yield f"{field}={value}", changed


CASES = {
    f"{kind}-{name}": (kind, config)
    for kind, small in SMALL.items()
    for name, config in [("defaults", small), *variants(small, kind)]
}


def run(kind, config):
    """The shapes of logits, of teacher forcing and of a cached step."""
    rebuild, params = aj.split_abstract(
        lambda: getattr(aj, kind)(config, rngs=nnx.Rngs(0))
    )
    source = jax.ShapeDtypeStruct((B, S), jnp.int32)
    target = jax.ShapeDtypeStruct((B, T), jnp.int32)
    mask = jax.ShapeDtypeStruct((B, S), bool)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    gpt = kind == "GPT"

    def inputs(source, mask, target):
        return (target,) if gpt else (source, mask, target)

    def loss_fn(params, batch, rng):
        model = rebuild(params)
        if kind == "MarginalCursor":  # its logits are not linear in features
            ones = jnp.ones((B, T), bool)
            given = *batch[:2], batch[2], batch[2], ones, rng
            return model.cross_entropy(*given), model(*batch, rng=rng)[0]
        features, _ = model.features(*inputs(*batch), rng=rng)
        # Weights as a user makes them: in float64, where x64 is on.
        ones = jnp.ones((B, T))
        total = aj.linear_cross_entropy(features, *model.output, batch[2], ones)
        return total, model.output.logits(features)

    def steps(params, batch):
        model, (source, mask, target) = rebuild(params), batch
        if gpt:
            cache, logits = model.prefill(model.start(B), target)
            assert logits.shape == (B, T, V)
            step = model.step
        else:
            memory = model.encode(source, mask)
            cache = model.start(memory)

            def step(carry, token):
                return model.step(memory, carry, token)

        after, logits, weights = step(cache, target[:, 0])
        # A decoding loop carries it.
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, cache)
        assert [x.dtype for x in jax.tree.leaves(after)] == [
            x.dtype for x in jax.tree.leaves(cache)
        ]
        return logits, weights

    def everything(params, batch, rng):
        """All in one trace, which takes most of the time."""
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, logits), grads = gradient(params, batch, rng)
        assert loss.shape == ()
        stepped, _ = steps(params, batch)
        return grads, logits, stepped

    batch = (source, mask, target)
    grads, logits, stepped = jax.eval_shape(everything, params, batch, rng)
    jax.tree.map(
        lambda g, p: None if (g.shape, g.dtype) == (p.shape, p.dtype) else
        pytest.fail(f"{p} has the gradient {g}"), grads, params,
    )  # fmt: skip
    return logits, stepped


# All else is tested in float32 without x64: there the defaults are enough.
DTYPES = [
    (case, dtype)
    for case in CASES
    for dtype in ("float32", "bfloat16", "x64")
    if dtype != "float32" or case.endswith("-defaults")
]


@pytest.mark.parametrize(("case", "dtype"), DTYPES)
def test_every_option_runs_in_every_dtype(case, dtype):
    kind, config = CASES[case]
    with jax.enable_x64(dtype == "x64"):
        kept = dataclasses.replace(config, dtype="float32" if dtype == "x64" else dtype)
        logits, stepped = run(kind, kept)
    assert logits.shape == (B, T, V)
    assert stepped.shape == (B, V)
    # Both are what a loss and a decoder take: never rounded to bfloat16.
    assert logits.dtype == stepped.dtype == "float32"


def test_every_option_has_a_case():
    """An option that is added without values to try fails here."""
    for kind in ("GPT", "Transformer", "RNNSearch", "RNNEncoderDecoder", "Seq2Seq"):
        small = SMALL[kind]
        tried = {name.partition("=")[0] for name, _ in variants(small, kind)}
        names = {field.name for field in dataclasses.fields(small)} - {"block"}
        if kind == "GPT":
            names |= {f"block.{f.name}" for f in dataclasses.fields(BLOCK)}
        missing = {n for n in names - tried if n.split(".")[-1] not in SIZES | EXTRA}
        assert not missing, kind


# Sizes of single models, and numbers that only matter beside another option.
EXTRA = {
    *("source_vocab_size", "target_vocab_size", "encoder_layers", "decoder_layers"),
    *("embed_dim", "hidden_dim", "align_dim", "readout_dim"),
    *("rope_scaling_factor", "rope_original_max_length", "rope_truncate"),
    *("rope_low_freq_factor", "rope_high_freq_factor"),
    *("rope_beta_fast", "rope_beta_slow"),
}
