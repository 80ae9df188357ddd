"""Evaluates runs on all test questions: `python -m experiments.babi evaluate`.

RUN/evaluation.json     the errors of every task
"""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from attnjax.models.memory_network import MemoryNetworkConfig
from experiments.babi.evaluator import Evaluator
from experiments.babi.loading import LoadedRun
from experiments.babi.published import FAILED, published_errors
from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.babi.babi_builder import TASKS, BAbI
from experiments.datasets.data_dir import with_raw_dir
from experiments.datasets.stories.arrays import QuestionArrays, encode_questions
from experiments.datasets.stories.datasets import hold_out
from experiments.files import write_atomic
from experiments.training.parameters import count_parameters

RECORD = "evaluation.json"


def evaluate(
    loaded: LoadedRun,
    *,
    raw_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      raw_dir: where the raw data are, if not where the config says.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if the data are missing.
    """
    output = loaded.run.output(RECORD)
    say("reading stories")
    why = "this run's stories are generated"
    data = with_raw_dir(loaded.config.data, raw_dir, why)
    training, _ = hold_out(data.load("train"), loaded.config.held_out)
    evaluator = Evaluator(loaded.model, mesh=loaded.mesh)
    found = {}
    for split, stories in (("train", training), ("test", data.load("test"))):
        questions = _encode(loaded, stories)
        title = f"evaluating {split}"
        say(f"{title}: {len(questions):,} questions")
        with ProgressBar(title, len(questions)) as counter:
            found[split] = evaluator(loaded.params, questions, counter.advance)
    hard = isinstance(loaded.config.model, MemoryNetworkConfig)
    size = data.size if isinstance(data, BAbI) else None
    paper = published_errors(size, len(found["test"]), supervised=hard)
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "seed": loaded.config.seed,
        "size": size,
        "paper": paper,
        "training_error": _mean(found["train"]),
        "mean_error": _mean(found["test"]),
        "failed": sum(error > FAILED for error in found["test"].values()),
        "tasks": {
            str(task): {"error": error, "training_error": found["train"][task]}
            for task, error in found["test"].items()
        },
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def _encode(loaded: LoadedRun, stories: Any) -> QuestionArrays:
    size = loaded.config.model.memory_size
    return encode_questions(stories, loaded.model.vocabulary, memory_size=size)


def _mean(errors: dict[int, float]) -> float:
    return statistics.fmean(errors.values())


def combine(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keeps one record of those that have the same tasks, and puts it first of them.

    The one with the lowest training error is kept, as in the paper: test errors choose
    nothing.

    Args:
      records: what `evaluate` returned.

    Returns:
      The records kept, in the order of their first tasks.
    """
    chosen: dict[tuple[str, ...], dict[str, Any]] = {}
    for record in records:
        tasks = tuple(record["tasks"])
        best = chosen.get(tasks)
        if best is None or record["training_error"] < best["training_error"]:
            chosen[tasks] = record
    return [chosen[tasks] for tasks in sorted(chosen, key=lambda t: list(map(int, t)))]


def print_report(records: Sequence[dict[str, Any]], file: TextIO | None = None) -> None:
    """Prints evaluations as one table of tasks, beside the paper's.

    Runs of different tasks stand side by side in it. Of runs of the same tasks, it
    shows the one with the lowest training error, and lists every seed below.

    Args:
      records: what `evaluate` returned.
      file: where to print; stdout if None.
    """
    kept = combine(records)
    errors = {
        int(task): values["error"]
        for record in kept
        for task, values in record["tasks"].items()
    }
    paper = {int(t): e for r in kept for t, e in r["paper"].items()}
    rows = [
        [_name(task, kept), f"{100 * error:.1f}", _percent(paper.get(task))]
        for task, error in sorted(errors.items())
    ]
    known = [paper[task] for task in errors if task in paper]
    same = len(known) == len(errors)
    rows.append(
        [
            "mean",
            f"{100 * statistics.fmean(errors.values()):.1f}",
            _percent(statistics.fmean(known) if same else None),
        ]
    )
    rows.append(
        [
            "tasks over 5 %",
            str(sum(error > FAILED for error in errors.values())),
            str(sum(e > 100 * FAILED for e in known)) if same else "",
        ]
    )
    print_table(["task", "error %", "paper"], rows, title=_title(kept), file=file)
    if len(records) > len(kept):
        _print_seeds(records, file)


def _print_seeds(records: Sequence[dict[str, Any]], file: TextIO | None) -> None:
    """Prints the errors of every run, and the median of the tests'."""
    rows = [
        [
            f"tasks {' '.join(r['tasks'])}" if len(r["tasks"]) < 5 else "all tasks",
            str(r["seed"]),
            f"{100 * r['training_error']:.2f}",
            f"{100 * r['mean_error']:.2f}",
        ]
        for r in records
    ]
    median = statistics.median(r["mean_error"] for r in records)
    rows.append(["median", "", "", f"{100 * median:.2f}"])
    header = ["run", "seed", "training error %", "test error %"]
    title = "every seed; the lowest training error chooses"
    print_table(header, rows, title=title, file=file)


def _name(task: int, records: Sequence[dict[str, Any]]) -> str:
    if records[0]["size"] is None:
        return "simulated world"
    return f"{task} {TASKS[task - 1]}"


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.1f}"


def _title(records: Sequence[dict[str, Any]]) -> str:
    parameters = max(record["parameters"] for record in records)
    if len(records) == 1:
        return f"step {records[0]['step']}, {parameters:,} parameters"
    return f"{len(records)} runs of up to {parameters:,} parameters"
