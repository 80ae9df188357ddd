"""Evaluates a run on held-out lines: `handwriting evaluate`.

RUN/evaluation.json     every metric
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.data_dir import with_raw_dir
from experiments.datasets.strokes.lines import Line, Statistics
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.handwriting.baselines import fit_mixture, nats
from experiments.handwriting.evaluator import Evaluator, metrics
from experiments.handwriting.loading import LoadedRun
from experiments.handwriting.model import build_model
from experiments.training.parameters import count_parameters

RECORD = "evaluation.json"
TRAINED, UNTRAINED, UNCONDITIONAL = "trained", "untrained", "unconditional"


def evaluate(
    loaded: LoadedRun,
    *,
    splits: Sequence[str] = ("validation",),
    raw_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run beside two baselines, and writes the record.

    Args:
      loaded: the run.
      splits: names of the splits.
      raw_dir: folder of the raw data, if they have moved since training.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if a split does not exist, or the data are missing.
    """
    output = loaded.run.output(RECORD)
    data = with_raw_dir(loaded.config.data, raw_dir, "this run's lines are generated")
    if not splits:
        raise UserError("splits: expected at least one name, got none")
    held_out = {split: data.load(split) for split in splits}
    say("fitting the unconditional density")
    statistics = loaded.model.statistics
    components = loaded.config.model.mixture_components
    mixture = fit_mixture(_points(data.load("train"), statistics), components)
    _, untrained = build_model(loaded.config, statistics, loaded.model.alphabet)
    evaluator = Evaluator(loaded.model, loaded.mesh)
    results: dict[str, Any] = {}
    for split, lines in held_out.items():
        with ProgressBar(f"evaluating {split}", 2 * len(lines)) as counter:
            results[split] = {
                name: metrics(lines, evaluator(params, lines, counter.advance))
                for name, params in (
                    (TRAINED, loaded.params),
                    (UNTRAINED, untrained),
                )
            }
        points = _points(lines, statistics)
        total = nats(mixture, points)
        results[split][UNCONDITIONAL] = {
            "nats_per_line": total / len(lines),
            "nats_per_point": total / len(points),
            "squared_error": float(np.sum(points[:, :2] ** 2, axis=1).mean()),
        }
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "lines": {split: len(lines) for split, lines in held_out.items()},
        "nats_per_point_of_the_scale": statistics.nats_per_point,
        "splits": results,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def _points(lines: Sequence[Line], statistics: Statistics) -> np.ndarray:
    """The normalised points of lines, without the first of each: [N, 3]."""
    return np.concatenate([statistics.normalise(line.points)[1:] for line in lines])


def print_report(record: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints an evaluation as a table.

    Args:
      record: what `evaluate` returned.
      file: where to print; stdout if None.
    """
    rows = []
    names = list(next(iter(record["splits"].values()))[TRAINED])
    for split, found in record["splits"].items():
        for kind, values in found.items():
            cells = (f"{values[n]:.3f}" if n in values else "" for n in names)
            rows.append([f"{split}, {kind}", *cells])
    scale = record["nats_per_point_of_the_scale"]
    print_table(
        ["lines", *(name.replace("_", " ") for name in names)],
        rows,
        title=f"step {record['step']:,}, {record['parameters']:,} parameters; "
        f"in the units of the data a point costs {scale:+.3f} nats",
        file=file,
    )
