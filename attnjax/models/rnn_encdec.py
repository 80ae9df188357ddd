"""The fixed-vector encoder-decoder: a whole sentence in one vector.

Cho et al. 2014 (arXiv:1406.1078), section 2.2 and appendix A: the design whose
bottleneck made attention necessary. It lives the same life as RNNSearch, with
weights that are always 0, since it looks at no position.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from attnjax.cells.gru import GRUParams, gru_inputs, gru_recur
from attnjax.cells.scan import scan
from attnjax.core import precision
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNNEncoderDecoderConfig:
    """Sizes of a fixed-vector model; the defaults match RNNSearch's paper."""

    source_vocab_size: int = 30_000
    """Number of source ids; a translation run sets it to its tokeniser's."""
    target_vocab_size: int = 30_000
    """Number of target ids; a translation run sets it to its tokeniser's."""
    embed_dim: int = 620
    """Width of an embedded token."""
    hidden_dim: int = 1000
    """Width of the encoder, of the sentence's vector and of the decoder."""
    readout_dim: int = 500
    """Width of what the logits are computed from."""
    maxout: bool = True
    """Readout by maxout over pairs, as in the paper; else by one tanh, cheaper."""
    tie_output: bool = False
    """Let the output matrix be the target embedding; needs readout_dim = embed_dim."""
    dropout: float = 0.0
    """Share of embeddings, sentence vector and readout that is dropped in training."""
    init: Literal["paper", "glorot"] = "paper"
    """Initial parameters: as RNNSearch's appendix B.1 draws them, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of computation; parameters are float32."""


class EncoderOutput(NamedTuple):
    """The sentence, and a mask that only says how long it was."""

    vector: Float[Array, "B D"]  # c
    mask: Array  # [B, S]


class DecoderState(NamedTuple):
    """What the decoder passes on."""

    hidden: Float[Array, "B D"]


class RNNEncoderDecoder(SequenceModel):
    r"""Encoder and decoder joined by one vector.

    .. math::
        c = \tanh(V h_S), \quad s_0 = \tanh(V' c), \quad
        s_i = \mathrm{GRU}(s_{i-1}, [y_{i-1}; c])

    and the output layer reads s_i, y_{i-1} and c.
    """

    def __init__(self, config: RNNEncoderDecoderConfig, *, rngs: nnx.Rngs) -> None:
        check_tied(config.tie_output, config.embed_dim, config.readout_dim)
        self.config = config
        M, D = config.embed_dim, config.hidden_dim
        draw = initializers(config.init)
        rng = rngs.params
        source, target = (config.source_vocab_size, M), (config.target_vocab_size, M)
        self.source_embedding = nnx.Param(draw.embedding(rng(), source))
        self.target_embedding = nnx.Param(draw.embedding(rng(), target))
        self.encoder = Params(init_gru(rng(), M, D, draw))
        self.w_summary = nnx.Param(draw.matrix(rng(), (D, D)))  # V
        self.w_start = nnx.Param(draw.matrix(rng(), (D, D)))  # V'
        self.w_context = nnx.Param(draw.matrix(rng(), (D, 3 * D)))  # C_z, C_r, C
        self.decoder = Params(init_gru(rng(), M, D, draw))
        self.emitter = Emitter(
            (D, M, D),
            config.readout_dim,
            config.target_vocab_size,
            maxout=config.maxout,
            tied=config.tie_output,
            draw=draw,
            rngs=rngs,
        )

    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> EncoderOutput:
        """Squeezes source sentences into vectors.

        Args:
          source: token ids, shape [B, S].
          mask: True = a token, False = padding after it, shape [B, S].
          rng: random key for dropout; None means none.

        Returns:
          The vectors c [B, D], and the mask.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        rngs = split_rng(rng, 2)
        embedded = embed(self.source_embedding, source, dtype)
        embedded = dropout(rngs[0], embedded, rate=rate)
        params = self.encoder(dtype)
        first = jnp.zeros((source.shape[0], self.config.hidden_dim), dtype)
        last, _ = scan(
            gru_recur, params, first, gru_inputs(params, embedded), mask=mask
        )
        vector = jnp.tanh(precision.matmul(last, self.w_summary[...].astype(dtype)))
        return EncoderOutput(dropout(rngs[1], vector, rate=rate), mask)

    def start(self, memory: EncoderOutput, size: int | None = None) -> DecoderState:
        """The decoder before its first word: s_0 = tanh(V' c).

        The state is as large for any number of words: `size` is not used.
        """
        w_start = self.w_start[...].astype(memory.vector.dtype)
        return DecoderState(jnp.tanh(precision.matmul(memory.vector, w_start)))

    def step(
        self, memory: EncoderOutput, carry: DecoderState, token: Array
    ) -> tuple[DecoderState, Array, Array]:
        """Writes one token.

        Args:
          memory: what `encode` returned.
          carry: what `start` or the last step returned.
          token: ids of the last token written, shape [B].

        Returns:
          The new carry, logits [B, V] and weights [B, S], which are 0.
        """
        embedded = embed(self.target_embedding, token, self.config.dtype)
        params = self.decoder(self.config.dtype)
        inputs = self._inputs(params, embedded, memory.vector)
        hidden, _ = jax.vmap(gru_recur, (None, 0, 0))(params, carry.hidden, inputs)
        logits = self.output.logits(self._units(hidden, embedded, memory.vector))
        return DecoderState(hidden), logits, jnp.zeros(memory.mask.shape, logits.dtype)

    def features(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """As of `SequenceModel`."""
        rngs = split_rng(rng, 3)
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, self.config.dtype)
        embedded = dropout(rngs[1], embedded, rate=self.config.dropout)
        params = self.decoder(self.config.dtype)
        inputs = self._inputs(params, embedded, memory.vector[:, None])
        _, hidden = scan(gru_recur, params, self.start(memory).hidden, inputs)
        vector = jnp.broadcast_to(
            memory.vector[:, None], (*previous.shape, memory.vector.shape[-1])
        )
        units = self._units(hidden, embedded, vector, rngs[2])
        weights = jnp.zeros((*previous.shape, source.shape[1]), units.dtype)
        return units, weights

    @property
    def output(self) -> OutputLayer:
        """As of `SequenceModel`."""
        table = self.target_embedding if self.config.tie_output else None
        return self.emitter.output(table, self.config.dtype)

    def _inputs(self, params: GRUParams, embedded: Array, vector: Array) -> Array:
        """What the gates get from the last word and from the sentence."""
        w_context = self.w_context[...].astype(vector.dtype)
        return gru_inputs(params, embedded) + precision.matmul(vector, w_context)

    def _units(
        self, hidden: Array, embedded: Array, vector: Array, rng: Array | None = None
    ) -> Array:
        parts = (hidden, embedded, vector)
        return self.emitter.units(parts, rng, dropout_rate=self.config.dropout)
