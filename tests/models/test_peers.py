"""The Transformer as PyTorch computes it, where PyTorch is installed.

`torch.nn.Transformer` ends encoder and decoder with a norm whatever its blocks do. The
paper's post-norm blocks have just normalised there, so where ours are post-norm, the
stacks that PyTorch is given have no norm of their own.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attnjax.models._block_config import BlockConfig
from attnjax.models.state import split
from attnjax.models.transformer import Transformer, TransformerConfig

torch = pytest.importorskip("torch", reason="torch is not installed")

B, S, T, M, H, F, V_SOURCE, V = 3, 7, 5, 12, 3, 17, 19, 23
ENCODER, DECODER = 2, 3
# Largest difference of numbers near 1, after five blocks in either library.
CLOSE = {"float32": 1e-5, "float64": 1e-12}
SIZES = {"d_model": M, "num_heads": H, "d_ff": F}
GELU = {"activation": "gelu"}
# float64 shows that it is one function, float32 what its user gets.
CASES = {
    "post-norm": (BlockConfig(**SIZES), "float64"),
    "post-norm, gelu": (BlockConfig(**SIZES, **GELU), "float32"),
    "pre-norm": (BlockConfig(**SIZES, pre_norm=True), "float32"),
    "pre-norm, gelu": (BlockConfig(**SIZES, **GELU, pre_norm=True), "float64"),
    "no biases": (BlockConfig(**SIZES, pre_norm=True, use_bias=False), "float64"),
}
RNG = np.random.default_rng(0)
LENGTHS = np.array([7, 4, 2])
MASK = np.arange(S) < LENGTHS[:, None]
SOURCE = RNG.integers(0, V_SOURCE, (B, S))
PREVIOUS, TARGET = RNG.integers(0, V, (2, B, T))


def config(block, dtype):
    return TransformerConfig(
        source_vocab_size=V_SOURCE,
        target_vocab_size=V,
        encoder_layers=ENCODER,
        decoder_layers=DECODER,
        block=block,
        share_embeddings=False,
        dtype=dtype,
    )


def sinusoids(length):
    """Vaswani et al. 2017, section 3.5."""
    waves = np.arange(length)[:, None] / 10_000 ** (np.arange(0, M, 2) / M)
    return np.stack([np.sin(waves), np.cos(waves)], axis=-1).reshape(length, M)


class Peer(torch.nn.Module):
    """Embeddings around a `torch.nn.Transformer`."""

    def __init__(self, block, dtype):
        super().__init__()
        kinds = {
            "dim_feedforward": F,
            "dropout": 0.0,
            "activation": block.activation,
            "batch_first": True,
            "norm_first": block.pre_norm,
            "bias": block.use_bias,
        }
        self.inside = torch.nn.Transformer(M, H, **kinds, **stacks(block, kinds))
        self.source_embedding = torch.nn.Parameter(torch.empty(V_SOURCE, M))
        self.target_embedding = torch.nn.Parameter(torch.empty(V, M))
        self.w_output = torch.nn.Parameter(torch.empty(V, M))
        self.to(dtype)

    def forward(self, source, mask, previous):
        """Encoder states [B, S, M], decoder states [B, T, M] and logits [B, T, V]."""
        padding = ~mask
        ahead = torch.ones(T, T, dtype=torch.bool).triu(1)
        states = self.inside.encoder(
            self.embed(self.source_embedding, source), src_key_padding_mask=padding
        )
        units = self.inside.decoder(
            self.embed(self.target_embedding, previous),
            states,
            tgt_mask=ahead,
            memory_key_padding_mask=padding,
        )
        return states, units, units @ self.w_output.T

    def embed(self, table, ids):
        return table[ids] * math.sqrt(M) + torch.tensor(sinusoids(ids.shape[1])).to(
            table
        )


def stacks(block, kinds):
    """Encoder and decoder, with a norm after the last block in pre-norm only."""

    def last():
        return torch.nn.LayerNorm(M, bias=block.use_bias) if block.pre_norm else None

    encoder = torch.nn.TransformerEncoderLayer(M, H, **kinds)
    decoder = torch.nn.TransformerDecoderLayer(M, H, **kinds)
    return {
        "custom_encoder": torch.nn.TransformerEncoder(
            encoder, ENCODER, last(), enable_nested_tensor=False
        ),
        "custom_decoder": torch.nn.TransformerDecoder(decoder, DECODER, last()),
    }


def named(params):
    """Our parameters by PyTorch's names. Linear, so it also takes gradients."""
    tables = ("source_embedding", "target_embedding", "w_output")
    result = {name: params[name] for name in tables}
    for side in ("encoder", "decoder"):
        blocks, prefix = params[side]["blocks"], f"inside.{side}"
        for i in range(len(blocks["self_attention_norm"]["scale"])):
            block = jax.tree.map(lambda x, i=i: np.asarray(x)[i], blocks)
            result |= named_block(block, f"{prefix}.layers.{i}")
        if "norm" in params[side]:
            result |= named_norm(params[side]["norm"], f"{prefix}.norm")
    return result


def named_block(block, prefix):
    norms = [
        n for n in ("self_attention", "cross_attention", "mlp") if f"{n}_norm" in block
    ]
    result = named_attention(block["self_attention"], f"{prefix}.self_attn")
    if "cross_attention" in block:
        result |= named_attention(block["cross_attention"], f"{prefix}.multihead_attn")
    for number, name in enumerate(norms, 1):
        result |= named_norm(block[f"{name}_norm"], f"{prefix}.norm{number}")
    for number, name in enumerate(("up", "down"), 1):
        result |= named_linear(block["mlp"][name], f"{prefix}.linear{number}.")
    return result


def named_attention(attention, prefix):
    parts = [named_linear(attention[name], "") for name in ("query", "keys", "values")]
    joined = {
        f"{prefix}.in_proj_{name}": np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
    return joined | named_linear(attention["output"], f"{prefix}.out_proj.")


def named_linear(linear, prefix):
    result = {f"{prefix}weight": linear["w"].T}
    return result | ({f"{prefix}bias": linear["b"]} if "b" in linear else {})


def named_norm(norm, prefix):
    result = {f"{prefix}.weight": norm["scale"]}
    return result | ({f"{prefix}.bias": norm["bias"]} if "bias" in norm else {})


def random_like(params, dtype):
    """Random parameters: a bias of 0 or a scale of 1 could hide a mistake."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(dtype), params)


def peer(block, params, dtype):
    made = Peer(block, getattr(torch, dtype))
    tensors = {name: torch.tensor(np.asarray(x)) for name, x in named(params).items()}
    made.load_state_dict(tensors)  # strict: all must be given
    return made


@pytest.mark.parametrize(("block", "dtype"), CASES.values(), ids=CASES)
def test_states_logits_and_gradients_are_pytorchs(block, dtype):
    with jax.enable_x64(dtype == "float64"):
        rebuild, params = split(Transformer(config(block, dtype), rngs=nnx.Rngs(0)))
        params = random_like(params, dtype)

        def loss(params):
            model = rebuild(params)
            positions = jnp.where(MASK, jnp.arange(S), -1)
            x = params["source_embedding"][SOURCE] * M**0.5 + sinusoids(S).astype(dtype)
            states = model.encoder(x, positions).x
            units, _ = model.features(SOURCE, MASK, PREVIOUS)
            logits = model.output.logits(units)
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, TARGET)
            return nats.mean(), (states, units, logits)

        gradient, ours = jax.jit(jax.grad(loss, has_aux=True))(params)
    theirs = peer(block, params, dtype)
    found = theirs(*map(torch.tensor, (SOURCE, MASK, PREVIOUS)))
    for got, want in zip(ours, found, strict=True):
        real = MASK if got.shape[1] == S else slice(None)
        np.testing.assert_allclose(
            np.asarray(got)[real],
            want.detach().numpy()[real],
            CLOSE[dtype],
            CLOSE[dtype],
        )
    assert np.abs(ours[2]).max() > 1  # numbers that could differ
    torch.nn.functional.cross_entropy(
        found[2].flatten(0, 1), torch.tensor(TARGET).flatten()
    ).backward()
    theirs_by_name = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name, value in named(gradient).items():
        np.testing.assert_allclose(
            value, theirs_by_name[name], CLOSE[dtype], CLOSE[dtype], err_msg=name
        )
