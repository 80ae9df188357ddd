"""Connectionist temporal classification: an encoder that labels every frame.

Graves, Fernández, Gomez & Schmidhuber 2006 (ICML). A bidirectional RNN reads the frames
and scores at each a label or the blank; the likelihood of labels sums over all paths
that collapse to them (`attnjax.core.lattice`). Given the frames, labels do not depend
on each other; a transducer adds a network of the labels so far.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.bidirectional import init_bidirectional_layers
from attnjax.cells.initializers import initializers
from attnjax.cells.recurrent import RECURRENT_CELLS, RecurrentCell
from attnjax.core import precision
from attnjax.core.lattice import CTCPath, ctc_best_path, ctc_loss
from attnjax.models._checks import check_recurrent
from attnjax.models._frames import FramesConfig, encode_frames, lengths
from attnjax.models._methods import batched
from attnjax.models._parts import Params

BLANK = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTCConfig(FramesConfig):
    """Sizes of a network trained by CTC."""


class CTC(nnx.Module):
    """An encoder and an output layer.

    .. math:: z_t = W f_t + b

    with f_t the encoder's state at frame t. Calling the model gives the logits of every
    frame, which `attnjax.decode.ctc_greedy` decodes.

    Source: Graves et al. 2006 (ICML), sections 2 and 4.
    """

    def __init__(self, config: CTCConfig, *, rngs: nnx.Rngs) -> None:
        check_recurrent(config)
        self.config = config
        M, D, V = config.embed_dim, config.hidden_dim, config.vocab_size
        init, rng = initializers(config.init), rngs.params
        if config.source_vocab_size:
            table = init.embedding(rng(), (config.source_vocab_size, M))
            self.source_embedding = nnx.Param(table)
        width = M if config.source_vocab_size else config.input_dim
        self.encoder = Params(
            init_bidirectional_layers(rng, width, D, config.num_layers, self.cell, init)
        )
        self.w_output = nnx.Param(init.kernel(rng(), (2 * D, V)))
        self.b_output = nnx.Param(jnp.zeros(V))

    @property
    def cell(self) -> RecurrentCell:
        """The recurrent cell of the encoder."""
        return RECURRENT_CELLS[self.config.cell]

    @batched
    def __call__(self, source: Array, mask: Array, rng: Array | None = None) -> Array:
        """Computes the logits of every frame.

        Args:
          source: input ids, shape [B, T], or vectors, shape [B, T, input_dim].
          mask: True = a frame, False = padding after it, shape [B, T].
          rng: random key for dropout; None means no dropout.

        Returns:
          Logits [B, T, V], in at least float32; the blank is id 0.

        Raises:
          ValueError: if `source` has another shape, or an id that is known is unknown
            to the model.
        """
        table = getattr(self, "source_embedding", None)
        encoder = self.encoder
        states = encode_frames(
            self.config, self.cell, table, encoder, source, mask, rng
        )
        w_output = self.w_output[...].astype(states.dtype)
        product = precision.matmul(states, w_output, upcast_result=True)
        return product + self.b_output[...].astype(product.dtype)

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
          labels: ids, shape [B, U]; padding after them.
          label_mask: True = a label, False = padding after it, shape [B, U].
          rng: as of the call.

        Returns:
          Nats, shape [B]; infinite, with gradient 0, for a row with fewer frames than
          labels and repeats.

        Raises:
          ValueError: if padding of a mask that is known is not behind what is real.
        """

        def loss(logits: Array, labels: Array, frames: Array, count: Array) -> Array:
            return ctc_loss(
                logits, labels, blank=BLANK, num_frames=frames, num_labels=count
            )

        counts = lengths("mask", mask), lengths("label_mask", label_mask)
        return jax.vmap(loss)(self(source, mask, rng), labels, *counts)

    @batched
    def best_path(
        self, source: Array, mask: Array, labels: Array, label_mask: Array
    ) -> CTCPath:
        """Finds the most probable path of given labels: which label each frame is at.

        Arguments are those of `losses`.

        Returns:
          Positions [B, T], -1 at a blank, and log-probabilities of the paths [B].
        """

        def trace(x: Array, labels: Array, frames: Array, count: Array) -> Any:
            return ctc_best_path(
                x, labels, blank=BLANK, num_frames=frames, num_labels=count
            )

        log_probs = jax.nn.log_softmax(self(source, mask))
        counts = lengths("mask", mask), lengths("label_mask", label_mask)
        return jax.vmap(trace)(log_probs, labels, *counts)
