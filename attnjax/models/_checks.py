"""Checks of settings and inputs that models share."""

import dataclasses
import typing
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from attnjax.core._checks import check_ids, known_value


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


def check_choices(config: Any, *names: str) -> None:
    """Checks settings that are one of a few words, as their annotations say.

    Raises:
      ValueError: naming the first that is another, and the choice.
    """
    hints = typing.get_type_hints(type(config))
    for name in names:
        value, choice = getattr(config, name), typing.get_args(hints[name])
        if value not in choice:
            raise ValueError(
                f"{name}: expected one of {', '.join(choice)}, got {value!r}"
            )


def check_recurrent(config: Any, *choices: str) -> None:
    """Checks the settings that recurrent models share: layers, widths, cell and init.

    Args:
      config: of the model.
      choices: further settings that are one of a few words.

    Raises:
      ValueError: naming the first that is out of range, or no such word.
    """
    check_num_layers(config.num_layers)
    fields = dataclasses.fields(config)
    check_positive(config, *(f.name for f in fields if f.name.endswith("_dim")))
    check_choices(config, "cell", "init", *choices)


def check_num_layers(num_layers: int) -> None:
    """Checks that a stack of recurrent layers is not empty."""
    if num_layers < 1:
        raise ValueError(
            f"num_layers: expected at least 1, got {num_layers} (the number of "
            "recurrent layers)"
        )


def check_mask(mask: Array, tokens: Array) -> None:
    """Checks the mask of ids.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if `mask` is not boolean.
    """
    if mask.dtype != bool:
        raise TypeError(
            f"mask: expected a boolean mask (True = a token), got {mask.dtype} "
            "(compare it, as in mask > 0)"
        )
    if mask.shape != tokens.shape:
        raise ValueError(
            f"mask: expected shape {list(tokens.shape)}, got {list(mask.shape)} (one "
            "True or False per token)"
        )


def check_tokens(
    name: str, tokens: Array, axes: str, vocab_size: int, mask: Array | None = None
) -> None:
    """Checks ids [axes] of a model of tokens; those at padding may be any.

    Raises:
      ValueError: if `tokens` has another rank, a known id is outside the vocabulary, or
        the mask has another shape.
      TypeError: if ids are no integers, or the mask is not boolean.
    """
    if np.ndim(tokens) != len(axes):
        raise ValueError(
            f"{name}: expected shape [{', '.join(axes)}], got {list(np.shape(tokens))}"
        )
    if mask is not None:
        check_mask(mask, tokens)
        tokens = jnp.where(mask, tokens, 0)
    check_ids(name, tokens, vocab_size)


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
