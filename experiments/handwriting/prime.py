"""Written lines as files, which prime others: JSON of `write`, or XML of IAM-OnDB.

    {"text": "a few words", "strokes": [[[0.0, 0.0], [1.5, 2.0]], ...]}

with places [x, y] of the pen in the units of the training data, y downwards.
"""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from experiments.datasets import text_files
from experiments.datasets.iam_ondb.format import read_strokes
from experiments.datasets.strokes.lines import Line, check_line, to_offsets, to_places
from experiments.errors import UserError
from experiments.runs.json_file import check_kind, parse_json


class _SavedLine(TypedDict):
    """What the file of a line holds."""

    strokes: list[list[tuple[float, float]]]
    text: NotRequired[str]


def line_to_json(line: Line) -> dict[str, Any]:
    """What the file of a line holds."""
    places = to_places(line.points).round(4)
    cuts = np.flatnonzero(line.points[:-1, 2]) + 1
    strokes = [stroke.tolist() for stroke in np.split(places, cuts) if len(stroke)]
    return {"text": line.text, "strokes": strokes}


def read_prime(path: Path, text: str | None, *, with_text: bool = True) -> Line:
    """Reads a line that was written before, with its text.

    Args:
      path: a JSON file of `write`, or an XML file of IAM-OnDB.
      text: what it says; None takes the text of a JSON file.
      with_text: whether a text must be known, as for a network that reads one.

    Raises:
      UserError: if the file cannot be read, its strokes are invalid, or no text is
        known where one must be.
    """
    path = text_files.require_file(text_files.absolute(path))
    if path.suffix.lower() == ".xml":
        points, known = read_strokes(path), ""
    else:
        points, known = _read_json(path)
    line = Line(known if text is None else text, points, np.zeros(0, np.int32))
    if with_text and not line.text.strip():
        raise UserError(
            f"prime: expected strokes with their text, got no text for {path} (say "
            "with --prime-text what is written there)"
        )
    return check_line(line, str(path))


def _read_json(path: Path) -> tuple[np.ndarray, str]:
    try:
        content = parse_json(path.read_bytes(), Any)
        if isinstance(content, list):
            if len(content) != 1:
                raise ValueError(f"{len(content)} lines, where one is wanted")
            (content,) = content
        check_kind(content, _SavedLine)
        strokes = [np.array(stroke, np.float64) for stroke in content["strokes"]]
        if not strokes or not all(map(len, strokes)):
            raise ValueError("a stroke without a place")
    except (ValueError, OSError) as error:
        raise UserError(
            f'{path}: expected JSON such as {{"text": "a", "strokes": [[[0, 0], [1, '
            f"2]]]}}, got: {error}"
        ) from error
    ends = np.concatenate([np.arange(len(s)) == len(s) - 1 for s in strokes])
    with np.errstate(over="ignore", invalid="ignore"):  # `check_line` says it better
        points = to_offsets(np.concatenate(strokes), ends)
    return points, content.get("text", "")
