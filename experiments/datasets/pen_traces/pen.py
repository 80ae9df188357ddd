"""A pen that writes a text: every line has a writer of its own."""

import dataclasses

import numpy as np

from experiments.datasets.pen_traces.glyphs import SPACE_WIDTH, check_text, glyphs
from experiments.datasets.strokes.lines import Line, to_offsets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writer:
    """How one line is written; lengths are in tenths of the height of an x."""

    slant: float  # how far a point moves right for each unit that it is higher
    height: float  # factors of the size along y and along x
    width: float
    gap: float  # added between characters
    step: float  # distance between two points of the pen
    wobble: float  # deviation of a character's points
    tremor: float  # deviation of each pen point
    rise: float  # slope of the baseline
    wave: float  # height of the baseline's slow wave
    phase: float  # of that wave


def draw_writer(rng: np.random.Generator) -> Writer:
    """Draws the hand of a writer."""
    return Writer(
        slant=float(rng.normal(0.18, 0.16)),
        height=float(np.exp(rng.normal(0, 0.12))),
        width=float(np.exp(rng.normal(0, 0.12))),
        gap=float(rng.normal(0.3, 0.6)),
        step=float(rng.uniform(2.0, 2.4)),
        wobble=float(rng.uniform(0.15, 0.5)),
        tremor=float(rng.uniform(0.03, 0.12)),
        rise=float(rng.normal(0, 0.015)),
        wave=float(abs(rng.normal(0, 0.5))),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def write_line(rng: np.random.Generator, text: str, writer: Writer) -> Line:
    """Writes a text.

    Args:
      rng: draws what differs from character to character.
      text: letters, digits, blanks and punctuation.
      writer: the hand.

    Returns:
      The line, with y downwards, and the number of the character at each point.

    Raises:
      UserError: if a character cannot be drawn.
    """
    check_text(text)
    places, ends, characters = [], [], []
    left = 0.0
    for number, character in enumerate(text):
        if character == " ":
            left += (SPACE_WIDTH + rng.normal(0, 1)) * writer.width
            continue
        glyph = glyphs()[character]
        size = np.exp(rng.normal(0, 0.04, 2))
        for stroke in glyph.strokes:
            path = _trace(rng, stroke, writer) * size
            x, y = path[:, 0] * writer.width, path[:, 1] * writer.height
            across = left + x + writer.slant * y
            wave = writer.wave * np.sin(across / 40 + writer.phase)
            places.append(np.stack([across, y + writer.rise * across + wave], axis=1))
            ends.append(np.arange(len(path)) == len(path) - 1)
            characters.append(np.full(len(path), number))
        left += glyph.width * writer.width * size[0] + writer.gap
    where = np.concatenate(places) * [1, -1]  # y downwards
    where += rng.normal(0, writer.tremor, where.shape)
    points = to_offsets(where, np.concatenate(ends))
    return Line(text, points, np.concatenate(characters).astype(np.int32))


def _trace(
    rng: np.random.Generator, pieces: tuple[np.ndarray, ...], writer: Writer
) -> np.ndarray:
    """The pen points of one stroke, at equal distances along each smooth piece."""
    traced: list[np.ndarray] = []
    start: np.ndarray | None = None
    for piece in pieces:
        moved = piece + rng.normal(0, writer.wobble, piece.shape)
        if start is not None:
            moved[0] = start  # a piece begins where the last one ended
        start = moved[-1]
        curve = _spline(moved)
        along = np.append(0, np.cumsum(np.hypot(*np.diff(curve, axis=0).T)))
        count = max(1, round(float(along[-1]) / writer.step))
        at = np.linspace(0, along[-1], count + 1)[bool(traced) :]
        traced.append(
            np.stack([np.interp(at, along, curve[:, i]) for i in (0, 1)], axis=1)
        )
    return np.concatenate(traced)


def _spline(points: np.ndarray, density: int = 12) -> np.ndarray:
    """A Catmull-Rom spline through points: [n, 2] -> [density * (n - 1) + 1, 2]."""
    if len(points) == 2:
        return np.linspace(points[0], points[1], density + 1)
    ends = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p = np.concatenate([ends[0][None], points, ends[1][None]])
    t = np.arange(density)[:, None] / density
    parts = [
        0.5
        * (
            2 * p[i + 1]
            + (p[i + 2] - p[i]) * t
            + (2 * p[i] - 5 * p[i + 1] + 4 * p[i + 2] - p[i + 3]) * t**2
            + (3 * p[i + 1] - p[i] - 3 * p[i + 2] + p[i + 3]) * t**3
        )
        for i in range(len(points) - 1)
    ]
    return np.concatenate([*parts, points[-1:]])
