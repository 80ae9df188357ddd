"""Alignments drawn with characters, for a terminal, a pipe or a log file.

Rows are target words and columns are source words, written vertically. A darker block
is a larger weight. Words may have any width (a Japanese character takes two cells), and
a picture too wide for the terminal is folded into several. The output is plain text
without colours or cursor movement; `attnjax.viz` draws pictures for papers.
"""

import shutil
import sys
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from rich.cells import cell_len

from attnjax import align

SHADES = " ░▒▓█"
ASCII_SHADES = " .:o#"
_EDGES = (0.05, 0.25, 0.5, 0.75)  # smallest weight of each shade but the first
_TALLEST = 14  # longer source words are cut to this many characters
_NARROWEST = 12  # smallest width of a picture in cells


def draw_alignment(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    *,
    gold: align.Alignment | None = None,
    width: int = 100,
    shades: str = SHADES,
) -> str:
    """Draws the attention weights of each target word as lines of text.

    Args:
      weights: the alignment, shape [T, S], values from 0 to 1.
      source_words: labels of the S columns.
      target_words: labels of the T rows.
      gold: links to mark after their cells, * if sure and + if only possible.
      width: largest width of a line in cells; columns that do not fit are drawn below.
      shades: five characters, from weight 0 to weight 1.

    Returns:
      Lines of at most `width` cells, joined by newlines, without one at the end.

    Raises:
      ValueError: if words, gold or weights do not fit each other, or width is too
        small.

    Example:
      >>> print(draw_alignment([[0.9, 0.1], [0.0, 1.0]], ["a", "b"], ["x", "y"]))
        a b
      x ██░░
      y   ██
    """
    matrix = align.check_alignment(weights, source_words, target_words, gold)
    if width < _NARROWEST:
        raise ValueError(f"width: expected at least {_NARROWEST} cells, got {width}")
    if len(shades) != len(_EDGES) + 1:
        raise ValueError(
            f"shades: expected {len(_EDGES) + 1} characters, got {len(shades)}"
        )
    labels = [_cut(_clean(word), max(5, width // 3)) for word in target_words]
    margin = max(map(cell_len, labels))
    labels = [label + " " * (margin - cell_len(label)) for label in labels]
    cells = _cells(matrix, gold, shades)
    fit = max(1, (width - margin - 1) // cell_len(cells[0][0]))
    blocks = []
    for start in range(0, len(source_words), fit):
        part = slice(start, start + fit)
        head = _header([_clean(word) for word in source_words[part]], cells[0][0])
        lines = [" " * margin + " " + line for line in head]
        rows = zip(labels, cells, strict=True)
        lines += [f"{label} {''.join(row[part])}" for label, row in rows]
        blocks.append("\n".join(line.rstrip() for line in lines))
    if gold is not None:
        blocks[-1] += "\n" + _cut("* gold, + possible", width)
    return "\n\n".join(blocks)


def print_alignment(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    *,
    gold: align.Alignment | None = None,
    file: IO[str] | None = None,
) -> None:
    """Prints an alignment in the width of the terminal and in its encoding.

    The width is the environment's COLUMNS, or the width of the terminal, or 100. If the
    encoding lacks block characters, ASCII characters replace them, and `?` replaces
    any other character that it lacks.
    """
    file = sys.stdout if file is None else file
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        SHADES.encode(encoding)
        shades = SHADES
    except UnicodeEncodeError:
        shades = ASCII_SHADES
    width = max(_NARROWEST, shutil.get_terminal_size((100, 24)).columns)
    text = draw_alignment(
        weights, source_words, target_words, gold=gold, width=width, shades=shades
    )
    print(text.encode(encoding, "replace").decode(encoding), file=file)


def _cells(
    matrix: np.ndarray, gold: align.Alignment | None, shades: str
) -> list[list[str]]:
    """Draws each cell as two characters, or as three if gold links are marked."""
    levels = np.searchsorted(_EDGES, matrix, side="right")
    cells = [[shades[level] * 2 for level in row] for row in levels]
    if gold is not None:
        cells = [[cell + " " for cell in row] for row in cells]
        for i, j in gold.possible | gold.sure:
            mark = "*" if (i, j) in gold.sure else "+"
            cells[j][i] = cells[j][i][:-1] + mark
    return cells


def _header(words: Sequence[str], cell: str) -> list[str]:
    """Writes words vertically, with their last characters on the same line."""
    columns = [_characters(word) for word in words]
    columns = [c if len(c) <= _TALLEST else [*c[: _TALLEST - 1], "…"] for c in columns]
    tallest = max(map(len, columns))
    size = cell_len(cell)
    lines = []
    for n in range(tallest):
        line = ""
        for column in columns:
            skipped = tallest - len(column)
            character = column[n - skipped] if n >= skipped else ""
            line += character + " " * (size - cell_len(character))
        lines.append(line)
    return lines


def _characters(word: str) -> list[str]:
    """Splits a word into characters, each with its combining marks."""
    found: list[str] = []
    for character in word:
        if found and cell_len(character) == 0:
            found[-1] += character
        else:
            found.append(character)
    return found


def _clean(word: str) -> str:
    """Replaces characters that would move the cursor."""
    return "".join(c if c.isprintable() else "�" for c in word)


def _cut(word: str, longest: int) -> str:
    if cell_len(word) <= longest:
        return word
    kept = ""
    for character in _characters(word):
        if cell_len(kept + character) > longest - 1:
            break
        kept += character
    return kept + "…"
