"""The Transformer in PyTorch, as a careful user would write it.

It uses `F.scaled_dot_product_attention` (fused on the CPU too) and fused query, key and
value projections. Dropout is where attnjax has it: on embeddings and on the output of
every sublayer. `nn.TransformerEncoderLayer` also drops attention weights and hidden
units of the MLP, and its projections are no faster.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from attnjax.core.positions import sinusoidal
from attnjax.models.transformer import TransformerConfig
from experiments.bench.peers.torch_cells import tensor

Tree = Any
MAX_POSITIONS = 512  # size of the table of sinusoidal positions


class Transformer(nn.Module):
    """`attnjax.models.transformer` with given parameters and shared embeddings."""

    def __init__(self, config: TransformerConfig, params: Tree) -> None:
        super().__init__()
        block = config.block
        self.d_model = block.d_model
        self.table = nn.Parameter(tensor(params["target_embedding"]))
        positions = sinusoidal(jnp.arange(MAX_POSITIONS), block.d_model)
        self.register_buffer("positions", tensor(positions))
        self.drop = nn.Dropout(block.dropout)
        self.encoder = Stack(params["encoder"], config.encoder_layers, block)
        self.decoder = Stack(params["decoder"], config.decoder_layers, block)

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        mask = (source != 0)[:, None, None]  # [B, S] -> [B, 1, 1, S]
        encoded = self.encoder(self.embed(source), mask, None)
        return functional.linear(
            self.decoder(self.embed(previous), mask, encoded), self.table
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of tokens and positions: ids [B, T] -> [B, T, M]."""
        x = functional.embedding(ids, self.table) * self.d_model**0.5
        return self.drop(x + self.positions[: ids.shape[1]])


class Stack(nn.Module):
    """A stack of blocks; with pre-norm, a norm follows the last block."""

    def __init__(self, params: Tree, layers: int, block: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(_layer(params["blocks"], i), block) for i in range(layers)
        )
        self.norm = _norm(params["norm"]) if block.pre_norm else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor, encoded: Tensor | None) -> Tensor:
        """Activations [B, T, M] -> [B, T, M]; a decoder gets the encoder's output."""
        for block in self.blocks:
            x = block(x, mask, encoded)
        return self.norm(x)


class Block(nn.Module):
    """Self-attention, cross-attention in a decoder, and an MLP."""

    def __init__(self, params: Tree, block: Any) -> None:
        super().__init__()
        self.num_heads, self.drop = block.num_heads, nn.Dropout(block.dropout)
        self.pre_norm = block.pre_norm
        self_attention, mlp = params["self_attention"], params["mlp"]
        self.self_attention_norm = _norm(params["self_attention_norm"])
        self.qkv = _linear(
            self_attention["query"], self_attention["keys"], self_attention["values"]
        )
        self.self_attention_output = _linear(self_attention["output"])
        self.is_decoder = "cross_attention" in params
        if self.is_decoder:
            cross_attention = params["cross_attention"]
            self.cross_attention_norm = _norm(params["cross_attention_norm"])
            self.query = _linear(cross_attention["query"])
            self.kv = _linear(cross_attention["keys"], cross_attention["values"])
            self.cross_attention_output = _linear(cross_attention["output"])
        self.mlp_norm = _norm(params["mlp_norm"])
        self.up, self.down = _linear(mlp["up"]), _linear(mlp["down"])

    def forward(self, x: Tensor, mask: Tensor, encoded: Tensor | None) -> Tensor:
        """Activations [B, T, M] -> [B, T, M]; the source mask is [B, 1, 1, S]."""

        def self_attention(x: Tensor) -> Tensor:
            query, keys, values = self.qkv(x).chunk(
                3, dim=-1
            )  # [B, T, 3*M] -> [B, T, M]
            own_mask = None if self.is_decoder else mask
            context = self.attend(query, keys, values, own_mask)
            return self.self_attention_output(context)

        def cross_attention(x: Tensor) -> Tensor:
            keys, values = self.kv(encoded).chunk(2, dim=-1)  # [B, S, 2*M] -> [B, S, M]
            context = self.attend(self.query(x), keys, values, mask)
            return self.cross_attention_output(context)

        def mlp(x: Tensor) -> Tensor:
            return self.down(functional.relu(self.up(x)))

        x = self.residual(self.self_attention_norm, self_attention, x)
        if encoded is not None:
            x = self.residual(self.cross_attention_norm, cross_attention, x)
        return self.residual(self.mlp_norm, mlp, x)

    def residual(
        self, norm: nn.Module, sublayer: Callable[[Tensor], Tensor], x: Tensor
    ) -> Tensor:
        """Adds a sublayer's output, with the norm before it or after the addition."""
        if self.pre_norm:
            return x + self.drop(sublayer(norm(x)))
        return norm(x + self.drop(sublayer(x)))

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Contexts of all heads, [B, T, H*D]; without a mask attention is causal."""

        def split_heads(x: Tensor) -> Tensor:
            # [B, T, H*D] -> [B, T, H, D] -> [B, H, T, D]
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        context = functional.scaled_dot_product_attention(
            split_heads(query),
            split_heads(keys),
            split_heads(values),
            mask,
            is_causal=mask is None,
        )
        return context.transpose(1, 2).flatten(2)  # [B, H, T, D] -> [B, T, H*D]


def _layer(tree: Tree, i: int) -> Tree:
    """The parameters of layer i; in the tree, layers are the leading axis."""
    if isinstance(tree, dict):
        return {name: _layer(branch, i) for name, branch in tree.items()}
    return tree[i]


def _norm(params: Tree) -> nn.LayerNorm:
    norm = nn.LayerNorm(params["scale"].shape[0])
    norm.weight = nn.Parameter(tensor(params["scale"]))
    norm.bias = nn.Parameter(tensor(params["bias"]))
    return norm


def _linear(*maps: Tree) -> nn.Linear:
    """Fuses linear layers that share an input into one, outputs side by side."""
    w = np.concatenate([np.asarray(one["w"]) for one in maps], axis=1)
    b = np.concatenate([np.asarray(one["b"]) for one in maps])
    linear = nn.Linear(*w.shape)
    # [in, out] -> [out, in]
    linear.weight = nn.Parameter(tensor(np.ascontiguousarray(w.T)))
    linear.bias = nn.Parameter(tensor(b))
    return linear
