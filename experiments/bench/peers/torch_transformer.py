"""The Transformer in PyTorch: what a careful user would write.

`F.scaled_dot_product_attention` (its fused kernel on the CPU), one product for
queries, keys and values, dropout where ours has it: on embeddings and on what every
sublayer adds. `nn.TransformerEncoderLayer` does more, as it also drops weights and
hidden units, and projects nothing faster.
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
LONGEST = 512  # positions that are made beforehand


class Transformer(nn.Module):
    """`attnjax.models.transformer` with given weights."""

    def __init__(self, config: TransformerConfig, params: Tree) -> None:
        super().__init__()
        block = config.block
        self.width = block.d_model
        self.table = nn.Parameter(tensor(params["target_embedding"]))
        places = sinusoidal(jnp.arange(LONGEST), block.d_model)
        self.register_buffer("places", tensor(places))
        self.drop = nn.Dropout(block.dropout)
        self.encoder = Stack(params["encoder"], config.encoder_layers, block)
        self.decoder = Stack(params["decoder"], config.decoder_layers, block)

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, T, V]."""
        mask = (source != 0)[:, None, None]
        states = self.encoder(self.embed(source), mask, None)
        return functional.linear(
            self.decoder(self.embed(previous), mask, states), self.table
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Embedded tokens with their positions, [B, T, M]."""
        x = functional.embedding(ids, self.table) * self.width**0.5
        return self.drop(x + self.places[: ids.shape[1]])


class Stack(nn.Module):
    """Blocks, and the norm after the last where norms come before sublayers."""

    def __init__(self, params: Tree, layers: int, block: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(_layer(params["blocks"], i), block) for i in range(layers)
        )
        self.norm = _norm(params["norm"]) if block.pre_norm else nn.Identity()

    def forward(self, x: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """Positions [B, T, M] through all blocks; `states` are what a decoder reads."""
        for block in self.blocks:
            x = block(x, mask, states)
        return self.norm(x)


class Block(nn.Module):
    """Attend to the own positions, to the source where one is read, then transform."""

    def __init__(self, params: Tree, block: Any) -> None:
        super().__init__()
        self.heads, self.drop = block.num_heads, nn.Dropout(block.dropout)
        self.pre_norm = block.pre_norm
        own, feed = params["self_attention"], params["mlp"]
        self.own_norm = _norm(params["self_attention_norm"])
        self.own = _linear(own["query"], own["keys"], own["values"])
        self.own_output = _linear(own["output"])
        self.reads = "cross_attention" in params
        if self.reads:
            read = params["cross_attention"]
            self.read_norm = _norm(params["cross_attention_norm"])
            self.query = _linear(read["query"])
            self.source = _linear(read["keys"], read["values"])
            self.read_output = _linear(read["output"])
        self.mlp_norm = _norm(params["mlp_norm"])
        self.up, self.down = _linear(feed["up"]), _linear(feed["down"])

    def forward(self, x: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """Positions [B, T, M] transformed; the mask [B, 1, 1, S] is the source's."""

        def attend_own(x: Tensor) -> Tensor:
            query, keys, values = self.own(x).chunk(3, dim=-1)
            seen = None if self.reads else mask
            return self.own_output(self.attend(query, keys, values, seen))

        def cross_attention(x: Tensor) -> Tensor:
            keys, values = self.source(states).chunk(2, dim=-1)
            return self.read_output(self.attend(self.query(x), keys, values, mask))

        def feed(x: Tensor) -> Tensor:
            return self.down(functional.relu(self.up(x)))

        x = self.residual(self.own_norm, attend_own, x)
        if states is not None:
            x = self.residual(self.read_norm, cross_attention, x)
        return self.residual(self.mlp_norm, feed, x)

    def residual(
        self, norm: nn.Module, sublayer: Callable[[Tensor], Tensor], x: Tensor
    ) -> Tensor:
        """Adds what a sublayer makes of `x`; normalises before it, or after the sum."""
        if self.pre_norm:
            return x + self.drop(sublayer(norm(x)))
        return norm(x + self.drop(sublayer(x)))

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        """Contexts of all heads side by side, [B, T, M]; without a mask, causal."""

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        read = functional.scaled_dot_product_attention(
            split(query), split(keys), split(values), mask, is_causal=mask is None
        )
        return read.transpose(1, 2).flatten(2)


def _layer(tree: Tree, i: int) -> Tree:
    if isinstance(tree, dict):
        return {name: _layer(branch, i) for name, branch in tree.items()}
    return tree[i]


def _norm(params: Tree) -> nn.LayerNorm:
    made = nn.LayerNorm(params["scale"].shape[0])
    made.weight = nn.Parameter(tensor(params["scale"]))
    made.bias = nn.Parameter(tensor(params["bias"]))
    return made


def _linear(*maps: Tree) -> nn.Linear:
    """One linear map that gives what several of ours do, side by side."""
    w = np.concatenate([np.asarray(one["w"]) for one in maps], axis=1)
    b = np.concatenate([np.asarray(one["b"]) for one in maps])
    made = nn.Linear(*w.shape)
    made.weight = nn.Parameter(tensor(np.ascontiguousarray(w.T)))
    made.bias = nn.Parameter(tensor(b))
    return made
