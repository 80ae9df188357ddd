"""Curves: a quantity over the course of trainings."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from attnjax.viz import _figures, _fonts
from attnjax.viz._figures import Figure

Points = tuple[Sequence[float], Sequence[float]]  # along x, along y


def curve_plot(
    curves: Mapping[str, Points],
    path: str | os.PathLike[str] | None = None,
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Plots curves, one for each name, and horizontal lines to compare them with.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), figures 3, 7, 10, 13, 18.

    Args:
      curves: name -> its points along x and along y; NaN leaves a gap.
      path: file to save, with the suffix .png or .svg; None does not save.
      x_label: name of the horizontal axis.
      y_label: name of the vertical axis.
      levels: name -> height of a horizontal line, such as a published value.
      y_limits: ends of the vertical axis; None begins at 0 and fits the curves.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if there is no curve, or one has no points or not as many along x as
        along y, or the suffix is unknown.

    Example:
      >>> curves = {"NTM": ([0, 10, 20], [80, 2, 0.1])}
      >>> options = {"x_label": "steps", "y_label": "bits", "levels": {"LSTM": 9}}
      >>> figure = curve_plot(curves, **options)
      >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
      ['NTM', 'LSTM']
    """
    _figures.check_path(path)
    _check(curves)
    levels = levels or {}
    families, missing = _fonts.families_for([*curves, *levels, x_label, y_label, title])
    with _figures.settings(families):
        figure = Figure(dpi=150)
        axes = _figures.add_axes(figure, 4.4, 2.9)
        _figures.draw_lines(axes, curves, missing)
        for n, (name, height) in enumerate(levels.items()):
            axes.axhline(
                height,
                label=_fonts.printable(name, missing, 40),
                color="0.45",
                linestyle=_figures.LINES[n % len(_figures.LINES)],
                linewidth=1.0,
            )
        axes.set_ylim(*(y_limits or (0, None)))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(_fonts.printable(x_label, missing, 40), fontsize=10)
        axes.set_ylabel(_fonts.printable(y_label, missing, 40), fontsize=10)
        _figures.add_legend(axes)
        name = _fonts.printable(title, missing, 120)
        return _figures.finish(figure, [[axes]], path, name)


def _check(curves: Mapping[str, Points]) -> None:
    if not curves:
        raise ValueError("curves: expected at least one, got none")
    for name, (x, y) in curves.items():
        if np.shape(x) != np.shape(y) or np.ndim(x) != 1 or not len(x):
            raise ValueError(
                f"curves[{name!r}]: expected as many numbers along x as along y, one "
                f"or more, got {list(np.shape(x))} and {list(np.shape(y))}"
            )
