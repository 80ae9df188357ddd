"""The tensors of a folder in safetensors' format, each read once and accounted for."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Tree = Any

INDEX = "model.safetensors.index.json"
FILE = "model.safetensors"
FLOATS = ("F64", "F32", "F16", "BF16")


class Tensors:
    """Looks tensors up by name, checks their shapes, and knows which were read.

    Every tensor becomes float32: models keep their parameters in it, whatever the dtype
    of the file.
    """

    def __init__(self, folder: Path, *, prefix: str, buffers: str) -> None:
        """Opens the files of a folder; tensors are loaded when they are read.

        Args:
          folder: holds model.safetensors, or an index and the files that it names.
          prefix: left out of names; files of a base model are without it.
          buffers: a regular expression for the ends of names of tensors that are no
            parameters, and need not be read.

        Raises:
          FileNotFoundError: if a file is missing.
          ValueError: if a file is damaged, or lacks what the index names.
          ImportError: if the package safetensors is not installed.
        """
        self._files = _open(folder)
        names = {name.removeprefix(prefix): name for name in self._files}
        if len(names) < len(self._files):
            raise ValueError(
                f"{folder}: expected tensors with the prefix {prefix!r} or without, "
                "got some names both ways (the files of two models?)"
            )
        self._names = names
        self._unread = {n for n in names if not re.search(f"(^|[.])({buffers})$", n)}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        """Reads a tensor as float32.

        Raises:
          ValueError: if there is none, or it has another shape or no floating-point
            dtype.
        """
        if name not in self._names:
            raise ValueError(
                f"{name}: expected a tensor of shape {list(shape)}, found none (is "
                "the file of another model than config.json?)"
            )
        file, full_name = self._files[self._names[name]], self._names[name]
        view = file.get_slice(full_name)
        if tuple(view.get_shape()) != shape:
            raise ValueError(
                f"{name}: expected shape {list(shape)}, got {view.get_shape()} (the "
                "file does not fit its config.json)"
            )
        if view.get_dtype() not in FLOATS:
            raise ValueError(
                f"{name}: expected one of the dtypes {', '.join(FLOATS)}, got "
                f"{view.get_dtype()} (save the model without quantisation)"
            )
        self._unread.discard(name)
        return file.get_tensor(full_name).astype(np.float32)

    def tied(self, names: Sequence[str], *shape: int) -> np.ndarray:
        """Reads one tensor that the file holds under one or more of several names.

        Raises:
          ValueError: if it is there under none, or differs between two.
        """
        first, *others = [name for name in names if name in self] or names[:1]
        tensor = self(first, *shape)
        for other in others:
            if not np.array_equal(self(other, *shape), tensor):
                raise ValueError(
                    f"tie_word_embeddings: expected {other} to equal {first}, got two "
                    "different tensors (set it to false in config.json to use both)"
                )
        return tensor

    def first(self, names: Sequence[str], *shape: int) -> np.ndarray:
        """Reads the tensor of the first name that the file has; it hides the others.

        Raises:
          ValueError: if the file has none of them.
        """
        self._unread -= set(names)
        return self(next((name for name in names if name in self), names[0]), *shape)

    def check_all_read(self) -> None:
        """Checks that no tensor is left.

        Raises:
          ValueError: naming those that no part of the model has read.
        """
        if self._unread:
            named = ", ".join(sorted(self._unread)[:4])
            raise ValueError(
                f"{named}: expected no tensors beside those of config.json, got "
                f"{len(self._unread)} (they would change the numbers or be lost: load "
                "a model without them)"
            )


def stack_layers(layer: Callable[[int], Tree], layers: int) -> Tree:
    """Stacks the trees of single layers to one with leaves [L, ...]."""

    def stack(trees: list[Tree]) -> Tree:
        if isinstance(trees[0], dict):
            return {name: stack([tree[name] for tree in trees]) for name in trees[0]}
        return np.stack(trees)

    return stack([layer(i) for i in range(layers)])


def _open(folder: Path) -> dict[str, Any]:
    """Opens the files of a folder: each tensor's name, and the file that holds it."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(
            "safetensors: expected the package, which is not installed (run pip "
            'install "attnjax[pretrained]")'
        ) from error
    found: dict[str, Any] = {}
    weight_map = _weight_map(folder)
    for path in _paths(folder, weight_map):
        try:
            file = safe_open(str(path), framework="numpy")
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path}: expected a file in safetensors' format, got {error} (copy or "
                "download it again)"
            ) from error
        # The index decides where a tensor is, if two files have one of its name.
        found |= {
            name: file
            for name in file.keys()  # noqa: SIM118  not a dict
            if weight_map.get(name, path.name) == path.name
        }
    missing = sorted(weight_map.keys() - found.keys())
    if missing:
        raise ValueError(
            f"{missing[0]}: expected it in {weight_map[missing[0]]}, as {INDEX} says, "
            "found none (copy or download the file again)"
        )
    return found


def _weight_map(folder: Path) -> dict[str, str]:
    """Reads which file holds each tensor; empty without an index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if not (weight_map and all(Path(x).name == x for x in weight_map.values())):
            raise ValueError("file names were expected")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected weight_map, from names of tensors to files of this "
            f"folder, got {error!r} (copy or download it again)"
        ) from error
    return weight_map


def _paths(folder: Path, weight_map: dict[str, str]) -> list[Path]:
    """Lists the files of the model: those of the index and no others, or the one."""
    if not weight_map:
        if not (folder / FILE).is_file():
            raise FileNotFoundError(
                f"{folder}: no {FILE} in it, nor {INDEX} (save the model with "
                "safe_serialization=True)"
            )
        return [folder / FILE]
    paths = [folder / name for name in sorted(set(weight_map.values()))]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file, though {INDEX} names it (copy or download it; "
                f"if {FILE} is the whole model, delete the index)"
            )
    return paths
