"""Plots of vectors: their two principal components, with names."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from attnjax.viz import _figures, _fonts
from attnjax.viz._figures import Figure

_HEIGHTS = (0, 6, -6, 10, -10, 14, -14)  # points above a name's own point


def vector_plot(
    vectors: Any,
    names: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    groups: Sequence[int] | None = None,
    title: str = "",
) -> Figure:
    """Plots vectors by their two principal components, and names each point.

    The axes say which share of the variance they show. A component has the sign with
    which its entry of the largest absolute value is positive, so that the same vectors
    give the same picture everywhere.

    Source: Sutskever, Vinyals & Le 2014 (arXiv:1409.3215), figure 2.

    Args:
      vectors: one for each name, shape [N, D].
      names: what the vectors are of.
      path: file to save, with the suffix .png or .svg; None does not save.
      groups: a number for each vector; those with the same number share a colour.
      title: title of the figure.

    Returns:
      The figure.

    Raises:
      ValueError: if there are fewer than three vectors, not as many as names or groups,
        one is not finite, or the suffix is unknown.

    Example:
      >>> figure = vector_plot([[2, 0, 0], [0, 1, 0], [0, 0, 0]], ["a", "b", "c"])
      >>> [text.get_text() for text in figure.axes[0].texts]
      ['a', 'b', 'c']
    """
    _figures.check_path(path)
    x = np.asarray(vectors, np.float64)
    groups = [0] * len(names) if groups is None else groups
    _check(x, names, groups)
    points, shares = principal_components(x)
    families, missing = _fonts.families_for([title, *names])
    with _figures.settings(families):
        figure = Figure(dpi=150)
        axes = _figures.add_axes(figure, 4.6, 3.6)
        colours = [_figures.COLOURS[g % len(_figures.COLOURS)] for g in groups]
        axes.scatter(points[:, 0], points[:, 1], c=colours, s=16)
        axes.margins(0.1)
        shown = [_fonts.printable(name, missing, 60) for name in names]
        _add_names(axes, points, shown, colours)
        axes.set_xlabel(f"{shares[0]:.0%} of the variance", fontsize=9)
        axes.set_ylabel(f"{shares[1]:.0%} of the variance", fontsize=9)
        axes.tick_params(labelsize=8, color="0.4")
        axes.spines[["top", "right"]].set_visible(False)
        name = _fonts.printable(title, missing, 120)
        return _figures.finish(figure, [[axes]], path, name)


def _add_names(
    axes: Axes, points: np.ndarray, names: Sequence[str], colours: Sequence[str]
) -> None:
    """Writes each name beside its point, where it covers no other name or point."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()  # type: ignore[arg-type]
    axes.autoscale_view()
    pixels = axes.transData.transform(points)
    taken = [Bbox.from_extents(x - 4, y - 4, x + 4, y + 4) for x, y in pixels]
    middle = points[:, 0].mean()
    for n, (name, point, colour) in enumerate(zip(names, points, colours, strict=True)):
        side = -1 if point[0] > middle else 1  # towards the middle: names stay inside
        text = axes.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colour,
        )
        others = [box for k, box in enumerate(taken) if k != n]
        for x, y in itertools.product((side, -side), _HEIGHTS):
            text.set_position((5 * x, y))
            text.set_horizontalalignment("left" if x > 0 else "right")
            box = text.get_window_extent(renderer)
            if not box.count_overlaps(others):
                break
        taken.append(box)


def principal_components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projects vectors on the two directions of their largest variance.

    Args:
      x: vectors, shape [N, D].

    Returns:
      The two components of each vector, [N, 2], and their shares of the variance, [2];
      0 where there is none.

    Example:
      >>> points, shares = principal_components(np.array([[0, 3], [0, 1], [0, 2.0]]))
      >>> points[:, 0].round(3).tolist(), shares.round(3).tolist()
      ([1.0, -1.0, 0.0], [1.0, 0.0])
    """
    centred = x - x.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    most = np.abs(directions).argmax(axis=1)[:, None]  # [K] -> [K, 1]
    directions = directions * np.sign(np.take_along_axis(directions, most, axis=1))
    points = centred @ directions[:2].T
    variances = lengths[:2] ** 2
    if len(variances) < 2:  # vectors of one number
        points, variances = np.pad(points, ((0, 0), (0, 1))), np.append(variances, 0)
    total = (centred**2).sum()
    return points, variances / total if total > 0 else np.zeros(2)


def _check(x: np.ndarray, names: Sequence[str], groups: Sequence[int]) -> None:
    if x.ndim != 2 or len(x) < 3 or not x.size:
        raise ValueError(
            f"vectors: expected three or more, [N, D], got shape {list(x.shape)}"
        )
    if not np.isfinite(x).all():
        raise ValueError("vectors: expected finite numbers, got NaN or infinity")
    for name, given in (("names", names), ("groups", groups)):
        if len(given) != len(x):
            raise ValueError(
                f"{name}: expected {len(x)}, one for each vector, got {len(given)}"
            )
