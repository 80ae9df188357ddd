"""Seq2Seq: a deep LSTM reads the source, another writes the target.

Sutskever, Vinyals & Le 2014 (arXiv:1409.3215): the rival of RNNSearch that has no
attention. All that the decoder knows of the source is the encoder's final state; to
bring the first words of both sides close to each other, the source is read backwards.
"""

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Bool

from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import (
    RECURRENT_CELLS,
    Layers,
    RecurrentCell,
    init_layers,
    scan_layers,
    step_layers,
)
from attnjax.core.dropout import dropout
from attnjax.models._checks import check_positive, check_recurrent
from attnjax.models._methods import batched
from attnjax.models._parts import OutputLayer, Params, embed, split_rng
from attnjax.models._sequence_model import SequenceModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """Sizes of a Seq2Seq model; the defaults are the paper's."""

    source_vocab_size: int = 160_000
    """Number of source ids; a translation run takes it from its tokeniser."""
    target_vocab_size: int = 80_000
    """Number of target ids; a translation run takes it from its tokeniser."""
    embed_dim: int = 1000
    """Width of an embedded token."""
    hidden_dim: int = 1000
    """Width of every layer of the encoder and of the decoder."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "lstm"
    """Recurrent cell of the encoder and of the decoder; the paper's is the LSTM."""
    num_layers: int = 4
    """Number of recurrent layers of the encoder and of the decoder."""
    reverse_source: bool = True
    """Whether the encoder reads the source from its last token to its first."""
    tie_output: bool = False
    """Whether the output matrix is the target embedding; needs equal widths."""
    dropout: float = 0.0
    """Rate of dropout on embeddings, between layers and before the output layer."""
    init: Literal["uniform", "glorot"] = "uniform"
    """Initial parameters: uniform from -0.08 to 0.08, as in the paper, or Glorot
    uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class FinalState(NamedTuple):
    """The final state of the encoder, and the mask, of which only the shape is used."""

    layers: Layers  # carries of the recurrent cell, leaves [B, D], bottom layer first
    mask: Bool[Array, "B S"]

    @property
    def vector(self) -> Array:
        """The whole state as one vector for each sentence: [B, 2*L*D] of L LSTMs."""
        # 2*L x [B, D] -> [B, 2*L*D]
        return jnp.concatenate(jax.tree.leaves(self.layers), axis=-1)


class Seq2Seq(SequenceModel):
    r"""Encoder and decoder of several layers, joined by their states.

    .. math::
        (h^l, c^l)_t = \mathrm{LSTM}^l((h^l, c^l)_{t-1}, h^{l-1}_t), \quad
        p(y_t \mid y_{<t}, x) = \mathrm{softmax}(W h^L_t + b)_{y_t}

    Layer l of the decoder begins with the final state of layer l of the encoder, both h
    and c. The source has EOS at its end: read backwards, it comes first and the first
    word last. BOS is what the paper feeds as the end of the source.

    The paper refers to the LSTM of Graves 2013 (arXiv:1308.0850), which has peephole
    connections. This one has none; in the paper's model they would be 24,000 of 384
    million parameters.
    """

    def __init__(self, config: Seq2SeqConfig, *, rngs: nnx.Rngs) -> None:
        check_recurrent(config)
        check_positive(config, "source_vocab_size", "target_vocab_size")
        M, D, layers = config.embed_dim, config.hidden_dim, config.num_layers
        if config.tie_output and M != D:
            raise ValueError(
                f"hidden_dim: expected {M}, got {D} (with tie_output the output matrix "
                "is the target embedding, of width embed_dim)"
            )
        self.config = config
        cell, init, rng = self._cell, initializers(config.init), rngs.params
        widths, V = (M, *[D] * (layers - 1)), config.target_vocab_size
        source = (config.source_vocab_size, M)
        self.source_embedding = nnx.Param(init.embedding(rng(), source))
        self.target_embedding = nnx.Param(init.embedding(rng(), (V, M)))
        self.encoder = Params(init_layers(rng, widths, D, cell, init))
        self.decoder = Params(init_layers(rng, widths, D, cell, init))
        if not config.tie_output:
            self.w_output = nnx.Param(init.kernel(rng(), (V, D)))
        b_output = jnp.zeros(V) if init.bias is None else init.bias(rng(), (V,))
        self.b_output = nnx.Param(b_output)

    @batched
    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> FinalState:
        """Runs the encoder and keeps its final state.

        Padding never moves the state, wherever it is: read forwards, the state is that
        after the last token; read backwards, after the first.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding, on either side; shape [B, S].
          rng: random key for dropout; None means no dropout.

        Returns:
          The state of each layer, leaves [B, D], and the mask.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        # One key for the embeddings, one between two layers.
        rngs = split_rng(rng, self.config.num_layers)
        cell, params = self._cell, self.encoder(dtype)
        embedded = embed(self.source_embedding, source, dtype)
        embedded = dropout(rngs[0], embedded, rate=rate)
        zeros = jnp.zeros((source.shape[0], self.config.hidden_dim), embedded.dtype)
        layers, _ = scan_layers(
            cell,
            params,
            (cell.initial_carry(zeros),) * self.config.num_layers,
            cell.project_inputs(params[0], embedded),
            mask=mask,
            reverse=self.config.reverse_source,
            rngs=rngs[1:],
            dropout_rate=rate,
        )
        return FinalState(layers, mask)

    @batched
    def start(self, memory: FinalState, max_decode_length: int | None = None) -> Layers:
        """Returns the carry before the first token: the encoder's final state.

        The carry has the same size for any number of tokens, so `max_decode_length`
        changes nothing.
        """
        return memory.layers

    @batched
    def step(
        self, memory: FinalState, carry: Layers, token: Array
    ) -> tuple[Layers, Array, Array]:
        """Decodes one token, as `SequenceModel.step`; the weights are 0."""
        embedded = embed(self.target_embedding, token, self.config.dtype)
        params = self.decoder(self.config.dtype)
        inputs = self._cell.project_inputs(params[0], embedded)
        step = jax.vmap(partial(step_layers, self._cell, params))
        carry, hidden = step(carry, inputs)
        logits = self.output.logits(hidden)
        return carry, logits, jnp.zeros(memory.mask.shape, logits.dtype)

    @batched
    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes the inputs of the output layer, as `SequenceModel.features`."""
        # One key for encoder, embeddings and output, and one between two layers.
        rngs = split_rng(rng, 2 + self.config.num_layers)
        rate = self.config.dropout
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, self.config.dtype)
        embedded = dropout(rngs[1], embedded, rate=rate)
        params = self.decoder(self.config.dtype)
        _, hidden = scan_layers(
            self._cell,
            params,
            self.start(memory),
            self._cell.project_inputs(params[0], embedded),
            rngs=rngs[3:],
            dropout_rate=rate,
        )
        weights = jnp.zeros((*previous.shape, source.shape[1]), hidden.dtype)
        return dropout(rngs[2], hidden, rate=rate), weights

    @property
    def output(self) -> OutputLayer:
        """The output layer: matrix [V, D] and bias [V]."""
        tied, dtype = self.config.tie_output, self.config.dtype
        matrix = self.target_embedding if tied else self.w_output
        return OutputLayer(matrix[...].astype(dtype), self.b_output[...].astype(dtype))

    @property
    def _cell(self) -> RecurrentCell:
        return RECURRENT_CELLS[self.config.cell]
