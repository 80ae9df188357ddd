"""Shows the results of the lineage: tables, results.json, pictures, alignments."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from attnjax.align import parse_pharaoh
from attnjax.viz import Panel, alignment_grid, length_plot
from experiments.cli.alignments import print_alignment
from experiments.datasets.cldr.pretokenization import detokenize, strip_marks
from experiments.datasets.pairs.datasets import Pair
from experiments.files import write_atomic
from experiments.lineage.compare import Language, Result
from experiments.runs.paths import output_path

SUFFIXES = ("png", "svg")
# In source tokens: long enough to be reordered, short enough to draw.
LENGTH_OF_EXAMPLES = (12, 18)


def records(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One record per system and pair, as in results.json."""
    return [
        {
            "model": result.system.name,
            "pair": result.pair,
            "exact_match": result.corpus.exact_match,
            "bleu": result.corpus.bleu,
            "aer": result.aer,
            "exact_match_by_length": {
                f"{b.low}-{b.high}": b.exact_match for b in result.corpus.by_length
            },
            "parameters": result.parameters,
            "seconds": round(result.seconds, 1),
        }
        for result in results
    ]


def check_outputs(pairs: Sequence[str], folder: Path) -> None:
    """Checks that results and pictures can be written, before the work.

    Raises:
      UserError: if one cannot.
    """
    names = (
        f"{kind}-{pair}.{suffix}"
        for kind in ("alignments", "length")
        for pair in pairs
        for suffix in SUFFIXES
    )
    for name in ("results.json", *names):
        output_path(folder, name)


def write_results(results: Sequence[Result], folder: Path) -> None:
    """Writes results.json atomically."""
    path = output_path(folder, "results.json")
    write_atomic(path, json.dumps(records(results), indent=2) + "\n")


def table(pair: str, results: Sequence[Result]) -> Table:
    """The table that compares the systems on one pair."""
    rows = Table(
        title=f"{pair}: held-out phrases; exact match also by source tokens",
        title_justify="left",
    )
    rows.add_column("system")
    rows.add_column("exact match", justify="right")
    for bucket in results[0].corpus.by_length:
        rows.add_column(f"{bucket.low}-{bucket.high}", justify="right")
    for name in ("BLEU", "AER", "parameters", "seconds"):
        rows.add_column(name, justify="right")
    for result in results:
        rows.add_row(
            result.system.title,
            f"{result.corpus.exact_match:.3f}",
            *(f"{b.exact_match:.3f}" for b in result.corpus.by_length),
            f"{result.corpus.bleu:.1f}",
            f"{result.aer:.3f}" if result.aer < 1 else "no links",
            f"{result.parameters:,}",
            f"{result.seconds:.0f}",
        )
    return rows


def draw_pictures(
    pair: str, language: Language, results: Sequence[Result], folder: Path
) -> list[Path]:
    """Draws the alignments of one phrase and the scores by length, as PNG and SVG."""
    buckets = results[0].corpus.by_length
    index = examples(language.test, clearest(results), 1)[0]
    panels = {
        result.system.title: _panel(result, language.test[index], index)
        for result in results
        if result.translations[index] is not None
    }
    series = {
        result.system.title: [100 * b.exact_match for b in result.corpus.by_length]
        for result in results
    }
    paths = []
    for suffix in SUFFIXES:
        alignments = output_path(folder, f"alignments-{pair}.{suffix}")
        title = f"What each system attends to, {pair}"
        alignment_grid(panels, alignments, columns=3, title=title)
        lengths = output_path(folder, f"length-{pair}.{suffix}")
        length_plot(
            series,
            [(b.low, b.high) for b in buckets],
            lengths,
            counts=[b.count for b in buckets],
            score="exact match, %",
            title=f"{pair}: phrases translated exactly, by source length",
        )
        paths += [alignments, lengths]
    return paths


def clearest(results: Sequence[Result]) -> Result:
    """The result of the system with the lowest alignment error rate."""
    return min(results, key=lambda result: result.aer)


def examples(test: Sequence[Pair], result: Result, count: int) -> list[int]:
    """Chooses phrases of medium length: correct ones first, then by reordering."""
    low, high = LENGTH_OF_EXAMPLES

    def rank(index: int) -> tuple[bool, int]:
        found = result.translations[index]
        wrong = found is None or found.text != test[index].target
        return wrong, -_displacement(test[index])

    lengths = [len(pair.source.split()) for pair in test]
    fitting = [i for i, length in enumerate(lengths) if low <= length <= high]
    ranked = sorted(fitting or range(len(test)), key=rank)
    # At a distance: neighbours in this order are phrases of one pattern.
    return ranked[:: max(1, len(ranked) // 12)][:count]


def show_examples(
    pair: str, language: Language, result: Result, console: Console, count: int = 2
) -> None:
    """Prints a few translations with their alignments."""
    for index in examples(language.test, result, count):
        given, found = language.test[index], result.translations[index]
        if found is None:
            continue
        verdict = "right" if found.text == given.target else "wrong"
        console.print(
            f"\n{pair}  {detokenize(given.source)}  ->  {detokenize(found.text)}  "
            f"({verdict})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        print_alignment(found.weights, *_words(given, found.text), file=console.file)


def _words(given: Pair, text: str) -> tuple[list[str], list[str]]:
    """The tokens of both sides without their marks, and EOS."""
    return (
        [*map(strip_marks, given.source.split()), "</s>"],
        [*map(strip_marks, text.split()), "</s>"],
    )


def _panel(result: Result, given: Pair, index: int) -> Panel:
    found = result.translations[index]
    assert found is not None  # the caller has checked
    right = found.text == given.target
    gold = parse_pharaoh(given.alignment) if right else None
    return Panel(found.weights, *_words(given, found.text), gold)


def _displacement(pair: Pair) -> int:
    """Sum of the distances of sure links from the diagonal."""
    return sum(abs(s - t) for s, t in parse_pharaoh(pair.alignment).sure)
