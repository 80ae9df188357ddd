"""Pictures of handwriting: strokes of a pen, and the window over their text."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from attnjax.viz import _figures, _fonts
from attnjax.viz._figures import Figure

_WIDTH = 9.0  # inches, of the widest line
_TALLEST = 1.6  # inches, of a short line
_CELL = 0.12  # inches, of a character beneath
_INK, _PRIME_INK = "#12254d", "#8a8f98"


class Writing(NamedTuple):
    """A line of writing."""

    points: Any  # [N, 3]: dx, dy (downwards), 1 at the end of a stroke
    text: str = ""
    weights: Any = (
        None  # [N, S] of the window, S at most len(text) + 1; None: no window
    )
    prime: int = 0  # number of points at the beginning that were given


def strokes_of(points: Any) -> list[np.ndarray]:
    """Cuts pen points [N, 3] into strokes of places [n, 2].

    Returns:
      The strokes; a last one that does not end is a stroke too.

    Raises:
      ValueError: if the points have another shape, or are not finite.

    Example:
      >>> strokes = strokes_of([[0, 0, 0], [1, 2, 1], [3, 0, 0]])
      >>> [stroke.tolist() for stroke in strokes]
      [[[0.0, 0.0], [1.0, 2.0]], [[4.0, 2.0]]]
    """
    given = np.asarray(points, np.float64)
    if given.ndim != 2 or given.shape[1] != 3 or not len(given):
        raise ValueError(
            f"points: expected shape [N, 3] with N of at least 1, got "
            f"{list(given.shape)} (dx, dy, end of stroke)"
        )
    if not np.isfinite(given).all():
        raise ValueError("points: expected finite numbers, got one that is not")
    places = np.cumsum(given[:, :2], axis=0)
    cuts = np.flatnonzero(given[:-1, 2] > 0.5) + 1
    return np.split(places, cuts)


def pen_plot(
    lines: Sequence[Writing | tuple],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Plots lines of writing, and beneath each the window that it was written under.

    Beneath, time runs to the right and the text downwards: black is the largest weight.
    A priming line is grey.

    Source: Graves 2013 (arXiv:1308.0850), figures 10 to 17.

    Args:
      lines: one or more; a tuple holds the fields of `Writing`.
      path: file to save, with the suffix .png or .svg; None does not save.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no line, points or weights have a wrong shape, or the
        suffix is unknown.

    Example:
      >>> points = [[0, 0, 0], [5, 1, 1]]
      >>> figure = pen_plot([(points, "a", [[0.9, 0.1], [0.2, 0.8]])])
      >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
      ['a']
    """
    _figures.check_path(path)
    if not lines:
        raise ValueError("lines: expected at least one, got none")
    checked = [_check(Writing(*line)) for line in lines]
    families, missing = _fonts.families_for([title, *(w.text for w in checked)])
    drawn = [strokes_of(writing.points) for writing in checked]
    sizes = [np.ptp(np.concatenate(strokes), axis=0) for strokes in drawn]
    # All lines of a figure have one scale.
    scale = min(
        _WIDTH / max(1e-6, *(float(size[0]) for size in sizes)),
        _TALLEST / max(1e-6, *(float(size[1]) for size in sizes)),
    )
    with _figures.settings(families):
        figure = Figure(dpi=150)
        rows: list[list[Axes]] = []
        for writing, strokes in zip(checked, drawn, strict=True):
            rows.append([_draw_strokes(figure, strokes, writing.prime, scale)])
            if writing.weights is not None and writing.weights.size:
                width = rows[-1][0].get_window_extent().width / figure.dpi
                rows.append([_draw_window(figure, writing, missing, width)])
        name = _fonts.printable(title, missing, 120)
        return _figures.finish(figure, rows, path, name)


def _check(writing: Writing) -> Writing:
    if writing.weights is None:
        return writing
    weights = np.asarray(writing.weights, np.float64)
    N = len(writing.points)
    if weights.ndim != 2 or len(weights) != N:
        raise ValueError(
            f"weights: expected shape [{N}, S], got {list(weights.shape)} (a row for "
            "each point)"
        )
    return writing._replace(weights=weights[:, : len(writing.text) + 1])


def _draw_strokes(
    figure: Figure, strokes: list[np.ndarray], prime: int, scale: float
) -> Axes:
    every = np.concatenate(strokes)
    low, size = every.min(axis=0), np.ptp(every, axis=0)
    width, height = (max(0.4, float(side) * scale) for side in size)
    axes = _figures.add_axes(figure, width, height)
    seen = 0
    for stroke in strokes:
        colour = _PRIME_INK if seen < prime else _INK
        seen += len(stroke)
        if len(stroke) == 1:
            axes.plot(*stroke.T, ".", color=colour, markersize=2.4)
        (drawn,) = axes.plot(*stroke.T, color=colour, linewidth=1.5, clip_on=False)
        drawn.set_solid_capstyle("round")
        drawn.set_solid_joinstyle("round")
    axes.set_xlim(low[0], low[0] + width / scale)
    axes.set_ylim(low[1] + height / scale, low[1])  # y downwards
    axes.set_axis_off()
    return axes


def _draw_window(
    figure: Figure, writing: Writing, missing: frozenset[str], width: float
) -> Axes:
    text = writing.text
    axes = _figures.add_axes(figure, width, max(1, len(text)) * _CELL)
    weights = writing.weights.T  # [N, S] -> [S, N]
    top = np.maximum(weights.max(axis=0, keepdims=True), 1e-12)
    axes.imshow(
        weights / top, aspect="auto", interpolation="nearest", cmap="gray_r", vmin=0
    )
    names = [_fonts.printable(c, missing, 2) if c != " " else "␣" for c in text]
    axes.set_yticks(np.arange(len(text)), names, fontsize=7)
    axes.set_xticks([])
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_color("0.75")
    return axes
