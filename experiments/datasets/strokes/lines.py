"""A line of writing as pen points, and the normalisation of its offsets.

A point is (dx, dy, end): the offset from the last point, y downwards, and 1 at the
last point of a stroke, else 0. A line begins where the pen first touches the paper:
its first offset is 0, and nothing predicts it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np

from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.json_file import read_saved

STATISTICS = "offsets.json"


class Line(NamedTuple):
    """One line of writing."""

    text: str  # "" where none is known
    points: np.ndarray  # float32 [N, 3]: dx, dy, end
    characters: np.ndarray  # int32 [N], whose point it is; [0] where it is not known


def to_offsets(places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Makes pen points of places [N, 2], and of which of them end a stroke [N].

    The pen does not jump to the first place, and the last point ends a stroke.
    """
    offsets = np.diff(places, axis=0, prepend=places[:1])
    ends = np.asarray(ends, np.float32).copy()
    ends[-1] = 1
    with np.errstate(over="ignore"):  # `check_line` names what becomes infinite
        # [N, 2], [N] -> [N, 3]
        return np.column_stack([offsets, ends]).astype(np.float32)


def to_places(points: np.ndarray) -> np.ndarray:
    """The places of pen points, from (0, 0): [N, 3] -> [N, 2]."""
    return np.cumsum(np.asarray(points, np.float64)[:, :2], axis=0)


def check_line(line: Line, name: str) -> Line:
    """Checks a line, and returns it.

    Raises:
      UserError: if it has fewer than two points, or one that is not finite, or an end
        of stroke other than 0 or 1.
    """
    points = line.points
    if points.ndim != 2 or points.shape[1:] != (3,) or len(points) < 2:
        raise UserError(
            f"{name}: expected two points or more of three numbers (dx, dy, end of "
            f"stroke), got {list(points.shape)}"
        )
    wrong = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if wrong.size:
        raise UserError(
            f"{name}: expected finite numbers, got {points[wrong[0]].tolist()} at "
            f"point {wrong[0] + 1}"
        )
    wrong = np.flatnonzero(~np.isin(points[:, 2], (0, 1)))
    if wrong.size:
        raise UserError(
            f"{name}: expected an end of stroke of 0 or 1, got "
            f"{points[wrong[0], 2]} at point {wrong[0] + 1}"
        )
    return line


class _Saved(TypedDict):
    """What the file of `Statistics` holds."""

    mean: tuple[float, float]
    std: tuple[float, float]


class Statistics(NamedTuple):
    """The mean and the standard deviation of the offsets, along x and y."""

    mean: np.ndarray  # [2]
    std: np.ndarray  # [2]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Statistics":
        """Measures the offsets of lines, the first of each left out: it is no jump.

        Raises:
          UserError: if the pen never moves along an axis.
        """
        offsets = [line.points[1:, :2].astype(np.float64) for line in lines]
        every = np.concatenate(offsets)
        mean, std = every.mean(axis=0), every.std(axis=0)
        if not (std > 0).all():
            raise UserError("strokes: expected a pen that moves both ways, got none")
        return cls(mean, std)

    def normalise(self, points: np.ndarray) -> np.ndarray:
        """Gives offsets a mean of 0 and a deviation of 1; the first remains 0."""
        points = np.array(points, np.float32)
        points[1:, :2] = (points[1:, :2] - self.mean) / self.std
        return points

    def restore(self, points: np.ndarray) -> np.ndarray:
        """Undoes `normalise`."""
        points = np.array(points, np.float32)
        points[1:, :2] = points[1:, :2] * self.std + self.mean
        return points

    @property
    def nats_per_point(self) -> float:
        """What a point costs more in the units of the data than normalised, in nats."""
        return float(np.log(self.std).sum())

    def save(self, folder: Path) -> None:
        """Writes the numbers into the folder of a run."""
        content = {"mean": self.mean.tolist(), "std": self.std.tolist()}
        write_atomic(folder / STATISTICS, json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Statistics":
        """Reads what `save` wrote.

        Raises:
          UserError: if the file is missing or damaged.
        """
        return read_saved(folder / STATISTICS, _Saved, cls._of_saved)

    @classmethod
    def _of_saved(cls, saved: _Saved) -> "Statistics":
        mean, std = np.array(saved["mean"]), np.array(saved["std"])
        if not (np.isfinite([mean, std]).all() and (std > 0).all()):
            raise ValueError(f"expected finite numbers, std above 0, got {saved}")
        return cls(mean, std)
