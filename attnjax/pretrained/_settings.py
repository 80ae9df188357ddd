"""The settings of a config.json, looked up by name and checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Names of transformers' activations that are one of `BlockConfig.activation`. Three
# ways to write the tanh approximation of GELU differ by roundings only.
ACTIVATIONS = {
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_python_tanh": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_accurate": "gelu-tanh",
}


class Settings:
    """The settings of a model, as config.json has them.

    A key that is absent takes the default that transformers publishes; null is a value.
    """

    def __init__(
        self, values: Mapping[str, Any], aliases: Mapping[str, str] | None = None
    ) -> None:
        """Takes the settings, and other names that transformers accepts for some."""
        self._values = dict(values)
        for name, other in (aliases or {}).items():
            if name not in values and other in values:
                self._values[name] = values[other]

    def get(self, name: str, default: Any) -> Any:
        """Returns a setting of any type."""
        return self._values.get(name, default)

    def integer(self, name: str, default: int, least: int = 1) -> int:
        """Returns a whole number.

        Raises:
          ValueError: if it is none, or too small.
        """
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise _refused(name, f"a whole number >= {least}", value, "in config.json")
        return value

    def number(self, name: str, default: float) -> float:
        """Returns a number above 0.

        Raises:
          ValueError: if it is none.
        """
        return positive_number(name, self.get(name, default))

    def flag(self, name: str, default: bool) -> bool:
        """Returns true or false.

        Raises:
          ValueError: if it is neither.
        """
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise _refused(name, "true or false", value, "in config.json")
        return value

    def expect(
        self, name: str, wanted: Any, hint: str = "no other is supported"
    ) -> Any:
        """Checks a setting that decides the numbers and has one supported value.

        Null stands for false.

        Raises:
          ValueError: naming it, if it has another.
        """
        value = self.get(name, wanted)
        if value != wanted and (value is not None or wanted):
            raise _refused(name, repr(wanted), value, hint)
        return value

    def refuse(self, name: str, hint: str) -> None:
        """Checks that a setting is absent, null, false or empty.

        Raises:
          ValueError: naming it, if it is not.
        """
        value = self.get(name, None)
        if value:
            raise _refused(name, "none", value, hint)

    def activation(self, name: str, default: str) -> Any:
        """Returns an activation by the name that `BlockConfig` has for it.

        Raises:
          ValueError: if there is none.
        """
        value = self.get(name, default)
        if value not in ACTIVATIONS:
            wanted = f"one of {', '.join(ACTIVATIONS)}"
            raise _refused(name, wanted, value, "no other is supported")
        return ACTIVATIONS[value]


def positive_number(name: str, value: Any) -> float:
    """Checks a number above 0.

    Raises:
      ValueError: naming it, if it is none.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not value > 0:
        raise _refused(name, "a number > 0", value, "in config.json")
    return float(value)


def read_settings(folder: Path) -> dict[str, Any]:
    """Reads the config.json of a folder.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it holds no settings, or those of a quantised model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file (expected a folder that save_pretrained wrote)"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _refused(str(path), "JSON", str(error), "write it again") from error
    if not isinstance(values, dict):
        raise _refused(str(path), "an object", values, "the settings of a model")
    settings = Settings(values)
    settings.refuse("quantization_config", "save the model without quantisation")
    settings.refuse("pruned_heads", "a model without some of its heads")
    return values


def _refused(name: str, wanted: str, got: Any, hint: str) -> ValueError:
    return ValueError(f"{name}: expected {wanted}, got {got!r} ({hint})")
