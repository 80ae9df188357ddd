"""Checks of settings and inputs that models share."""

from typing import Any

from jax import Array

from attnjax.core._checks import known_value


def check_lengths(name: str, positions: Any, most: int) -> None:
    """Checks that learned positions suffice, where the positions are known.

    Raises:
      ValueError: naming the longest row, if they do not.
    """
    known = known_value(positions)
    length = 0 if known is None else known.max(initial=-1) + 1
    if length > most:
        raise ValueError(
            f"{name}: expected at most {most} tokens, got {length} (max_length is the "
            "number of learned positions)"
        )


def check_positive(config: Any, *names: str) -> None:
    """Checks that settings are at least 1.

    Raises:
      ValueError: naming the first that is not.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(
                f"{name}: expected at least 1, got {getattr(config, name)}"
            )


def check_num_layers(num_layers: int) -> None:
    """Checks that a stack of recurrent layers is not empty."""
    if num_layers < 1:
        raise ValueError(
            f"num_layers: expected at least 1, got {num_layers} (the number of "
            "recurrent layers)"
        )


def check_vectors(x: Array, axes: str, width: int) -> None:
    """Checks inputs [axes, width] of a model of vectors.

    Raises:
      ValueError: if `x` has another shape.
    """
    if x.ndim != len(axes) + 1 or x.shape[-1] != width:
        raise ValueError(
            f"x: expected shape [{', '.join(axes)}, {width}], got {list(x.shape)} (the "
            "last axis is input_dim)"
        )


def check_tied(tied: bool, embed_dim: int, readout_dim: int) -> None:
    """Checks that the target embedding can serve as the output matrix."""
    if tied and embed_dim != readout_dim:
        raise ValueError(
            f"readout_dim: expected {embed_dim}, got {readout_dim} (with tie_output "
            "the output matrix is the target embedding, of width embed_dim)"
        )
