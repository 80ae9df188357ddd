"""Plots: alignments, scores by length, curves, a machine's tape, sentence vectors,
handwriting.

Every function returns a matplotlib `Figure`, which a notebook displays, and saves it
to `path`, if given, as PNG or SVG by its suffix. The same data give the same bytes.
pyplot, the backend and the user's settings stay untouched. `import attnjax` does not
import this module; `experiments.cli.alignments` draws alignments in a terminal.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from attnjax import align
from attnjax.viz import _figures, _fonts
from attnjax.viz._curves import curve_plot as curve_plot
from attnjax.viz._figures import Figure
from attnjax.viz._pen import Writing as Writing
from attnjax.viz._pen import pen_plot as pen_plot
from attnjax.viz._pen import strokes_of as strokes_of
from attnjax.viz._pen_animation import pen_animation as pen_animation
from attnjax.viz._tape import scatter_plot as scatter_plot
from attnjax.viz._tape import tape_plot as tape_plot
from attnjax.viz._vectors import vector_plot as vector_plot

_MAX_CHARACTERS = 28  # longer words are truncated
_GOLD = "#e8590c"  # visible on black, white and grey


class Panel(NamedTuple):
    """One alignment of a grid, as the arguments of `alignment_plot`."""

    weights: Any  # [T, S]
    source_words: Sequence[str]
    target_words: Sequence[str]
    gold: align.Alignment | None = None


def alignment_plot(
    weights: Any,
    source_words: Sequence[str],
    target_words: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    gold: align.Alignment | None = None,
    title: str = "",
) -> Figure:
    """Plots the attention weights of each target word: black is 0, white is 1.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), figure 3.

    Args:
      weights: the alignment, shape [T, S], from 0 to 1.
      source_words: along the top, S of them.
      target_words: down the left side, T of them.
      path: file to save, with the suffix .png or .svg; None does not save.
      gold: links to mark with boxes: solid if sure, dashed if only possible.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if words or gold links do not match the weights, a weight is not in
        [0, 1], or the suffix is unknown.

    Example:
      >>> figure = alignment_plot([[0.9, 0.1]], ["a", "cat"], ["un"])
      >>> [word.get_text() for word in figure.axes[0].get_xticklabels()]
      ['a', 'cat']
    """
    panel = Panel(weights, source_words, target_words, gold)
    return alignment_grid({title: panel}, path)


def alignment_grid(
    panels: Mapping[str, Panel | tuple],
    path: str | os.PathLike[str] | None = None,
    *,
    columns: int = 3,
    title: str = "",
) -> Figure:
    """Plots several alignments side by side.

    Args:
      panels: title (such as the name of a model) -> alignment, row by row; a tuple
        holds the fields of `Panel`.
      path: file to save, with the suffix .png or .svg; None does not save.
      columns: number of panels in a row.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: as `alignment_plot`, with the title of the panel, or if there is no
        panel.
    """
    _figures.check_path(path)
    if not panels:
        raise ValueError("panels: expected at least one alignment, got none")
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    checked = {}
    for name, given in panels.items():
        panel = Panel(*given)
        try:
            checked[name] = panel._replace(weights=align.check_alignment(*panel))
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name else str(error)) from None
    texts = [title, *checked]
    for panel in checked.values():
        texts += [*panel.source_words, *panel.target_words]
    families, missing = _fonts.families_for(texts)
    longest_side = max(max(panel.weights.shape) for panel in checked.values())
    cell = min(0.27, max(0.13, 9.5 / longest_side))  # inches
    with _figures.settings(families):
        figure = Figure(dpi=150)
        rows: list[list[Axes]] = []
        for n, (name, panel) in enumerate(checked.items()):
            if n % columns == 0:
                rows.append([])
            axes = _draw_panel(figure, panel, cell, missing)
            axes.set_title(_fonts.printable(name, missing, 60), fontsize=10.5, pad=6)
            rows[-1].append(axes)
        return _figures.finish(
            figure, rows, path, _fonts.printable(title, missing, 120)
        )


def length_plot(
    series: Mapping[str, Sequence[float]],
    buckets: Sequence[tuple[int, int]],
    path: str | os.PathLike[str] | None = None,
    *,
    counts: Sequence[int] | None = None,
    score: str = "BLEU",
    x_label: str = "source length",
    title: str = "",
) -> Figure:
    """Plots a score by source length, one line for each model.

    Source: Bahdanau, Cho & Bengio 2015 (arXiv:1409.0473), figure 2.

    Args:
      series: model -> its score in every bucket; NaN leaves a gap.
      buckets: the shortest and longest source length of each bucket, in words or
        pieces, in order.
      path: file to save, with the suffix .png or .svg; None does not save.
      counts: number of sentences in each bucket, for the tick labels.
      score: name of the score, for the vertical axis.
      x_label: what the buckets count, for the horizontal axis.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if a series does not have one score per bucket, or the suffix is
        unknown.

    Example:
      >>> figure = length_plot({"RNNsearch": [27.1, 26.4]}, [(1, 10), (11, 20)])
      >>> [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
      ['1–10', '11–20']
    """
    _figures.check_path(path)
    _check_series(series, buckets, counts)
    families, missing = _fonts.families_for([*series, score, x_label, title])
    with _figures.settings(families):
        figure = Figure(dpi=150)
        axes = _figures.add_axes(figure, max(3.6, 0.85 * len(buckets)), 2.9)
        points = {name: (np.arange(len(y)), y) for name, y in series.items()}
        _figures.draw_lines(axes, points, missing, marked=True)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        _figures.add_legend(axes)
        names = [f"{low}–{high}" if low < high else f"{low}" for low, high in buckets]
        if counts is not None:
            names = [f"{name}\nn={n}" for name, n in zip(names, counts, strict=True)]
        axes.set_xticks(np.arange(len(buckets)), names, fontsize=9)
        axes.set_xlim(-0.35, len(buckets) - 0.65)
        axes.set_xlabel(_fonts.printable(x_label, missing, 40), fontsize=10)
        axes.set_ylabel(_fonts.printable(score, missing, 40), fontsize=10)
        return _figures.finish(
            figure, [[axes]], path, _fonts.printable(title, missing, 120)
        )


def _draw_panel(
    figure: Figure, panel: Panel, cell: float, missing: frozenset[str]
) -> Axes:
    T, S = panel.weights.shape
    axes = _figures.add_axes(figure, S * cell, T * cell)
    axes.pcolormesh(
        panel.weights, cmap="gray", vmin=0, vmax=1, edgecolors="0.25", linewidth=0.4
    )
    if not panel.weights.any():
        note = axes.text(S / 2, T / 2, "all 0", color="0.6", ha="center", va="center")
        note.set_bbox({"facecolor": "black", "edgecolor": "none", "pad": 2})
    sources, targets = (
        [_fonts.printable(word, missing, _MAX_CHARACTERS) for word in words]
        for words in (panel.source_words, panel.target_words)
    )
    size = min(10.0, 72 * cell * 0.62)  # points: 72 in an inch
    axes.set_xticks(np.arange(S) + 0.5, map(_upright, sources), fontsize=size)
    axes.set_yticks(np.arange(T) + 0.5, targets, fontsize=size)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():
        lines = label.get_text().split("\n")
        label.set(linespacing=1.0)
        if max(map(len, lines)) > 2:  # wider than its column
            label.set_rotation(90)
        elif len(lines) == 1:
            label.set_verticalalignment("baseline")  # a comma sits below an a
    axes.tick_params(length=0, pad=4)
    axes.set_ylim(T, 0)  # first target word at the top
    if panel.gold is not None:
        for i, j in sorted(panel.gold.possible | panel.gold.sure):
            sure = (i, j) in panel.gold.sure
            box = Rectangle((i + 0.1, j + 0.1), 0.8, 0.8, fill=False, zorder=3)
            box.set(edgecolor=_GOLD, linewidth=1.6 if sure else 1.2)
            box.set_linestyle("-" if sure else (0, (2, 1.2)))
            axes.add_patch(box)
    return axes


def _upright(word: str) -> str:
    """Returns an East Asian word for vertical writing: one character per line."""
    vertical = all("\u2e80" <= c <= "\uffef" and c not in "ー～〜（）" for c in word)
    return "\n".join(word) if vertical else word


def _check_series(
    series: Mapping[str, Sequence[float]],
    buckets: Sequence[tuple[int, int]],
    counts: Sequence[int] | None,
) -> None:
    if not series or not buckets:
        raise ValueError(
            "series: expected at least one model and one bucket, got "
            f"{len(series)} and {len(buckets)}"
        )
    named = {f"series[{name!r}]": values for name, values in series.items()}
    if counts is not None:
        named["counts"] = counts
    for name, values in named.items():
        if len(values) != len(buckets):
            raise ValueError(
                f"{name}: expected {len(buckets)} values, got {len(values)} "
                "(one per bucket, NaN where it has no sentence)"
            )
