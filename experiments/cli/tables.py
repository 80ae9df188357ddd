"""Tables of results: drawn on a terminal, aligned columns in a file or a pipe."""

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.cli.terminal import clean


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    file: TextIO | None = None,
) -> None:
    """Prints a table; the first column is left-aligned, the others right-aligned.

    Args:
      header: names of the columns.
      rows: the cells of each row, one per column.
      title: a line above the table.
      file: where to print; stdout by default.
    """
    console = Console(file=file or sys.stdout)
    if not console.is_terminal:
        print(plain_table(header, rows, title=title), file=file or sys.stdout)
        return
    table = Table(
        title=Text(clean(title)) if title else None,
        title_justify="left",
        title_style="bold",
    )
    for n, name in enumerate(header):
        table.add_column(name, justify="right" if n else "left")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    console.print(table)


def plain_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = ""
) -> str:
    """Formats a table as lines of text.

    Example:
      >>> print(plain_table(["split", "BLEU"], [["test", "36.0"]], title="scores"))
      scores
      split  BLEU
      test   36.0
    """
    lines = [header, *rows]
    widths = [max(cell_len(line[n]) for line in lines) for n in range(len(header))]
    text = [title] if title else []
    for line in lines:
        gaps = [" " * (w - cell_len(x)) for x, w in zip(line, widths, strict=True)]
        cells = [
            gap + x if n else x + gap
            for n, (x, gap) in enumerate(zip(line, gaps, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
