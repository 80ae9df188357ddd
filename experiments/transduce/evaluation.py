"""Evaluates a run on held-out words: `python -m experiments.transduce evaluate`.

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
from experiments.datasets.readings.datasets import SPLITS
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.training.parameters import count_parameters
from experiments.transduce.config import SearchConfig
from experiments.transduce.loading import LoadedRun
from experiments.transduce.reading import BatchReader

RECORD = "evaluation.json"


def evaluate(
    loaded: LoadedRun,
    search: SearchConfig,
    *,
    splits: Sequence[str] = ("validation", "test"),
    raw_dir: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run, and writes evaluation.json into its folder.

    Args:
      loaded: the run.
      search: how words are decoded.
      splits: of the run's data.
      raw_dir: where the raw data are, if not where the config says.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if the data are missing, or a split is unknown.
    """
    output = loaded.run.output(RECORD)
    data = with_raw_dir(loaded.config.data, raw_dir, "this run's words are made up")
    for split in splits:
        if split not in SPLITS:
            raise UserError(
                f"splits: expected some of {', '.join(SPLITS)}, got {split}"
            )
    say("reading words")
    reader = BatchReader(loaded.model, search, loaded.mesh)
    scores = {}
    for split in splits:
        entries = data.load(split)
        words, readings = len(entries), sum(len(e.readings) for e in entries)
        say(f"decoding {split}: {words:,} words")
        with ProgressBar(f"decoding {split}", words) as counter:
            rates = reader.error_rates(loaded.params, entries, progress=counter.advance)
        scores[split] = {"words": words, "readings": readings, **rates._asdict()}
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "search": dataclasses.asdict(search),
        "splits": scores,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def print_report(record: dict[str, Any], file: TextIO | None = None) -> None:
    """Prints WER and PER of every split, in per cent."""
    print_table(
        ["split", "words", "WER %", "PER %"],
        [
            [
                split,
                f"{scores['words']:,}",
                f"{100 * scores['wer']:.2f}",
                f"{100 * scores['per']:.2f}",
            ]
            for split, scores in record["splits"].items()
        ],
        title=f"step {record['step']}, {record['parameters']:,} parameters, "
        f"beam {record['search']['beam_size']}",
        file=file,
    )
