"""The settings of RoPE in a config.json, as fields of `BlockConfig`.

transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 both within
`rope_parameters`; either is read.
"""

from typing import Any

from attnjax.core.frequencies import yarn_attention_factor
from attnjax.pretrained._settings import Settings, positive_number

Fields = dict[str, Any]

KINDS = ("default", "linear", "llama3", "yarn")


def rope_fields(settings: Settings, max_length: int) -> Fields:
    """Converts the settings of RoPE.

    Args:
      settings: of a model of the Llama family.
      max_length: its context length, which is the original one where none is given.

    Returns:
      Fields of `BlockConfig`.

    Raises:
      ValueError: if the kind of scaling is not supported, or a setting is missing or
        invalid.
    """
    name, rope = _given(settings)
    theta = rope.get("rope_theta", settings.get("rope_theta", 10_000.0))
    fields = {"rope_theta": positive_number("rope_theta", theta)}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in KINDS:
        raise ValueError(
            f"{name}.rope_type: expected one of {', '.join(KINDS)}, got {kind!r}"
            + (f" ({_DYNAMIC})" if kind == "dynamic" else " (no other is supported)")
        )
    if kind == "default":
        return fields
    read = _Reader(name, rope)
    fields |= {"rope_scaling": kind}
    if kind == "linear":
        return fields | {"rope_scaling_factor": read("factor")}
    key = "original_max_position_embeddings"
    length = settings.get(key, None)
    length = read.positive(key, rope.get(key, max_length) if length is None else length)
    fields |= {"rope_original_max_length": int(length)}
    if kind == "yarn":
        return fields | _yarn(read, max_length / length)
    return fields | {
        "rope_scaling_factor": read("factor"),
        "rope_low_freq_factor": read("low_freq_factor"),
        "rope_high_freq_factor": read("high_freq_factor"),
    }


def _given(settings: Settings) -> tuple[str, Fields]:
    """Finds the object with the settings, and its name; empty if there is none."""
    name = "rope_scaling" if settings.get("rope_scaling", None) else "rope_parameters"
    rope = settings.get(name, None) or {}
    if not isinstance(rope, dict) or any(isinstance(x, dict) for x in rope.values()):
        raise ValueError(
            f"{name}: expected one object for all layers, got {rope!r} (layers that "
            "differ are not supported)"
        )
    for where, given in ((name, rope), ("config.json", settings)):
        share = given.get("partial_rotary_factor", None)
        if share not in (None, 1, 1.0):
            raise ValueError(
                f"partial_rotary_factor: expected 1, got {share!r} in {where} (heads "
                "are rotated whole)"
            )
    return name, rope


_DYNAMIC = (
    "its frequencies change with the length of a text, so cached keys would not fit; "
    "up to max_position_embeddings tokens it changes nothing: set it to null for these"
)


class _Reader:
    """Looks up numbers of `rope_scaling`, by their full names in errors."""

    def __init__(self, name: str, values: Fields) -> None:
        self._name, self.values = name, values

    def __call__(self, key: str) -> float:
        return self.positive(key, self.values.get(key))

    def positive(self, key: str, value: Any) -> float:
        return positive_number(f"{self._name}.{key}", value)

    def or_default(self, key: str, default: float) -> float:
        """As transformers, which takes null and 0 for the default."""
        return self.positive(key, self.values.get(key) or default)


def _yarn(read: _Reader, ratio: float) -> Fields:
    """Converts the settings of YaRN; null for the factor is the ratio of contexts."""
    values = read.values
    factor = ratio if values.get("factor", 0) is None else read("factor")
    attention_factor = values.get("attention_factor")
    mscale, all_dim = values.get("mscale"), values.get("mscale_all_dim")
    if attention_factor is None and mscale and all_dim:
        attention_factor = yarn_attention_factor(
            factor, mscale=mscale
        ) / yarn_attention_factor(factor, mscale=all_dim)
    return {
        "rope_scaling_factor": factor,
        "rope_beta_fast": read.or_default("beta_fast", 32.0),
        "rope_beta_slow": read.or_default("beta_slow", 1.0),
        "rope_truncate": bool(values.get("truncate", True)),
        "rope_attention_factor": attention_factor,
    }
