"""The RNN Transducer: two cursors, one over frames and one over labels.

Graves 2012 (arXiv:1211.3711). An encoder reads the frames (sounds, or the letters of a
word), a prediction network the labels that are out already; a joint network scores at
each node of their lattice what comes next: a label, or the blank, which moves on to the
next frame. The likelihood sums over all paths (`attnjax.core.lattice`).
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.bidirectional import init_bidirectional_layers
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
from attnjax.core.lattice import (
    TransducerPath,
    transducer_arcs,
    transducer_best_path,
    transducer_loss,
)
from attnjax.models._checks import check_recurrent
from attnjax.models._frames import FramesConfig, encode_frames, lengths
from attnjax.models._methods import batched
from attnjax.models._parts import (
    Params,
    embed,
    repeat_rows,
    split_rng,
)

BLANK = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransducerConfig(FramesConfig):
    """Sizes of an RNN Transducer."""

    joint_dim: int = 128
    """Width of the joint network, which has one hidden layer."""


class Predicted(NamedTuple):
    """What the prediction network knows after some labels."""

    carry: Layers
    projected: Array  # what enters the joint network, [B, J]


class Transducer(nnx.Module):
    """Encoder, prediction network and joint network.

    .. math:: z_{tu} = W \\tanh(A f_t + B g_u + b) + c

    with f_t the encoder's state at frame t and g_u the prediction network's after the
    first u labels: g_u has never seen label u + 1. Calling the model gives the logits
    of the whole lattice; `encode`, `start`, `advance` and `join` decode.

    Source: Graves 2012 (arXiv:1211.3711), section 2; the joint network's hidden layer:
    Graves, Mohamed & Hinton 2013 (arXiv:1303.5778), eqs. 15 to 17.
    """

    def __init__(self, config: TransducerConfig, *, rngs: nnx.Rngs) -> None:
        check_recurrent(config)
        self.config = config
        M, D, J, cell = config.embed_dim, config.hidden_dim, config.joint_dim, self.cell
        init, rng = initializers(config.init), rngs.params
        width = M if config.source_vocab_size else config.input_dim
        if config.source_vocab_size:
            table = (config.source_vocab_size, M)
            self.source_embedding = nnx.Param(init.embedding(rng(), table))
        self.encoder = Params(
            init_bidirectional_layers(rng, width, D, config.num_layers, cell, init)
        )
        self.label_embedding = nnx.Param(init.embedding(rng(), (config.vocab_size, M)))
        self.predictor = Params(init_layers(rng, (M,), D, cell, init))
        self.w_frame = nnx.Param(init.kernel(rng(), (2 * D, J)))
        self.w_label = nnx.Param(init.kernel(rng(), (D, J)))
        self.b_joint = nnx.Param(jnp.zeros(J))
        self.w_output = nnx.Param(init.kernel(rng(), (J, config.vocab_size)))
        self.b_output = nnx.Param(jnp.zeros(config.vocab_size))

    @property
    def cell(self) -> RecurrentCell:
        """The recurrent cell of both networks."""
        return RECURRENT_CELLS[self.config.cell]

    @batched
    def encode(self, source: Array, mask: Array, rng: Array | None = None) -> Array:
        """Runs the encoder, and projects its states for the joint network.

        Args:
          source: input ids, shape [B, T], or vectors, shape [B, T, input_dim].
          mask: True = a frame, False = padding after it, shape [B, T].
          rng: random key for dropout; None means no dropout.

        Returns:
          Shape [B, T, J].

        Raises:
          ValueError: if `source` has another shape, or an id that is known is unknown
            to the model.
        """
        table = getattr(self, "source_embedding", None)
        encoder = self.encoder
        states = encode_frames(
            self.config, self.cell, table, encoder, source, mask, rng
        )
        return precision.matmul(states, self.w_frame[...].astype(states.dtype))

    @batched
    def predict(self, labels: Array, rng: Array | None = None) -> Array:
        """Runs the prediction network over known labels.

        Args:
          labels: ids, shape [B, U]; padding after them.
          rng: random key for dropout; None means no dropout.

        Returns:
          What it knows before the first label and after each, shape [B, U + 1, J].
        """
        dtype = self.config.dtype
        embedded = embed(self.label_embedding, labels, dtype)
        # Before the first label the input is 0 (Graves 2012, section 2.1), so that
        # entry u has seen labels 1 to u, and none after.
        inputs = jnp.pad(embedded, ((0, 0), (1, 0), (0, 0)))  # [B, U, M] -> [B, U+1, M]
        inputs = dropout(rng, inputs, rate=self.config.dropout)
        params = self.predictor(dtype)
        _, states = scan_layers(
            self.cell,
            params,
            self._first(labels.shape[0]),
            self.cell.project_inputs(params[0], inputs),
        )
        return precision.matmul(states, self.w_label[...].astype(dtype))

    def start(self, batch_size: int) -> Predicted:
        """Runs the prediction network before the first label."""
        zeros = jnp.zeros((batch_size, self.config.embed_dim), self.config.dtype)
        return self._advance(self._first(batch_size), zeros)

    @batched
    def advance(self, last: Predicted, label: Array) -> Predicted:
        """Feeds one label of each row, shape [B], to the prediction network."""
        embedded = embed(self.label_embedding, label, self.config.dtype)
        return self._advance(last.carry, embedded)

    def _advance(self, carry: Layers, embedded: Array) -> Predicted:
        params = self.predictor(self.config.dtype)
        inputs = self.cell.project_inputs(params[0], embedded)
        step = partial(step_layers, self.cell, params)
        carry, hidden = jax.vmap(step)(carry, inputs)
        w_label = self.w_label[...].astype(hidden.dtype)
        return Predicted(carry, precision.matmul(hidden, w_label))

    def _first(self, batch_size: int) -> Layers:
        zeros = jnp.zeros(self.config.hidden_dim, self.config.dtype)
        return repeat_rows((self.cell.initial_carry(zeros),), batch_size)

    def join(self, frame: Array, predicted: Array) -> Array:
        """Scores what comes next, from `encode`'s and the prediction network's output.

        Args:
          frame: shape [..., J].
          predicted: shape [..., J], broadcast against it.

        Returns:
          Logits [..., V], in at least float32; the blank is id 0.
        """
        hidden = jnp.tanh(frame + predicted + self.b_joint[...].astype(frame.dtype))
        w_output = self.w_output[...].astype(hidden.dtype)
        product = precision.matmul(hidden, w_output, upcast_result=True)
        return product + self.b_output[...].astype(product.dtype)

    @batched
    def __call__(
        self, source: Array, mask: Array, labels: Array, rng: Array | None = None
    ) -> Array:
        """Computes the logits at every node of the lattice.

        Args:
          source: as of `encode`.
          mask: as of `encode`.
          labels: ids, shape [B, U]; padding after them.
          rng: random key for dropout; None means no dropout.

        Returns:
          Logits [B, T, U + 1, V], in at least float32.
        """
        rngs = split_rng(rng, 2)
        frames = self.encode(source, mask, rngs[0])
        predicted = self.predict(labels, rngs[1])
        # [B, T, J] -> [B, T, 1, J]; [B, U + 1, J] -> [B, 1, U + 1, J]
        return self.join(frames[:, :, None], predicted[:, None])

    @batched
    def losses(
        self,
        source: Array,
        mask: Array,
        labels: Array,
        label_mask: Array,
        rng: Array | None = None,
    ) -> Array:
        """Computes the negative log-likelihood of each row's labels, in nats.

        Args:
          source: as of the call.
          mask: as of the call.
          labels: as of the call.
          label_mask: True = a label, False = padding after it, shape [B, U].
          rng: as of the call.

        Returns:
          Nats, shape [B]; infinite for a row without a frame.

        Raises:
          ValueError: if padding of a mask that is known is not behind what is real.
        """
        logits = self(source, mask, labels, rng)
        counts = lengths("mask", mask), lengths("label_mask", label_mask)

        def loss(logits: Array, labels: Array, frames: Array, count: Array) -> Array:
            return transducer_loss(
                logits, labels, blank=BLANK, num_frames=frames, num_labels=count
            )

        return jax.vmap(loss)(logits, labels, *counts)

    @batched
    def best_path(
        self, source: Array, mask: Array, labels: Array, label_mask: Array
    ) -> TransducerPath:
        """Finds the most probable path of given labels: the frame of each label.

        Arguments are those of `losses`.

        Returns:
          Frames [B, U], -1 at padding, and log-probabilities of the paths [B].
        """
        log_probs = jax.nn.log_softmax(self(source, mask, labels))

        def trace(x: Array, labels: Array, frames: Array, count: Array) -> Any:
            arcs = transducer_arcs(x, labels, blank=BLANK, num_labels=count)
            return transducer_best_path(*arcs, num_frames=frames, num_labels=count)

        return jax.vmap(trace)(
            log_probs, labels, lengths("mask", mask), lengths("label_mask", label_mask)
        )
