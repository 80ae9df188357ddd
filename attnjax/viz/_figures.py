"""Figures: fixed settings, a layout in inches, and atomic saving.

These make figures reproducible: the same data give the same bytes under any user
settings.
"""

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.figure
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import MaxNLocator

from attnjax.viz import _fonts

_MARGIN, _GAP = 0.08, 0.35  # inches around a figure, and between its panels
LINES = ("-", "--", ":", "-.")
MARKERS = "osD^v"
COLOURS = ("black", "#1f6fb4", "#d9480f", "#2b8a3e", "#7048a8")
_SETTINGS = {
    "svg.hashsalt": "attnjax",  # reproducible ids
    "svg.fonttype": "path",  # glyphs as paths: the viewer needs no font
    "text.parse_math": False,  # "$" is an ordinary character
}


class _Box(NamedTuple):
    """The size of axes and of the margins that their labels need, in inches."""

    width: float
    height: float
    left: float
    bottom: float
    right: float
    top: float


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that a notebook displays although pyplot is not used."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Returns the PNG, and its width and height in CSS pixels (96 an inch)."""
        picture = io.BytesIO()
        with settings(["sans-serif"]):
            self.savefig(picture, format="png", metadata={"Software": None})
        width, height = (round(96 * float(inches)) for inches in self.get_size_inches())
        return picture.getvalue(), {"width": width, "height": height}


def settings(families: list[str]) -> AbstractContextManager[None]:
    """Returns a context with matplotlib's defaults and ours instead of the user's."""
    return matplotlib.style.context(
        ["default", {**_SETTINGS, "font.family": families}], after_reset=False
    )


def add_axes(figure: Figure, width: float, height: float) -> Axes:
    """Adds axes of a size in inches; `finish` sets their position."""
    return figure.add_axes(
        (0, 0, width / figure.get_figwidth(), height / figure.get_figheight()),
        label=str(len(figure.axes)),
    )


def draw_lines(
    axes: Axes,
    curves: Mapping[str, tuple[Any, Any]],
    missing: frozenset[str],
    *,
    marked: bool = False,
) -> None:
    """Draws one line for each name, told apart in black and white too."""
    for n, (name, (x, y)) in enumerate(curves.items()):
        axes.plot(
            np.asarray(x, np.float64),
            np.asarray(y, np.float64),
            label=_fonts.printable(name, missing, 40),
            color=COLOURS[n % len(COLOURS)],
            linestyle=LINES[n % len(LINES)],
            linewidth=1.6,
            marker=MARKERS[n % len(MARKERS)] if marked else None,
            markersize=4.5,
            clip_on=not marked,
        )
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(labelsize=9, color="0.4")
    axes.grid(axis="y", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(axes: Axes) -> None:
    """Names the lines, right of the axes."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9.5
    )


def finish(
    figure: Figure,
    rows: Sequence[Sequence[Axes]],
    path: str | os.PathLike[str] | None,
    title: str,
) -> Figure:
    """Lays the axes out in rows, fits the figure to them and saves it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    positions, top, width = {}, _MARGIN + (0.32 if title else 0.0), 0.0
    for row in rows:
        boxes = [_measure(axes, renderer, figure.dpi) for axes in row]
        top += max(box.top for box in boxes)
        left = _MARGIN
        for axes, box in zip(row, boxes, strict=True):
            positions[axes] = left + box.left, top, box
            left += box.left + box.width + box.right + _GAP
        top += max(box.height + box.bottom for box in boxes) + _GAP
        width = max(width, left - _GAP + _MARGIN)
    height = top - _GAP + _MARGIN
    if title:
        y = 1 - _MARGIN / height
        text = figure.text(0.5, y, title, fontsize=12, ha="center", va="top")
        extent = text.get_window_extent(renderer).width / figure.dpi
        width = max(width, extent + 2 * _MARGIN)
    figure.set_size_inches(width, height)
    for axes, (x, y, box) in positions.items():
        bottom = 1 - (y + box.height) / height
        axes.set_position((x / width, bottom, box.width / width, box.height / height))
    if path is not None:
        _save(figure, Path(path))
    return figure


def _measure(axes: Axes, renderer: RendererBase, dpi: float) -> _Box:
    inner = axes.get_window_extent(renderer)
    outer = axes.get_tightbbox(renderer) or inner
    pixels = (
        inner.width,
        inner.height,
        inner.x0 - outer.x0,
        inner.y0 - outer.y0,
        outer.x1 - inner.x1,
        outer.y1 - inner.y1,
    )
    return _Box(*(float(n) / dpi for n in pixels))


def _save(figure: Figure, path: Path) -> None:
    """Saves a figure atomically: a partial file is renamed when it is complete."""
    kind = path.suffix[1:].lower()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format=kind, metadata=metadata)
    partial.replace(path)


def check_path(path: str | os.PathLike[str] | None) -> None:
    """Checks that a path has the suffix of a supported format."""
    if path is not None and Path(path).suffix.lower() not in (".png", ".svg"):
        raise ValueError(
            f"path: expected a name that ends in .png or .svg, got {os.fspath(path)!r}"
        )
