"""The files of IAM-OnDB.

    lineStrokes/a01/a01-000/a01-000u-01.xml    the strokes of a line
    ascii/a01/a01-000/a01-000u.txt             the text of a form, line by line
    trainset.txt, testset_v.txt, testset_t.txt, testset_f.txt     forms of the splits

A form of the split lists is a01-000u or a01-000; its text follows the line "CSR:" (as
corrected), after one that is empty.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from experiments.datasets import text_files
from experiments.datasets.strokes.lines import to_offsets
from experiments.errors import UserError

_FORM = re.compile(r"([a-z]\d+)-(\d+)[a-z]?")


def read_forms(path: Path) -> list[str]:
    """Reads the names of the forms of a split.

    Raises:
      UserError: naming a line that is none.
    """
    forms = []
    for number, line in enumerate(text_files.read_lines(path), start=1):
        name = line.strip()
        if not name:
            continue
        if not _FORM.fullmatch(name):
            raise UserError(
                f"{path}:{number}: expected the name of a form, such as a01-000u, got "
                f"{name!r}"
            )
        forms.append(name)
    return forms


def form_folder(form: str) -> Path:
    """The folder of a form, such as a01/a01-000."""
    found = _FORM.fullmatch(form)
    assert found is not None
    return Path(found[1]) / f"{found[1]}-{found[2]}"


def line_files(folder: Path, form: str) -> dict[int, Path]:
    """The files of a form's lines by their number, from 1."""
    pattern = re.compile(re.escape(form) + r"-(\d+)\.xml")
    found = {}
    for path in sorted((folder / form_folder(form)).glob(f"{form}-*.xml")):
        if matched := pattern.fullmatch(path.name):
            found[int(matched[1])] = path
    return found


def read_text(path: Path) -> list[str]:
    """Reads the lines of a form's text.

    Raises:
      UserError: if the file is missing, or has no line "CSR:" with text behind it.
    """
    lines = list(text_files.read_lines(text_files.require_file(path)))
    starts = [n for n, line in enumerate(lines) if line.strip() == "CSR:"]
    text = [line.strip() for line in lines[starts[0] + 1 :]] if starts else []
    text = [line for line in text if line]
    if not text:
        raise UserError(f'{path}: expected a line "CSR:" and text behind it, got none')
    return text


def read_strokes(path: Path) -> np.ndarray:
    """Reads the pen points of a line: [N, 3], with y as the file has it, downwards.

    Raises:
      UserError: if the file is no XML, or has no strokes, or a coordinate is no finite
        number.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise UserError(f"{path}: expected XML of strokes, got: {error}") from error
    places: list[tuple[float, float]] = []
    ends: list[bool] = []
    for number, stroke in enumerate(root.iterfind("./StrokeSet/Stroke"), start=1):
        points = stroke.findall("Point")
        for point in points:
            try:
                place = float(point.attrib["x"]), float(point.attrib["y"])
            except (KeyError, ValueError) as error:
                raise UserError(
                    f"{path}: expected numbers x and y in stroke {number}, got "
                    f"{point.attrib}"
                ) from error
            if not np.isfinite(place).all():
                raise UserError(
                    f"{path}: expected finite coordinates in stroke {number}, got "
                    f"{point.attrib}"
                )
            places.append(place)
        ends += [False] * (len(points) - 1) + [True] * bool(points)
    if len(places) < 2:
        raise UserError(
            f"{path}: expected two points or more in StrokeSet/Stroke/Point, got "
            f"{len(places)}"
        )
    return to_offsets(np.array(places), np.array(ends))
