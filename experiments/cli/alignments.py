"""Alignments drawn with characters, for a terminal, a pipe or a log file.

Rows are target words, columns source words written downwards; the darker a cell's
block, the larger the weight. Words may be of any width (Japanese ones take two
cells a character), and a picture too wide for the terminal is folded. Text only:
no colours, no cursor movement. Pictures for paper are `attnjax.viz`'s.
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
_EDGES = (0.05, 0.25, 0.5, 0.75)  # the least weight of each shade after the first
_TALLEST = 14  # characters of a source word that are shown
_NARROWEST = 12  # cells that any picture takes


def draw_alignment(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    *,
    gold: align.Alignment | None = None,
    width: int = 100,
    shades: str = SHADES,
) -> str:
    """Draws what each target word reads, as lines of text.

    Args:
      weights: the alignment, shape [T, S], from 0 to 1.
      source_words: above their columns, S of them.
      target_words: before their rows, T of them.
      gold: links to mark after their cells: * for sure, + for only possible.
      width: cells that a line may take; columns that do not fit follow below.
      shades: five characters, from weight 0 to weight 1.

    Returns:
      Lines of at most `width` cells, joined by newlines, no newline at the end.

    Raises:
      ValueError: if words, gold, weights or width do not fit.

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
    """Prints `draw_alignment`, as wide as the terminal and as its encoding allows.

    The width is that of the terminal, or of the environment's COLUMNS, or 100;
    where the encoding has no block characters, ASCII ones stand for them and `?`
    for what else it lacks.
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
    """Each cell as two characters, three with its gold mark."""
    levels = np.searchsorted(_EDGES, matrix, side="right")
    cells = [[shades[level] * 2 for level in row] for row in levels]
    if gold is not None:
        cells = [[cell + " " for cell in row] for row in cells]
        for i, j in gold.possible | gold.sure:
            mark = "*" if (i, j) in gold.sure else "+"
            cells[j][i] = cells[j][i][:-1] + mark
    return cells


def _header(words: Sequence[str], cell: str) -> list[str]:
    """Words written downwards, their last characters on one line."""
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
    """The characters of a word; those without a width stay with the one before."""
    found: list[str] = []
    for character in word:
        if found and cell_len(character) == 0:
            found[-1] += character
        else:
            found.append(character)
    return found


def _clean(word: str) -> str:
    """A word without what would move the cursor."""
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
