"""How well lines are predicted, and where the window stands meanwhile."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.train import Params
from experiments.datasets.strokes.batches import Buckets
from experiments.datasets.strokes.lines import Line
from experiments.handwriting.model import Writer
from experiments.runs.processes import gather_rows, place_batch

# Lines that are computed at once.
ROWS = 64
BUCKETS = 3


class LineScores(NamedTuple):
    """What a model says of one line, for each point but the first."""

    nats: np.ndarray  # [N-1]
    squared_errors: np.ndarray  # [N-1]
    weights: np.ndarray  # [N-1, U+1], of characters and the position after them


class Evaluator:
    """Computes what lines cost, on all devices."""

    def __init__(self, writer: Writer, mesh: Mesh) -> None:
        self._writer, self._mesh = writer, mesh
        self._predict = jax.jit(writer.predict)

    def __call__(
        self,
        params: Params,
        lines: Sequence[Line],
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[LineScores]:
        """Predicts every line, the batch padded by repetition.

        Args:
          params: the model's parameters.
          lines: one or more.
          progress: called after every batch with the number of its lines.
        """
        made = [self._writer.line(line) for line in lines]
        rows = -(-ROWS // self._mesh.size) * self._mesh.size
        buckets = Buckets(made, count=min(BUCKETS, -(-len(made) // rows)))
        scores: dict[int, LineScores] = {}
        for bucket in range(len(buckets.shapes)):
            members = np.flatnonzero(buckets.bucket == bucket)
            for start in range(0, len(members), rows):
                some = members[start : start + rows].tolist()
                padded = some + some[-1:] * (rows - len(some))
                batch = place_batch(buckets.batch(bucket, padded), self._mesh)
                found = gather_rows(self._predict(params, batch))
                for row, number in enumerate(some):
                    N, U = len(made[number].points), len(made[number].text)
                    nats, errors, weights = (x[row, : N - 1] for x in found)
                    scores[number] = LineScores(nats, errors, weights[:, : U + 1])
                progress(len(some))
        return [scores[number] for number in range(len(lines))]


def metrics(lines: Sequence[Line], scores: Sequence[LineScores]) -> dict[str, float]:
    """Means over lines, or over points; of the window only if there is a text.

    nats_per_line: negative log-density of a line's points, in normalised offsets.
    nats_per_point: the same for each point.
    squared_error: of the mean offset, for each point.
    window_monotone: share of steps at which the character under the window is that of
      the step before, or a later one.
    window_agreement: share of points at which the character under the window is the
      one that is written; only where this is known.
    """
    points = sum(len(score.nats) for score in scores)
    nats = float(sum(score.nats.sum(dtype=np.float64) for score in scores))
    errors = float(sum(score.squared_errors.sum(dtype=np.float64) for score in scores))
    found = {
        "nats_per_line": nats / len(lines),
        "nats_per_point": nats / points,
        "squared_error": errors / points,
    }
    if not scores[0].weights.size:
        return found
    under = [score.weights.argmax(axis=1) for score in scores]
    steps = np.concatenate([np.diff(path) >= 0 for path in under])
    found["window_monotone"] = float(steps.mean())
    if len(lines[0].characters):
        right = [
            path == line.characters[1:] for path, line in zip(under, lines, strict=True)
        ]
        found["window_agreement"] = float(np.concatenate(right).mean())
    return found
