"""RNNSearch: the model that learned to align and translate at once.

Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), appendix A: a bidirectional GRU
encodes the source, and a GRU decoder attends to it before each target token. The
aligner is a setting, so that a hard-wired diagonal, Luong's scores and
location-aware attention are the same model with another row of
`attnjax.cells.aligners`; so are the recurrent cell and the number of layers.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.aligners import ALIGNERS, Aligner, Sizes
from attnjax.cells.bidirectional import bidirectional_layers, init_bidirectional_layers
from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import RECURRENT_CELLS, RecurrentCell, init_layers
from attnjax.cells.rnnsearch import (
    RNNSearchOutput,
    RNNSearchParams,
    RNNSearchState,
    initial_carry,
    rnnsearch,
)
from attnjax.cells.scan import scan
from attnjax.core.attend import Memory
from attnjax.core.dropout import dropout
from attnjax.models._checks import check_recurrent, check_tied
from attnjax.models._methods import batched
from attnjax.models._parts import (
    DeepOutput,
    OutputLayer,
    Params,
    embed,
    first_hidden,
    split_rng,
)
from attnjax.models._sequence_model import SequenceModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNSearchConfig:
    """Sizes of an RNNSearch model; the defaults are the paper's."""

    source_vocab_size: int = 30_000
    """Number of source ids; a translation run takes it from its tokeniser."""
    target_vocab_size: int = 30_000
    """Number of target ids; a translation run takes it from its tokeniser."""
    embed_dim: int = 620
    """Width of an embedded token (the paper's m)."""
    hidden_dim: int = 1000
    """Width of each direction of the encoder, and of the decoder (the paper's n)."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "gru"
    """Recurrent cell of the encoder and of the decoder; the paper's is the GRU."""
    num_layers: int = 1
    """Number of recurrent layers of the encoder and of the decoder."""
    align_dim: int = 1000
    """Hidden width of the network that scores alignments (the paper's n')."""
    readout_dim: int = 500
    """Width of the deep output layer, the input of the logits (the paper's l)."""
    maxout: bool = True
    """Whether the deep output layer is maxout over pairs, as in the paper, or tanh."""
    tie_output: bool = False
    """Whether the output matrix is the target embedding; needs equal widths."""
    aligner: Literal[
        "additive",
        "dot",
        "bilinear",
        "local-p",
        "location",
        "content",
        "shift",
        "window",
        "diagonal",
    ] = "additive"
    """Attention: additive as in the paper; location of Chorowski et al. 2015; dot,
    bilinear, local-p of Luong et al. 2015; content and shift, the addressing of Graves
    et al. 2014; window of Graves 2013; diagonal: a cursor without parameters."""
    dropout: float = 0.0
    """Rate of dropout on embeddings, encoder states and the deep output layer."""
    init: Literal["paper", "glorot"] = "paper"
    """Initial parameters: as in the paper's appendix B.1, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class RNNSearch(SequenceModel):
    """Encoder, attention and decoder of appendix A.

    With several layers, layer l of the bidirectional encoder takes the concatenated
    states of both directions of layer l - 1; the decoder is a stack as in
    `attnjax.cells.rnnsearch`, and s_0 of each of its layers is computed from the
    encoder's top layer by a matrix W_s for that layer.
    """

    def __init__(self, config: RNNSearchConfig, *, rngs: nnx.Rngs) -> None:
        check_tied(config.tie_output, config.embed_dim, config.readout_dim)
        check_recurrent(config, "aligner")
        self.config = config
        M, D, layers = config.embed_dim, config.hidden_dim, config.num_layers
        cell, init, rng = self._cell, initializers(config.init), rngs.params
        source, target = (config.source_vocab_size, M), (config.target_vocab_size, M)
        self.source_embedding = nnx.Param(init.embedding(rng(), source))
        self.target_embedding = nnx.Param(init.embedding(rng(), target))
        self.encoder = Params(init_bidirectional_layers(rng, M, D, layers, cell, init))
        # W_s, one [D, D] block for each layer side by side.
        self.w_start = nnx.Param(init.kernel(rng(), (D, layers * D)))
        sizes = Sizes(D=D, E=2 * D, A=config.align_dim)
        self.decoder = Params(
            RNNSearchParams(
                aligner=self._aligner.init(rng(), sizes, init),
                w_context=init.kernel(rng(), (2 * D, cell.num_gates * D)),
                layers=init_layers(rng, (M, *[D] * (layers - 1)), D, cell, init),
            )
        )
        self.deep_output = DeepOutput(
            (D, M, 2 * D),
            config.readout_dim,
            config.target_vocab_size,
            maxout=config.maxout,
            tied=config.tie_output,
            initializers=init,
            rngs=rngs,
        )

    @batched
    def encode(self, source: Array, mask: Array, rng: Array | None = None) -> Memory:
        """Runs the bidirectional encoder.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding, on either side; shape [B, S].
          rng: random key for dropout; None means no dropout.

        Returns:
          Memory: keys (U_a h for the additive aligner, [B, S, A]), values h
          [B, S, 2*D], and the mask.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        # One key for the embeddings, one for the states of each layer.
        rngs = split_rng(rng, 1 + self.config.num_layers)
        embedded = embed(self.source_embedding, source, dtype)
        states = bidirectional_layers(
            self._cell,
            self.encoder(dtype),
            dropout(rngs[0], embedded, rate=rate),
            mask=mask,
            rngs=rngs[1:-1],
            dropout_rate=rate,
        )
        values = dropout(rngs[-1], states, rate=rate)
        keys = self._aligner.project_keys(self.decoder(dtype).aligner, values)
        return Memory(keys, values, mask)

    @batched
    def start(
        self, memory: Memory, max_decode_length: int | None = None
    ) -> RNNSearchState:
        """Returns the carry before the first token: s_0 = tanh(W_s h_1), h_1 backward.

        The carry has the same size for any number of tokens, so `max_decode_length`
        changes nothing.
        """
        params = self.decoder(self.config.dtype)
        hidden = first_hidden(memory.values, memory.mask, self.w_start)
        layers = jnp.split(
            hidden, self.config.num_layers, axis=-1
        )  # [B, n*D] -> n x [B, D]
        begin = partial(initial_carry, params, aligner=self._aligner, cell=self._cell)
        return jax.vmap(begin)(layers, memory)

    @batched
    def step(
        self, memory: Memory, carry: RNNSearchState, token: Array
    ) -> tuple[RNNSearchState, Array, Array]:
        """Decodes one token, as `SequenceModel.step`."""
        embedded = embed(self.target_embedding, token, self.config.dtype)
        params = self.decoder(self.config.dtype)
        inputs = self._cell.project_inputs(params.layers[0], embedded)
        decode = jax.vmap(partial(self._decoder_cell, params))
        carry, out = decode(carry, inputs, memory=memory)
        logits = self.output.logits(self._deep_output(out, embedded))
        return carry, logits, out.weights

    @batched
    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes the inputs of the output layer, as `SequenceModel.features`."""
        rngs = split_rng(rng, 3)
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, self.config.dtype)
        embedded = dropout(rngs[1], embedded, rate=self.config.dropout)
        params = self.decoder(self.config.dtype)
        inputs = self._cell.project_inputs(params.layers[0], embedded)
        carry = self.start(memory)
        _, out = scan(self._decoder_cell, params, carry, inputs, memory=memory)
        return self._deep_output(out, embedded, rngs[2]), out.weights

    @property
    def output(self) -> OutputLayer:
        """The output layer: matrix [V, l] and bias [V]."""
        table = self.target_embedding if self.config.tie_output else None
        return self.deep_output.output(table, self.config.dtype)

    @property
    def _aligner(self) -> Aligner:
        return ALIGNERS[self.config.aligner]

    @property
    def _cell(self) -> RecurrentCell:
        return RECURRENT_CELLS[self.config.cell]

    @property
    def _decoder_cell(self) -> Any:
        return partial(rnnsearch, aligner=self._aligner, cell=self._cell)

    def _deep_output(
        self, out: RNNSearchOutput, embedded: Array, rng: Array | None = None
    ) -> Array:
        inputs = (out.hidden, embedded, out.context)
        return self.deep_output.features(inputs, rng, dropout_rate=self.config.dropout)
