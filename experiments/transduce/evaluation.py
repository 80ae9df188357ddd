"""Evaluates a run on held-out inputs: `python -m experiments.transduce evaluate`.

RUN/evaluation.json     the error rates of each split
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.datasets.data_dir import with_raw_dir
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.training.parameters import count_parameters
from experiments.transduce.config import SearchConfig
from experiments.transduce.loading import LoadedRun
from experiments.transduce.sounds import batch_reader

RECORD = "evaluation.json"


def evaluate(
    loaded: LoadedRun,
    search: SearchConfig,
    *,
    splits: Sequence[str] | None = None,
    raw_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      search: how inputs are decoded, fitted to the model.
      splits: of the run's data; None means all but that of training.
      raw_dir: where the raw data are, if not where the config says.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if the data are missing, a split is unknown, or a setting of the search
        is out of range.
    """
    vocab_size = loaded.model.alphabets.target.vocab_size
    search = search.fit(loaded.config.model, vocab_size)
    output = loaded.run.output(RECORD)
    data = with_raw_dir(loaded.config.data, raw_dir, "this run's words are made up")
    for split in splits or ():
        if split not in data.splits:
            raise UserError(
                f"splits: expected some of {', '.join(data.splits)}, got {split}"
            )
    held_out = [name for name in data.splits if name != "train"]
    reader = batch_reader(data, loaded.model, search, loaded.mesh)
    say(f"reading {reader.unit}")
    scores = {}
    for split in dict.fromkeys(splits or held_out):
        entries = list(data.load(split))
        count, readings = len(entries), sum(len(e.readings) for e in entries)
        say(f"decoding {split}: {count:,} {reader.unit}")
        with ProgressBar(f"decoding {split}", count) as counter:
            rates = reader.error_rates(loaded.params, entries, progress=counter.advance)
        unreadable = count - len(reader.readable(entries))
        counts = {reader.unit: count, "readings": readings, "unreadable": unreadable}
        scores[split] = counts | dict(zip(reader.rates, rates, strict=True))
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "columns": [reader.unit, *reader.rates],
        "search": dataclasses.asdict(search),
        "splits": scores,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def print_report(record: dict[str, Any], file: TextIO | None = None) -> None:
    """Prints the error rates of every split in per cent, and counts words unread."""
    unit, *rates = record["columns"]
    print_table(
        ["split", unit, *(f"{rate.upper()} %" for rate in rates)],
        [
            [
                split,
                f"{scores[unit]:,}",
                *(f"{100 * scores[rate]:.2f}" for rate in rates),
            ]
            for split, scores in record["splits"].items()
        ],
        title=f"step {record['step']}, {record['parameters']:,} parameters, "
        f"beam {record['search']['beam_size']}",
        file=file,
    )
    for split, scores in record["splits"].items():
        if scores["unreadable"]:
            print(
                f"{split}: {unit} with a letter that no training word has, which count "
                f"as wrong: {scores['unreadable']:,}",
                file=file,
            )
