"""Checks of the numbers in a config, by the names of its fields."""

import dataclasses
from typing import Any

from experiments.errors import UserError

# Settings that mean nothing below 1, below 0, and outside of [0, 1).
_COUNTS = (
    *("steps", "batch_tokens", "batch_size", "batch_size_multiple", "num_buckets"),
    *("max_length", "max_source_length", "accumulation_steps", "log_every"),
    *("beam_size", "keep_last", "encoder_layers", "decoder_layers"),
    *("embed_dim", "hidden_dim", "align_dim", "readout_dim"),
    *("layers", "context", "width", "heads", "key_heads", "d_ff"),
    *("size", "lines"),
)
_AMOUNTS = (
    *("eval_every", "save_every", "learning_rate", "warmup_steps", "end_lr_ratio"),
    *("max_grad_norm", "weight_decay", "length_penalty", "max_length_ratio", "seed"),
    *("epsilon", "coverage_penalty", "no_repeat_ngram_size"),
)
_SHARES = ("label_smoothing", "beta2", "dropout", "ema_decay", "held_out")


def check_numbers(part: Any, name: str = "") -> None:
    """Checks the numbers of a config and of its parts.

    Raises:
      UserError: naming the first that makes no sense.
    """
    for field in dataclasses.fields(part):
        value, dotted = getattr(part, field.name), f"{name}{field.name}"
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{dotted}.")
        elif value is None:
            continue
        elif field.name in _COUNTS and value < 1:
            raise UserError(f"{dotted}: expected at least 1, got {value}")
        elif field.name in _AMOUNTS and not value >= 0:
            raise UserError(f"{dotted}: expected at least 0, got {value}")
        elif field.name in _SHARES and not 0 <= value < 1:
            raise UserError(f"{dotted}: expected a share from 0 to 1, got {value}")
