"""The marginalised cursor: a translation's alignment as a latent variable, summed out.

Wu & Cotterell 2019 (arXiv:1905.06319), exact hard attention: at each target token a
cursor moves to one source position, which predicts the token; training maximises the
likelihood summed over all paths of the cursor. First-order or monotone is a setting. It
is RNNSearch with the posterior of a path in the place of softmax weights.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells import marginal_cursor as cursors
from attnjax.cells.bidirectional import bidirectional_layers, init_bidirectional_layers
from attnjax.cells.initializers import initializers
from attnjax.cells.marginal_cursor import (
    CursorMemory,
    CursorParams,
    CursorState,
    TaughtCursor,
)
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
from attnjax.core.lattice import hmm_log_likelihood, hmm_posteriors
from attnjax.core.losses import token_cross_entropy
from attnjax.models._checks import check_recurrent
from attnjax.models._frames import lengths
from attnjax.models._methods import batched
from attnjax.models._parts import (
    DeepOutput,
    Params,
    embed,
    first_hidden,
    split_rng,
)
from attnjax.models._sequence_model import SequenceModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarginalCursorConfig:
    """Sizes of a model with a marginalised cursor."""

    source_vocab_size: int = 30_000
    """Number of source ids; a translation run takes it from its tokeniser."""
    target_vocab_size: int = 30_000
    """Number of target ids; a translation run takes it from its tokeniser."""
    embed_dim: int = 256
    """Width of an embedded token."""
    hidden_dim: int = 256
    """Width of each direction of the encoder, and of the decoder."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "gru"
    """Recurrent cell of the encoder and of the decoder."""
    num_layers: int = 1
    """Number of recurrent layers of the encoder and of the decoder."""
    align_dim: int = 64
    """Width of the query and the keys that score where the cursor moves."""
    readout_dim: int = 256
    """Width of the layer before the logits, of the decoder and of the source."""
    moves: Literal["first-order", "monotone"] = "first-order"
    """Moves of the cursor: any jump, which costs what its length says; or monotone:
    never back, and forward by at most max_jump."""
    max_jump: int = 8
    """Longest jump with a score of its own."""
    dropout: float = 0.0
    """Rate of dropout on embeddings, encoder states and readout layers."""
    init: Literal["paper", "glorot"] = "glorot"
    """Initial parameters: small normal ones, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


class MarginalCursorState(NamedTuple):
    """The carry of decoding: the decoder's layers, and where the cursor may be."""

    layers: Layers
    cursor: CursorState


class MarginalCursor(SequenceModel):
    """Bidirectional encoder, decoder without attention, and a cursor that joins them.

    A token's logits are a sum of two halves: of the decoder, which has seen the tokens
    before it, and of the source position. The memory holds the source's half for all of
    the vocabulary, [B, S, V]: the model is made for small vocabularies.
    """

    def __init__(self, config: MarginalCursorConfig, *, rngs: nnx.Rngs) -> None:
        check_recurrent(config, "moves")
        self.config = config
        M, D, layers = config.embed_dim, config.hidden_dim, config.num_layers
        cell, init, rng = self._cell, initializers(config.init), rngs.params
        source, target = (config.source_vocab_size, M), (config.target_vocab_size, M)
        self.source_embedding = nnx.Param(init.embedding(rng(), source))
        self.target_embedding = nnx.Param(init.embedding(rng(), target))
        self.encoder = Params(init_bidirectional_layers(rng, M, D, layers, cell, init))
        self.w_start = nnx.Param(init.kernel(rng(), (D, layers * D)))
        self.decoder = Params(init_layers(rng, (M, *[D] * (layers - 1)), D, cell, init))
        self.w_keys = nnx.Param(init.aligner(rng(), (2 * D, config.align_dim)))
        jumps = jnp.arange(float(self._jumps["lowest"]), config.max_jump + 1)
        self.cursor = Params(
            CursorParams(
                w_query=init.aligner(rng(), (D, config.align_dim)),
                jumps=-jnp.abs(jumps - 1),  # at first it prefers to move on by one
            )
        )
        readout = partial(
            DeepOutput, maxout=False, tied=False, initializers=init, rngs=rngs
        )
        sizes = config.readout_dim, config.target_vocab_size
        self.source_output = readout((2 * D, M), *sizes)
        self.target_output = readout((D, M), *sizes)

    @batched
    def encode(
        self, source: Array, mask: Array, rng: Array | None = None
    ) -> CursorMemory:
        """Runs the encoder, and predicts a token from each source position.

        Arguments are those of `SequenceModel.encode`; padding is on either side.
        """
        dtype, rate = self.config.dtype, self.config.dropout
        rngs = split_rng(rng, 2 + self.config.num_layers)
        embedded = embed(self.source_embedding, source, dtype)
        embedded = dropout(rngs[0], embedded, rate=rate)
        states = bidirectional_layers(
            self._cell,
            self.encoder(dtype),
            embedded,
            mask=mask,
            rngs=rngs[2:-1],
            dropout_rate=rate,
        )
        states = dropout(rngs[-1], states, rate=rate)
        keys = precision.matmul(states, self.w_keys[...].astype(dtype))
        logits = self._logits(self.source_output, (states, embedded), rngs[1])
        hidden = first_hidden(states, mask, self.w_start)
        return CursorMemory(keys, jnp.exp(logits), mask, hidden)

    @batched
    def start(
        self, memory: CursorMemory, max_decode_length: int | None = None
    ) -> MarginalCursorState:
        """Returns the carry before the first token, as `SequenceModel.start`."""
        hidden = jnp.split(memory.hidden, self.config.num_layers, axis=-1)
        B, S = memory.mask.shape
        cursor = CursorState(
            jnp.zeros(B, jnp.int32), jnp.zeros((B, S), memory.factors.dtype)
        )
        return MarginalCursorState(tuple(map(self._cell.initial_carry, hidden)), cursor)

    @batched
    def step(
        self, memory: CursorMemory, carry: MarginalCursorState, token: Array
    ) -> tuple[MarginalCursorState, Array, Array]:
        """Decodes one token, as `SequenceModel.step`.

        The logits are log-probabilities; the weights are the probability of each
        position before the token is known.
        """
        dtype = self.config.dtype
        embedded = embed(self.target_embedding, token, dtype)
        params = self.decoder(dtype)
        inputs = self._cell.project_inputs(params[0], embedded)
        layers, hidden = jax.vmap(partial(step_layers, self._cell, params))(
            carry.layers, inputs
        )
        logits = self._logits(self.target_output, (hidden, embedded), None)
        move: Any = partial(cursors.marginal_cursor, self._cursor, **self._jumps)
        cursor, out = jax.vmap(move)(carry.cursor, token, hidden, logits, memory=memory)
        return MarginalCursorState(layers, cursor), out.log_probs, out.weights

    @batched
    def __call__(
        self, source: Array, mask: Array, previous: Array, rng: Array | None = None
    ) -> tuple[Array, Array]:
        """Computes log-probabilities and weights, as `SequenceModel.__call__`."""
        taught = self._teach(source, mask, previous, rng)
        # The token of a position is the one before the next position. That of the last
        # is not known, and changes nothing.
        tokens = jnp.pad(previous[:, 1:], ((0, 0), (0, 1)))

        run: Any = partial(cursors.teacher_forced, self._cursor, **self._jumps)
        out = jax.vmap(run)(taught, tokens)
        return out.log_probs, out.weights

    def cross_entropy(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
        rng: Array | None = None,
        *,
        smoothing: float = 0.0,
    ) -> Array:
        """Sums the cross-entropy of a known target, as `SequenceModel.cross_entropy`.

        Without smoothing it is the negative log-likelihood, summed over all paths of
        the cursor, whose gradient is the posterior; padding must be behind the tokens.
        """
        if smoothing == 0:
            arguments = source, mask, previous, rng, target, target_mask
            return -jnp.sum(self._of_rows(hmm_log_likelihood, *arguments))
        logits, _ = self(source, mask, previous, rng)
        labels = jnp.where(target_mask, target, 0)
        nats = token_cross_entropy(logits, labels, smoothing=smoothing)
        return jnp.sum(jnp.where(target_mask, nats, 0))

    @batched
    def align(
        self,
        source: Array,
        mask: Array,
        previous: Array,
        target: Array,
        target_mask: Array,
    ) -> Array:
        """Computes the posterior of the cursor, given the whole target, [B, T, S]."""
        return self._of_rows(
            hmm_posteriors, source, mask, previous, None, target, target_mask
        )

    @batched
    def _of_rows(
        self,
        function: Callable[..., Array],
        source: Array,
        mask: Array,
        previous: Array,
        rng: Array | None,
        target: Array,
        target_mask: Array,
    ) -> Array:
        """Calls a function of `hmm` for each row, [B, ...]."""
        counts = lengths("target_mask", target_mask)
        taught = self._teach(source, mask, previous, rng)

        def row(taught: TaughtCursor, tokens: Array, steps: Array) -> Array:
            chain = cursors.chain(self._cursor, taught, tokens, **self._jumps)
            return function(*chain, num_steps=steps)

        return jax.vmap(row)(taught, target, counts)

    def _teach(
        self, source: Array, mask: Array, previous: Array, rng: Array | None
    ) -> TaughtCursor:
        """Runs encoder and decoder over a known target."""
        dtype, rate = self.config.dtype, self.config.dropout
        rngs = split_rng(rng, 2 + self.config.num_layers)
        memory = self.encode(source, mask, rngs[0])
        embedded = embed(self.target_embedding, previous, dtype)
        embedded = dropout(rngs[1], embedded, rate=rate)
        params = self.decoder(dtype)
        inputs = self._cell.project_inputs(params[0], embedded)
        first = self.start(memory).layers
        _, hidden = scan_layers(
            self._cell, params, first, inputs, rngs=rngs[3:], dropout_rate=rate
        )
        logits = self._logits(self.target_output, (hidden, embedded), rngs[2])
        scores = jax.vmap(partial(cursors.move_scores, self._cursor))(hidden, memory)
        return TaughtCursor(memory, scores, logits)

    def _logits(
        self, output: DeepOutput, inputs: tuple[Array, ...], rng: Array | None
    ) -> Array:
        """One half of the logits [..., V], bounded, in at least float32."""
        features = output.features(inputs, rng, dropout_rate=self.config.dropout)
        return cursors.cap_logits(
            output.output(None, self.config.dtype).logits(features)
        )

    @property
    def _cell(self) -> RecurrentCell:
        return RECURRENT_CELLS[self.config.cell]

    @property
    def _cursor(self) -> CursorParams:
        return self.cursor(self.config.dtype)

    @property
    def _jumps(self) -> dict[str, Any]:
        """How the table of jumps is read."""
        clip = self.config.moves == "first-order"
        return {"lowest": -self.config.max_jump if clip else 0, "clip": clip}
