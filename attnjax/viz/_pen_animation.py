"""A pen that writes: an SVG file that a browser animates, with nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from attnjax.viz._pen import Writing, strokes_of

_MARGIN = 0.35  # of the height of a line
_STYLE = """
    path { fill: none; stroke: #12254d; stroke-linecap: round; stroke-linejoin: round;
      stroke-dasharray: 1; stroke-dashoffset: 1; animation: draw linear forwards; }
    path.given { stroke: #8a8f98; }
    @keyframes draw { to { stroke-dashoffset: 0; } }
    @media (prefers-reduced-motion: reduce) {
      path { animation: none; stroke-dashoffset: 0; } }
"""


def pen_animation(
    lines: Sequence[Writing | tuple],
    path: str | os.PathLike[str] | None = None,
    *,
    points_per_second: float = 90.0,
    width: int = 900,
) -> str:
    """Makes an SVG in which the pen writes lines, stroke by stroke.

    It is one file without scripts, fonts or links: CSS animates it. Where the reader's
    system asks for less motion, the whole writing is there at once.

    Args:
      lines: one or more; a tuple holds the fields of `Writing`.
      path: file to save; None does not save.
      points_per_second: speed of the pen.
      width: of the picture in pixels.

    Returns:
      The SVG.

    Raises:
      ValueError: if there is no line, points are invalid, or the speed is not positive.

    Example:
      >>> svg = pen_animation([([[0, 0, 0], [5, 1, 1]], "a")])
      >>> svg.count("<path"), svg.count("<title>a</title>")
      (1, 1)
    """
    if not lines:
        raise ValueError("lines: expected at least one, got none")
    if not points_per_second > 0:
        raise ValueError(
            f"points_per_second: expected more than 0, got {points_per_second}"
        )
    given = [Writing(*line) for line in lines]
    drawn = [strokes_of(writing.points) for writing in given]
    boxes = [_box(strokes) for strokes in drawn]
    widest = max(float(size[0]) for _, size in boxes)
    tallest = max(float(size[1]) for _, size in boxes) or 1.0
    margin = _MARGIN * tallest
    paths, top, time = [], margin, 0.0
    for writing, strokes, (low, size) in zip(given, drawn, boxes, strict=True):
        shift = np.array([margin, top]) - low
        shifted = [stroke + shift for stroke in strokes]
        paths += _paths(shifted, time, points_per_second, writing.prime)
        time += len(writing.points) / points_per_second
        top += float(size[1]) + margin
    content = "\n".join(paths)
    title = escape(" ".join(writing.text for writing in given))
    box = f"0 0 {widest + 2 * margin:.2f} {top:.2f}"
    height = round(width * top / (widest + 2 * margin))
    pen = max(widest, tallest) / 400 + tallest / 60
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{width}" '
        f'height="{height}" role="img">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect width="100%" height="100%" fill="white"/>\n'
        f'<g stroke-width="{pen:.2f}">\n{content}\n</g>\n</svg>\n'
    )
    if path is not None:
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        partial.write_text(svg, encoding="utf-8")
        partial.replace(target)
    return svg


def _box(strokes: list[np.ndarray]) -> tuple[Any, Any]:
    """The upper left corner of strokes, and their size."""
    every = np.concatenate(strokes)
    return every.min(axis=0), np.ptp(every, axis=0)


def _paths(
    strokes: list[np.ndarray], start: float, speed: float, prime: int
) -> list[str]:
    paths, seen = [], 0
    for stroke in strokes:
        places = stroke if len(stroke) > 1 else np.concatenate([stroke, stroke + 0.01])
        data = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in places)
        delay, duration = start + seen / speed, len(stroke) / speed
        given = ' class="given"' if seen < prime else ""
        paths.append(
            f'<path{given} pathLength="1" style="animation-delay:{delay:.3f}s;'
            f'animation-duration:{duration:.3f}s" d="{data}"/>'
        )
        seen += len(stroke)
    return paths
