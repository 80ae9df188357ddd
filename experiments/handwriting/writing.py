"""Writes texts: `handwriting write`.

OUT.png, OUT.svg          the lines, and the window over the text beneath each
OUT-animated.svg          the pen as it writes, in a browser
OUT.json                  the strokes, which may prime other lines (`prime`)
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax import viz
from attnjax.decode import Strokes, sample_strokes
from attnjax.train import Params
from experiments.cli.checks import check_seed
from experiments.cli.outputs import check_writable
from experiments.datasets.strokes.batches import StrokeLine, pad_lines
from experiments.datasets.strokes.lines import Line
from experiments.errors import UserError
from experiments.files import atomic_path, write_atomic
from experiments.handwriting.loading import LoadedRun
from experiments.handwriting.model import Writer
from experiments.handwriting.prime import line_to_json

SUFFIXES = (".svg", ".png")


class Written(NamedTuple):
    """A line that was written."""

    line: Line  # in the units of the training data, without the prime
    picture: viz.Writing  # with the prime
    finished: bool  # whether the window came to the end of the text


def write_lines(
    loaded: LoadedRun,
    texts: Sequence[str],
    *,
    seed: int = 0,
    bias: float = 0.0,
    prime: Line | None = None,
    max_points: int = 2000,
) -> list[Written]:
    """Writes every text once.

    Args:
      loaded: the run.
      texts: one or more; empty ones for a model that reads none.
      seed: of the samples.
      bias: b of the paper; larger is tidier.
      prime: a line in whose style the texts continue.
      max_points: most points of a line.

    Raises:
      UserError: if a text is empty or has an unknown character, or a number is out of
        range.
    """
    if not 0 <= bias < np.inf:
        raise UserError(f"bias: expected 0 or more, got {bias}")
    if max_points < 1:
        raise UserError(f"max_points: expected at least 1, got {max_points}")
    check_seed(seed)
    writer = loaded.model
    lines = [_request(writer, text, prime) for text in texts]
    rng = jax.random.key(seed)
    drawn = jax.device_get(_sample(writer, loaded.params, lines, rng, bias, max_points))
    return [
        _written(writer, text, prime, *rows)
        for text, *rows in zip(texts, *drawn[0], drawn[1], strict=True)
    ]


def _request(writer: Writer, text: str, prime: Line | None) -> StrokeLine:
    """The points and the whole text that a line begins with."""
    if writer.alphabet is None:
        if text:
            raise UserError(
                f"text: expected none for a network that predicts without a text, got "
                f"{text!r}"
            )
        given = np.zeros((1, 3), np.float32) if prime is None else prime.points
        return StrokeLine(writer.statistics.normalise(given), np.zeros(0, np.int32))
    writer.alphabet.encode(text)  # an error names the text that is wrong
    if prime is None:
        return StrokeLine(np.zeros((1, 3), np.float32), writer.alphabet.encode(text))
    whole = f"{prime.text} {text}"
    points = writer.statistics.normalise(prime.points)
    return StrokeLine(points, writer.alphabet.encode(whole, "prime"))


def _sample(
    writer: Writer,
    params: Params,
    lines: Sequence[StrokeLine],
    rng: jax.Array,
    bias: float,
    max_points: int,
) -> tuple[Strokes, jax.Array]:
    """Draws the lines, and the window's weights at the points they begin with."""
    T, S = (max(len(x) for x in each) for each in zip(*lines, strict=True))
    batch = pad_lines(lines, T, S + 1)

    @jax.jit
    def run(params: Params, batch: Any, rng: jax.Array) -> tuple[Strokes, jax.Array]:
        model = writer.rebuild(params)
        points, mask, text, text_mask = map(jnp.asarray, batch)
        memory = model.encode(text, text_mask)
        # All lines begin with the same points: the prime, or where the pen goes down.
        carry = model.start(memory, len(lines))
        weights = jnp.zeros((len(lines), 0, 0 if memory is None else S + 1))
        if T > 1:
            carry, out = model(memory, points[:, :-1], mask[:, :-1], carry)
            weights = out.weights
        drawn = sample_strokes(
            rng,
            lambda carry, x: model.step(memory, carry, x),
            carry,
            points[:, -1],
            max_length=max_points,
            ends=None if memory is None else text_mask.sum(axis=1),
            bias=bias,
        )
        return drawn, weights

    return run(params, batch, rng)


def _written(
    writer: Writer,
    text: str,
    prime: Line | None,
    points: np.ndarray,
    length: int,
    weights: np.ndarray,
    finished: bool,
    before: np.ndarray,
) -> Written:
    """Restores the units of a drawn line, and joins it to the prime."""
    first = np.zeros((1, 3), np.float32)
    drawn = writer.statistics.restore(np.concatenate([first, points[:length]]))
    given, own = first, drawn
    if prime is not None:
        # The pen comes from the prime: to the line's own first point it does not jump.
        given, own = prime.points, drawn[1:].copy()
        own[:1, :2] = 0
    line = Line(text, own, np.zeros(0, np.int32))
    whole = np.concatenate([given, drawn[1:]])
    if writer.alphabet is None:
        return Written(line, viz.Writing(whole, prime=_given(prime)), bool(finished))
    said = text if prime is None else f"{prime.text} {text}"
    # Weights belong to the point that they predict; nothing predicts the first one.
    path = np.concatenate([before, weights[:length]])
    # It repeats the second's, or is 0 where the line ends at its first step.
    start = path[:1] if len(path) else np.zeros_like(path, shape=(1, path.shape[1]))
    path = np.concatenate([start, path])[: len(whole), : len(said) + 1]
    picture = viz.Writing(whole, said, path, _given(prime))
    return Written(line, picture, bool(finished))


def _given(prime: Line | None) -> int:
    return 0 if prime is None else len(prime.points)


def save_pictures(
    written: Sequence[Written],
    out: Path,
    *,
    animate: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Draws lines as PNG and SVG, and saves their strokes.

    Args:
      written: one or more lines.
      out: a name with the suffix .svg or .png; both are written.
      animate: also make an animated SVG.
      say: reports the files.

    Raises:
      UserError: if the name has another suffix, or a file cannot be written.
    """
    check_out(out)
    pictures = [one.picture for one in written]
    *paths, moving, strokes = _files(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            with atomic_path(path) as made:
                viz.pen_plot(pictures, made)
        if animate:
            with atomic_path(moving) as made:
                viz.pen_animation(pictures, made)
        lines = [line_to_json(one.line) for one in written]
        write_atomic(strokes, json.dumps(lines) + "\n")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    for path in [*paths, *[moving] * animate, strokes]:
        say(f"{path}")


def check_out(out: Path) -> None:
    """Checks the name of a picture, before anything slow.

    Raises:
      UserError: if it has another suffix than .svg or .png, or one of the files cannot
        be written there.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"out: expected a name that ends in .svg or .png, got {out}")
    for path in _files(out):
        if path.is_dir():
            raise UserError(f"out: expected a file, got the folder {path}")
    check_writable("out", out)


def _files(out: Path) -> list[Path]:
    """The pictures, the animated one, and the strokes."""
    paths = [out.with_suffix(suffix) for suffix in SUFFIXES]
    moving = out.with_name(f"{out.stem}-animated.svg")
    return [*paths, moving, out.with_suffix(".json")]
