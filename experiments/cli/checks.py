"""Checks of the numbers in a config, by the names of its fields."""

import dataclasses
import math
from typing import Any

from experiments.errors import UserError

# Every number in a config is in one of these tables; a test compares them with the
# fields of the experiments' configs, so that a renamed field does not lose its check.
COUNTS = (  # at least 1
    *("steps", "batch_tokens", "batch_size", "batch_size_multiple"),
    *("num_buckets", "max_length", "max_source_length", "accumulation_steps"),
    *("log_every", "keep_last", "beam_size", "max_lines"),
    *("source_column", "target_column"),
    *("vocab_size", "source_vocab_size", "target_vocab_size"),
    *("embed_dim", "hidden_dim", "align_dim", "readout_dim"),
    *("max_jump",),
    *("num_layers", "encoder_layers", "decoder_layers", "d_model", "d_ff"),
    *("num_heads", "num_kv_heads", "head_dim", "rope_original_max_length"),
    *("input_dim", "output_dim", "num_read_heads", "num_write_heads"),
    *("tape_size", "tape_width", "validation_size", "bits", "min_length", "length"),
    *("min_repeats", "max_repeats", "item_length", "min_items", "max_items"),
    *("context", "given", "expected"),
    *("decay_every", "num_hops", "memory_size", "difficulty", "statements"),
    *("sentence_length", "joint_dim", "max_per_frame", "reset_every"),
    *("max_text_length", "window_gaussians", "mixture_components"),
    *("max_digits", "num_mel_bins", "stacked_frames"),
)
AMOUNTS = (  # at least 0
    *("eval_every", "save_every", "learning_rate", "warmup_steps", "end_lr_ratio"),
    *("max_grad_norm", "max_grad_value", "weight_decay", "epsilon", "seed"),
    *("norm_epsilon", "sliding_window", "max_shift", "linear_units", "context_tokens"),
    *("curriculum_steps", "num_symbols", "jitter", "strength_bias"),
    *("decay_begin", "linear_start_steps", "alignment_weight", "layer", "split_seed"),
    *("length_penalty", "max_length_ratio", "coverage_penalty", "no_repeat_ngram_size"),
    *("train", "validation", "test", "held_out_validation", "held_out_test"),
)
POSITIVE = (
    *("rope_theta", "rope_scaling_factor", "rope_attention_factor", "logit_softcap"),
    *("rope_low_freq_factor", "rope_high_freq_factor"),
    *("rope_beta_fast", "rope_beta_slow", "decay_ratio", "init_stddev", "margin"),
    *("begin_ratio", "points_per_character", "stddev"),
    *("output_gradient_limit", "cell_gradient_limit", "gradient_limit"),
)
LARGEST, LARGEST_SEED = 2**31 - 1, 2**63 - 1  # of what JAX and NumPy take
# What is built one by one while a run is loaded. The settings may be a stranger's, and
# these are far beyond any model's.
LIMITS = {
    "seed": LARGEST_SEED,
    **dict.fromkeys(("num_layers", "encoder_layers", "decoder_layers"), 1_000),
    **dict.fromkeys(("num_hops", "num_read_heads", "num_write_heads"), 1_000),
    **dict.fromkeys(("max_shift", "max_repeats", "bits"), 1_000),
    **dict.fromkeys(("length", "max_length", "item_length", "max_items"), 1_000_000),
}
FRACTIONS = (
    *("label_smoothing", "beta2", "dropout", "ema_decay", "held_out", "empty_slots"),
    *("speed_perturbation", "momentum"),
)


def check_numbers(config: Any, prefix: str = "") -> None:
    """Checks the numbers of a config and of the dataclasses in it.

    Args:
      config: a dataclass.
      prefix: of the names in the error, such as "model.".

    Raises:
      UserError: naming the first number out of range.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            _check(field.name, value, name)


def check_seed(seed: int) -> None:
    """Checks the seed of a command, as that of a config.

    Raises:
      UserError: if it is out of range.
    """
    _check("seed", seed, "seed")


def check_hypotheses(name: str, count: int, vocab_size: int) -> None:
    """Checks how many hypotheses beam search keeps, or is asked for.

    Raises:
      UserError: if there are more than tokens to begin them.
    """
    if count > vocab_size:
        raise UserError(
            f"{name}: expected at most {vocab_size} (the target vocabulary), got "
            f"{count}"
        )


def _check(field: str, value: float, name: str) -> None:
    largest = LIMITS.get(field, LARGEST)
    if isinstance(value, int) and value > largest:
        raise UserError(f"{name}: expected at most {largest}, got {value}")
    if math.isinf(value):
        raise UserError(f"{name}: expected a finite number, got {value}")
    # Written with `not`, so that NaN fails every comparison.
    if field in COUNTS and not value >= 1:
        raise UserError(f"{name}: expected at least 1, got {value}")
    if field in AMOUNTS and not value >= 0:
        raise UserError(f"{name}: expected at least 0, got {value}")
    if field in POSITIVE and not value > 0:
        raise UserError(f"{name}: expected more than 0, got {value}")
    if field in FRACTIONS and not 0 <= value < 1:
        raise UserError(f"{name}: expected 0 or more and less than 1, got {value}")
