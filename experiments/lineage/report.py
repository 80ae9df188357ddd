"""What the lineage shows: a table, results.json, pictures, drawn alignments."""

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
from experiments.lineage.race import Language, Outcome

LENGTH_OF_EXAMPLES = (12, 18)  # units: long enough to reorder, small enough to draw


def records(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One record per model and pair, as results.json holds them."""
    return [
        {
            "model": outcome.entry.name,
            "pair": outcome.pair,
            "exact_match": outcome.corpus.exact_match,
            "bleu": outcome.corpus.bleu,
            "aer": outcome.aer,
            "exact_match_by_length": {
                f"{b.low}-{b.high}": b.exact_match for b in outcome.corpus.by_length
            },
            "parameters": outcome.parameters,
            "seconds": round(outcome.seconds, 1),
        }
        for outcome in outcomes
    ]


def write_results(outcomes: Sequence[Outcome], path: Path) -> None:
    """Writes results.json, whole or not at all."""
    write_atomic(path, json.dumps(records(outcomes), indent=2) + "\n")


def table(pair: str, outcomes: Sequence[Outcome]) -> Table:
    """The systems on one pair, side by side."""
    result = Table(
        title=f"{pair}: held-out phrases; exact match also by source units",
        title_justify="left",
    )
    result.add_column("system")
    result.add_column("exact match", justify="right")
    for bucket in outcomes[0].corpus.by_length:
        result.add_column(f"{bucket.low}-{bucket.high}", justify="right")
    for name in ("BLEU", "AER", "parameters", "seconds"):
        result.add_column(name, justify="right")
    for outcome in outcomes:
        result.add_row(
            outcome.entry.title,
            f"{outcome.corpus.exact_match:.3f}",
            *(f"{b.exact_match:.3f}" for b in outcome.corpus.by_length),
            f"{outcome.corpus.bleu:.1f}",
            f"{outcome.aer:.3f}" if outcome.aer < 1 else "no links",
            f"{outcome.parameters:,}",
            f"{outcome.seconds:.0f}",
        )
    return result


def draw_pictures(
    pair: str, language: Language, outcomes: Sequence[Outcome], folder: Path
) -> list[Path]:
    """Saves the alignments of one phrase and the figure of length, PNG and SVG."""
    buckets = outcomes[0].corpus.by_length
    index = examples(language.test, clearest(outcomes), 1)[0]
    panels = {
        outcome.entry.title: _panel(outcome, language.test[index], index)
        for outcome in outcomes
        if outcome.translations[index] is not None
    }
    series = {
        outcome.entry.title: [100 * b.exact_match for b in outcome.corpus.by_length]
        for outcome in outcomes
    }
    paths = []
    for suffix in ("png", "svg"):
        alignments = folder / f"alignments-{pair}.{suffix}"
        title = f"What each system reads, {pair}"
        alignment_grid(panels, alignments, columns=2, title=title)
        lengths = folder / f"length-{pair}.{suffix}"
        length_plot(
            series,
            [(b.low, b.high) for b in buckets],
            lengths,
            counts=[b.count for b in buckets],
            score="exact match, %",
            title=f"{pair}: whole phrases right, by source length",
        )
        paths += [alignments, lengths]
    return paths


def clearest(outcomes: Sequence[Outcome]) -> Outcome:
    """That of the system whose weights show best what it reads."""
    return min(outcomes, key=lambda outcome: outcome.aer)


def examples(test: Sequence[Pair], outcome: Outcome, count: int) -> list[int]:
    """Phrases of middling length to show: right ones first, then by reordering."""
    low, high = LENGTH_OF_EXAMPLES

    def rank(index: int) -> tuple[bool, int]:
        found = outcome.translations[index]
        wrong = found is None or found.text != test[index].target
        return wrong, -_displacement(test[index])

    lengths = [len(pair.source.split()) for pair in test]
    fitting = [i for i, length in enumerate(lengths) if low <= length <= high]
    ranked = sorted(fitting or range(len(test)), key=rank)
    # Some way apart: neighbours in this order are phrases of one kind.
    return ranked[:: max(1, len(ranked) // 12)][:count]


def show_examples(
    pair: str, language: Language, outcome: Outcome, console: Console, count: int = 2
) -> None:
    """Prints a few translations with their alignments."""
    for index in examples(language.test, outcome, count):
        given, found = language.test[index], outcome.translations[index]
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
    """Units without their marks, and the end of sentence."""
    return (
        [*map(strip_marks, given.source.split()), "</s>"],
        [*map(strip_marks, text.split()), "</s>"],
    )


def _panel(outcome: Outcome, given: Pair, index: int) -> Panel:
    found = outcome.translations[index]
    assert found is not None  # the caller has looked
    right = found.text == given.target
    gold = parse_pharaoh(given.alignment) if right else None
    return Panel(found.weights, *_words(given, found.text), gold)


def _displacement(pair: Pair) -> int:
    """How far sure links stand from the diagonal, in all."""
    return sum(abs(s - t) for s, t in parse_pharaoh(pair.alignment).sure)
