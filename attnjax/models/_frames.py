"""The encoder of models that read frames: ids or vectors, by a bidirectional RNN."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.cells.bidirectional import bidirectional_layers
from attnjax.cells.recurrent import RecurrentCell
from attnjax.core._checks import known_value
from attnjax.core.dropout import dropout
from attnjax.models._checks import check_vectors
from attnjax.models._parts import Params, embed, split_rng


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Settings that all models of frames have."""

    vocab_size: int = 40
    """Number of output ids, with the blank, which is id 0; a run sets it to that of its
    labels."""
    source_vocab_size: int = 30
    """Number of input ids; a run sets it to that of its inputs. 0: the inputs are
    vectors."""
    input_dim: int = 40
    """Width of the input vectors, where the inputs are no ids."""
    embed_dim: int = 64
    """Width of an embedded id."""
    hidden_dim: int = 128
    """Width of each direction of the encoder, and of a prediction network."""
    num_layers: int = 1
    """Number of bidirectional layers of the encoder."""
    cell: Literal["gru", "lstm", "peephole_lstm"] = "lstm"
    """Recurrent cell of the encoder, and of a prediction network."""
    dropout: float = 0.0
    """Rate of dropout on inputs and embeddings, between layers, and on encoder
    states."""
    init: Literal["paper", "glorot"] = "glorot"
    """Initial parameters: small normal ones, or Glorot uniform."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of computation; parameters are float32."""


def encode_frames(
    config: FramesConfig,
    cell: RecurrentCell,
    embedding: nnx.Param | None,
    encoder: Params,
    source: Array,
    mask: Array,
    rng: Array | None,
) -> Array:
    """Runs the encoder.

    Args:
      config: of the model.
      cell: the recurrent cell.
      embedding: of input ids; None if the inputs are vectors.
      encoder: bidirectional layers.
      source: input ids, shape [B, T], or vectors, shape [B, T, input_dim].
      mask: True = a frame, False = padding after it, shape [B, T].
      rng: random key for dropout on inputs, between layers, and on states; None means
        no dropout.

    Returns:
      States of both directions, shape [B, T, 2*D].

    Raises:
      ValueError: if `source` has another shape, or an id that is known is unknown to
        the model.
    """
    rngs = split_rng(rng, 1 + config.num_layers)
    if embedding is not None:
        x = embed(embedding, source, config.dtype)
    else:
        check_vectors(source, "BT", config.input_dim)
        x = source.astype(config.dtype)
    states = bidirectional_layers(
        cell,
        encoder(config.dtype),
        dropout(rngs[0], x, rate=config.dropout),
        mask=mask,
        rngs=rngs[1:-1],
        dropout_rate=config.dropout,
    )
    return dropout(rngs[-1], states, rate=config.dropout)


def lengths(name: str, mask: Array) -> Array:
    """Counts the frames, or labels, of each row that are no padding: [B, T] -> [B].

    Returns:
      The counts; -1, which no lattice has, of a row that is not known while a program
      is traced and has padding before what is real.

    Raises:
      ValueError: if a mask that is known has such a row.
    """
    counts = jnp.sum(mask, axis=1, dtype=jnp.int32)
    first = jnp.arange(mask.shape[1], dtype=jnp.int32) < counts[:, None]  # [B, 1]
    split = jnp.any(mask != first, axis=1)
    known = known_value(split)
    if known is not None and known.any():
        raise ValueError(
            f"{name}: expected padding after what is real, got it before in row "
            f"{known.argmax()} (move it behind)"
        )
    return jnp.where(split, -1, counts)
