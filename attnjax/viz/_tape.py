"""Plots of a Neural Turing Machine: what its heads do over time, and where."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnjax.viz import _figures, _fonts
from attnjax.viz._figures import Figure

_CELL = 0.055  # inches of a step
_HIGHEST = 3.0  # inches of a panel: rows beyond that are drawn flatter


def tape_plot(
    rows: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Plots matrices over time side by side: inputs, writes, reads, and their weights.

    Time runs to the right in every panel. A panel whose values are all in [0, 1] is
    drawn from black, 0, to white, 1; any other one from blue through white, 0, to red.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), figure 6.

    Args:
      rows: the panels from the top down, each row from the left: title -> matrix
        [K, T] with time along its second axis.
      path: file to save, with the suffix .png or .svg; None does not save.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no panel, a panel is no matrix or not finite, or the
        suffix is unknown.

    Example:
      >>> figure = tape_plot([{"inputs": np.eye(3), "outputs": np.eye(3)}])
      >>> [axes.get_title() for axes in figure.axes]
      ['inputs', 'outputs']
    """
    _figures.check_path(path)
    panels = [{n: _matrix(n, x) for n, x in row.items()} for row in rows]
    if not panels or not all(panels):
        raise ValueError("rows: expected at least one panel in every row, got none")
    families, missing = _fonts.families_for([title, *(n for r in panels for n in r)])
    with _figures.settings(families):
        figure = Figure(dpi=150)
        drawn = [
            [_draw(figure, _fonts.printable(n, missing, 60), x) for n, x in row.items()]
            for row in panels
        ]
        name = _fonts.printable(title, missing, 120)
        return _figures.finish(figure, drawn, path, name)


def scatter_plot(
    x: Any,
    y: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    x_label: str,
    y_label: str,
    title: str = "",
) -> Figure:
    """Plots points and the straight line that fits them best.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), figure 17, shows write
    locations by priorities so.

    Args:
      x: one number for each point, an array or a sequence.
      y: the same.
      path: file to save, with the suffix .png or .svg; None does not save.
      x_label: name of x.
      y_label: name of y.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if x and y differ in length, there are fewer than two points, or the
        suffix is unknown.

    Example:
      >>> figure = scatter_plot([0, 1], [3, 5], x_label="priority", y_label="row")
      >>> figure.axes[0].get_xlabel()
      'priority'
    """
    _figures.check_path(path)
    points = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if points[0].shape != points[1].shape or points[0].size < 2:
        raise ValueError(
            f"x, y: expected as many numbers, two or more, got {points[0].size} and "
            f"{points[1].size}"
        )
    families, missing = _fonts.families_for([title, x_label, y_label])
    with _figures.settings(families):
        figure = Figure(dpi=150)
        axes = _figures.add_axes(figure, 3.4, 2.6)
        axes.plot(*points, "o", color="#1f6fb4", markersize=4)
        slope, intercept = np.polyfit(*points, 1)
        ends = np.array([points[0].min(), points[0].max()])
        axes.plot(ends, slope * ends + intercept, color="0.5", linewidth=1)
        axes.set_xlabel(_fonts.printable(x_label, missing, 40), fontsize=9)
        axes.set_ylabel(_fonts.printable(y_label, missing, 40), fontsize=9)
        axes.tick_params(labelsize=8)
        name = _fonts.printable(title, missing, 120)
        return _figures.finish(figure, [[axes]], path, name)


def _matrix(name: str, given: Any) -> np.ndarray:
    x = np.asarray(given, np.float64)
    if x.ndim != 2 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"{name}: expected a matrix [K, T] of finite numbers, got "
            f"{'one that is not finite' if x.ndim == 2 and x.size else list(x.shape)}"
        )
    return x


def _draw(figure: Figure, name: str, x: np.ndarray) -> Axes:
    K, T = x.shape
    height = min(_HIGHEST, max(0.15, K * _CELL))
    axes = _figures.add_axes(figure, max(1.0, T * _CELL), height)
    if x.min() >= 0 and x.max() <= 1:
        scale: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    else:
        most = np.abs(x).max()
        scale = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    axes.imshow(x, aspect="auto", interpolation="nearest", **scale)
    axes.set_title(name, fontsize=8, pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=6, length=2, pad=1)
    return axes
