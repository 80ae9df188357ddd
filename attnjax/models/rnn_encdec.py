"""The fixed-vector encoder-decoder: a whole sentence in one vector.

Cho et al. 2014 (arXiv:1406.1078), section 2.2 and appendix A: the design whose
bottleneck attention removed. It has the same interface as RNNSearch; its weights are
always 0, since it attends to no position.
"""

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool, Float

from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    Layers,
    RecurrentCell,
    init_layers,
    scan_layers,
    step_layers,
)
from attnjax.core import precision
from attnjax.core.dropout import dropout
from attnjax.models._checks import check_recurrent, check_tied
from attnjax.models._methods import batched
from attnjax.models._parts import (
    DeepOutput,
    OutputLayer,
    Params,
    embed,
    split_rng,
)
from attnjax.models._sequence_model import SequenceModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNEncoderDecoderConfig:
    """Sizes of a fixed-vector model; the defaults match RNNSearch's paper."""

    source_vocab_size: int = 30_000
    """Number of source ids; a translation run takes it from its tokeniser."""
    target_vocab_size: int = 30_000
    """Number of target ids; a translation run takes it from its tokeniser."""
    embed_dim: int = 620
    """Width of an embedded token."""
    hidden_dim: int = 1000
    """Width of the encoder, of the sentence's vector and of the decoder."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "gru"
    """Recurrent cell of the encoder and of the decoder; the paper's is the GRU."""
    num_layers: int = 1
    """Number of recurrent layers of the encoder and of the decoder."""
    readout_dim: int = 500
    """Width of the deep output layer, the input of the logits."""
    maxout: bool = True
    """Whether the deep output layer is maxout over pairs, as in the paper, or tanh."""
    tie_output: bool = False
    """Whether the output matrix is the target embedding; needs equal widths."""
    dropout: float = 0.0
    """Rate of dropout on embeddings, on the sentence's vector, between layers, and on
    the deep output layer."""
    init: Literal["paper", "glorot"] = "paper"
    """Initial parameters: as in RNNSearch's appendix B.1, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class EncoderOutput(NamedTuple):
    """The sentence as one vector, and the mask, of which only the shape is used."""

    vector: Float[Array, "B D"]  # c
    mask: Bool[Array, "B S"]


class DecoderState(NamedTuple):
    """The carry of the decoder."""

    layers: Layers  # carries of the recurrent cell, leaves [B, D], bottom layer first


class RNNEncoderDecoder(SequenceModel):
    r"""Encoder and decoder joined by one vector.

    .. math::
        c = \tanh(V h_S), \quad s_0 = \tanh(V' c), \quad
        s_i = \mathrm{GRU}(s_{i-1}, [y_{i-1}; c])

    and the output layer takes s_i, y_{i-1} and c.

    With several layers, h_S and s_i are hidden states of the top layers, c enters the
    bottom layer of the decoder, and each of its layers has a matrix V' of its own: the
    vector stays the only way from the source to the target. (Sutskever et al. 2014,
    arXiv:1409.3215, copy the final state of each encoder layer instead.)
    """

    def __init__(self, config: RNNEncoderDecoderConfig, *, rngs: nnx.Rngs) -> None:
        check_tied(config.tie_output, config.embed_dim, config.readout_dim)
        check_recurrent(config)
        self.config = config
        M, D, layers = config.embed_dim, config.hidden_dim, config.num_layers
        cell, init, rng = self._cell, initializers(config.init), rngs.params
        widths = (M, *[D] * (layers - 1))
        source, target = (config.source_vocab_size, M), (config.target_vocab_size, M)
        self.source_embedding = nnx.Param(init.embedding(rng(), source))
        self.target_embedding = nnx.Param(init.embedding(rng(), target))
        self.encoder = Params(init_layers(rng, widths, D, cell, init))
        self.w_vector = nnx.Param(init.kernel(rng(), (D, D)))  # V
        # V', one [D, D] block for each layer side by side.
        self.w_start = nnx.Param(init.kernel(rng(), (D, layers * D)))
        # C_z, C_r, C: from c to the gates of the decoder's bottom layer.
        self.w_context = nnx.Param(init.kernel(rng(), (D, cell.num_gates * D)))
        self.decoder = Params(init_layers(rng, widths, D, cell, init))
        self.deep_output = DeepOutput(
            (D, M, D),
            config.readout_dim,
            config.target_vocab_size,
            maxout=config.maxout,
            tied=config.tie_output,
            initializers=init,
            rngs=rngs,
        )

    @batched
    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> EncoderOutput:
        """Runs the encoder and keeps its last state: one vector for each sentence.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding, on either side; shape [B, S].
          rng: random key for dropout; None means no dropout.

        Returns:
          The vectors c [B, D], and the mask.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        # One key for the embeddings, one between two layers, one for the vector.
        rngs = split_rng(rng, 1 + self.config.num_layers)
        cell, params = self._cell, self.encoder(dtype)
        embedded = embed(self.source_embedding, source, dtype)
        embedded = dropout(rngs[0], embedded, rate=rate)
        zeros = jnp.zeros((source.shape[0], self.config.hidden_dim), embedded.dtype)
        last, _ = scan_layers(
            cell,
            params,
            (cell.initial_carry(zeros),) * self.config.num_layers,
            cell.project_inputs(params[0], embedded),
            mask=mask,
            rngs=rngs[1:-1],
            dropout_rate=rate,
        )
        w_vector = self.w_vector[...].astype(dtype)
        vector = jnp.tanh(precision.matmul(cell.hidden(last[-1]), w_vector))
        return EncoderOutput(dropout(rngs[-1], vector, rate=rate), mask)

    @batched
    def start(
        self, memory: EncoderOutput, max_decode_length: int | None = None
    ) -> DecoderState:
        """Returns the carry before the first token: s_0 = tanh(V' c).

        The carry has the same size for any number of tokens, so `max_decode_length`
        changes nothing.
        """
        w_start = self.w_start[...].astype(memory.vector.dtype)
        hidden = jnp.tanh(precision.matmul(memory.vector, w_start))
        layers = jnp.split(
            hidden, self.config.num_layers, axis=-1
        )  # [B, n*D] -> n x [B, D]
        return DecoderState(tuple(map(self._cell.initial_carry, layers)))

    @batched
    def step(
        self, memory: EncoderOutput, carry: DecoderState, token: Array
    ) -> tuple[DecoderState, Array, Array]:
        """Decodes one token, as `SequenceModel.step`; the weights are 0."""
        embedded = embed(self.target_embedding, token, self.config.dtype)
        params = self.decoder(self.config.dtype)
        inputs = self._project_inputs(params[0], embedded, memory.vector)
        step = jax.vmap(partial(step_layers, self._cell, params))
        layers, hidden = step(carry.layers, inputs)
        features = self._deep_output(hidden, embedded, memory.vector)
        logits = self.output.logits(features)
        weights = jnp.zeros(memory.mask.shape, logits.dtype)
        return DecoderState(layers), logits, weights

    @batched
    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes the inputs of the output layer, as `SequenceModel.features`."""
        # One key for encoder, embeddings and deep output, and one between two layers.
        rngs = split_rng(rng, 2 + self.config.num_layers)
        rate = self.config.dropout
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, self.config.dtype)
        embedded = dropout(rngs[1], embedded, rate=rate)
        params = self.decoder(self.config.dtype)
        vector = memory.vector[:, None]  # [B, D] -> [B, 1, D]
        _, hidden = scan_layers(
            self._cell,
            params,
            self.start(memory).layers,
            self._project_inputs(params[0], embedded, vector),
            rngs=rngs[3:],
            dropout_rate=rate,
        )
        vector = jnp.broadcast_to(vector, (*previous.shape, vector.shape[-1]))
        features = self._deep_output(hidden, embedded, vector, rngs[2])
        weights = jnp.zeros((*previous.shape, source.shape[1]), features.dtype)
        return features, weights

    @property
    def output(self) -> OutputLayer:
        """The output layer: matrix [V, l] and bias [V]."""
        table = self.target_embedding if self.config.tie_output else None
        return self.deep_output.output(table, self.config.dtype)

    @property
    def _cell(self) -> RecurrentCell:
        return RECURRENT_CELLS[self.config.cell]

    def _project_inputs(
        self, bottom: tuple[Array, ...], embedded: Array, vector: Array
    ) -> Array:
        """Projects the last token and the vector for the gates of the bottom layer."""
        w_context = self.w_context[...].astype(vector.dtype)
        projected = self._cell.project_inputs(bottom, embedded)
        return projected + precision.matmul(vector, w_context)

    def _deep_output(
        self, hidden: Array, embedded: Array, vector: Array, rng: Array | None = None
    ) -> Array:
        inputs = (hidden, embedded, vector)
        return self.deep_output.features(inputs, rng, dropout_rate=self.config.dropout)
