"""RNNSearch: the model that learned to align and translate at once.

Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A: a bidirectional GRU
reads the source, a GRU decoder searches it for every word it writes. The
alignment is a parameter, so the hard-wired diagonal and Luong's variants are the
same model with another row of `attnjax.cells.aligners`.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.aligners import ALIGNERS, Sizes
from attnjax.cells.gru import gru_inputs, gru_recur
from attnjax.cells.rnnsearch import (
    Readout,
    RNNSearchParams,
    RNNSearchState,
    initial_carry,
    rnnsearch,
)
from attnjax.cells.scan import bidirectional, scan
from attnjax.core import precision
from attnjax.core.attend import Memory
from attnjax.core.dropout import dropout
from attnjax.models._parts import (
    Emitter,
    OutputLayer,
    Params,
    SequenceModel,
    check_tied,
    embed,
    init_gru,
    initializers,
    split_rng,
)

Carry = RNNSearchState


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNSearchConfig:
    """Sizes of an RNNSearch model; the defaults are the paper's."""

    source_vocab_size: int = 30_000
    """Number of source ids; a translation run sets it to its tokeniser's."""
    target_vocab_size: int = 30_000
    """Number of target ids; a translation run sets it to its tokeniser's."""
    embed_dim: int = 620
    """Width of an embedded token (the paper's m)."""
    hidden_dim: int = 1000
    """Width of either direction of the encoder, and of the decoder (n)."""
    align_dim: int = 1000
    """Width of the network that scores additive alignments (n')."""
    readout_dim: int = 500
    """Width of what the logits are computed from (l)."""
    maxout: bool = True
    """Readout by maxout over pairs, as in the paper; else by one tanh, cheaper."""
    tie_output: bool = False
    """Let the output matrix be the target embedding; needs readout_dim = embed_dim."""
    alignment: Literal["additive", "dot", "bilinear", "local-p", "diagonal"] = (
        "additive"
    )
    """Additive: RNNSearch's; diagonal: in step with the target; others: Luong 2015."""
    dropout: float = 0.0
    """Share of embeddings, source states and readout that is dropped in training."""
    init: Literal["paper", "glorot"] = "paper"
    """Initial parameters: as the paper's appendix B.1 draws them, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of computation; parameters are float32."""


class RNNSearch(SequenceModel):
    """Encoder, search and decoder of appendix A.

    The four methods are one model: `encode` reads a source once, `start` and `step`
    write a target token by token, calling the model writes a known target at once.
    """

    def __init__(self, config: RNNSearchConfig, *, rngs: nnx.Rngs) -> None:
        check_tied(config.tie_output, config.embed_dim, config.readout_dim)
        self.config = config
        M, D, A = config.embed_dim, config.hidden_dim, config.align_dim
        draw = initializers(config.init)
        rng = rngs.params
        source, target = (config.source_vocab_size, M), (config.target_vocab_size, M)
        self.source_embedding = nnx.Param(draw.embedding(rng(), source))
        self.target_embedding = nnx.Param(draw.embedding(rng(), target))
        self.forward = Params(init_gru(rng(), M, D, draw))
        self.backward = Params(init_gru(rng(), M, D, draw))
        self.w_start = nnx.Param(draw.matrix(rng(), (D, D)))  # W_s
        sizes = Sizes(D=D, E=2 * D, A=A)
        self.decoder = Params(
            RNNSearchParams(
                alignment=self._alignment.init(rng(), sizes, draw),
                w_context=draw.matrix(rng(), (2 * D, 3 * D)),
                gru=init_gru(rng(), M, D, draw),
            )
        )
        self.emitter = Emitter(
            (D, M, 2 * D),
            config.readout_dim,
            config.target_vocab_size,
            maxout=config.maxout,
            tied=config.tie_output,
            draw=draw,
            rngs=rngs,
        )

    def encode(self, source: Array, mask: Array, rng: Array | None = None) -> Memory:
        """Reads source sentences.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding after it, shape [B, S].
          rng: random key for dropout; None means none.

        Returns:
          Memory: projected states U_a h [B, S, A], states h [B, S, 2*D], mask.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        rngs = split_rng(rng, 2)
        embedded = embed(self.source_embedding, source, dtype)
        embedded = dropout(rngs[0], embedded, rate=rate)
        params = (self.forward(dtype), self.backward(dtype))
        first = jnp.zeros((source.shape[0], self.config.hidden_dim), dtype)
        inputs = (gru_inputs(params[0], embedded), gru_inputs(params[1], embedded))
        _, states = bidirectional(gru_recur, params, (first, first), inputs, mask=mask)
        values = dropout(rngs[1], jnp.concatenate(states, axis=-1), rate=rate)
        aligned = self.decoder(dtype).alignment
        return Memory(self._alignment.keys(aligned, values), values, mask)

    def start(self, memory: Memory, size: int | None = None) -> Carry:
        """The decoder before its first word: s_0 = tanh(W_s h_1), h_1 backward.

        The state is as large for any number of words: `size` is not used.
        """
        D = self.config.hidden_dim
        first = memory.values[:, 0, D:]
        w_start = self.w_start[...].astype(first.dtype)
        return initial_carry(jnp.tanh(precision.matmul(first, w_start)))

    def step(
        self, memory: Memory, carry: Carry, token: Array
    ) -> tuple[Carry, Array, Array]:
        """Writes one token.

        Args:
          memory: what `encode` returned.
          carry: what `start` or the last step returned.
          token: ids of the last token written, shape [B].

        Returns:
          The new carry, logits [B, V] and weights [B, S].
        """
        embedded = embed(self.target_embedding, token, self.config.dtype)
        params = self.decoder(self.config.dtype)
        cell = jax.vmap(partial(self._cell, params))
        carry, read = cell(carry, gru_inputs(params.gru, embedded), memory=memory)
        return carry, self.output.logits(self._units(read, embedded)), read.weights

    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """As of `SequenceModel`."""
        rngs = split_rng(rng, 3)
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, self.config.dtype)
        embedded = dropout(rngs[1], embedded, rate=self.config.dropout)
        params = self.decoder(self.config.dtype)
        inputs = gru_inputs(params.gru, embedded)
        start = self.start(memory)
        _, read = scan(self._cell, params, start, inputs, memory=memory)
        return self._units(read, embedded, rngs[2]), read.weights

    @property
    def output(self) -> OutputLayer:
        """As of `SequenceModel`."""
        table = self.target_embedding if self.config.tie_output else None
        return self.emitter.output(table, self.config.dtype)

    @property
    def _alignment(self) -> Any:
        return ALIGNERS[self.config.alignment]

    @property
    def _cell(self) -> Any:
        return partial(rnnsearch, alignment=self._alignment)

    def _units(self, read: Readout, embedded: Array, rng: Array | None = None) -> Array:
        parts = (read.hidden, embedded, read.context)
        return self.emitter.units(parts, rng, dropout_rate=self.config.dropout)
