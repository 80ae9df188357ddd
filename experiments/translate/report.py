"""Shows an evaluation: tables, and BLEU against source length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from experiments.cli.tables import print_table
from experiments.files import atomic_path
from experiments.translate.scores import Range

PICTURE = "pictures/bleu_by_length.png"
ENSEMBLE_PICTURE = "pictures/ensemble_by_length.png"


def print_report(record: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints an evaluation: the splits, then each by source length, then signatures.

    Args:
      record: what `evaluation.evaluate` returned.
      file: where to print; stdout if None.
    """
    splits: Mapping[str, Any] = record["splits"]
    aligned = any("aer" in scores for scores in splits.values())
    header = ["split", "pairs", "BLEU", "chrF", "exact match", "perplexity", "AER"]
    shown = len(header) if aligned else -1
    title = f"step {record['step']}, {record['parameters']:,} parameters"
    if "combine" in record:
        title += f", {len(record['members'])} runs ({record['combine']})"
    print_table(
        header[:shown],
        [_row(name, scores)[:shown] for name, scores in splits.items()],
        title=title,
        file=file,
    )
    print(file=file)
    print_table(
        ["split", "source words", "pairs", "BLEU", "exact match"],
        [
            [
                name,
                f"{bucket['low']}-{bucket['high']}",
                str(bucket["count"]),
                f"{bucket['bleu']:.1f}",
                f"{bucket['exact_match']:.3f}",
            ]
            for name, scores in splits.items()
            for bucket in scores["by_length"]
        ],
        title="by source length",
        file=file,
    )
    one = next(iter(splits.values()))
    print(f"\nBLEU|{one['bleu_signature']}\nchrF|{one['chrf_signature']}", file=file)


def _row(name: str, scores: Mapping[str, Any]) -> list[str]:
    return [
        name,
        str(scores["pairs"]),
        f"{scores['bleu']:.2f}",
        f"{scores['chrf']:.2f}",
        f"{scores['exact_match']:.3f}",
        f"{scores['perplexity']:.2f}",
        f"{scores['aer']:.3f}" if "aer" in scores else "",
    ]


def draw_lengths(
    splits: Mapping[str, Any], ranges: Sequence[Range], path: Path
) -> None:
    """Draws BLEU against source length, one line for each split."""
    # Imported here because matplotlib takes a second.
    from attnjax.viz import length_plot

    series = {}
    for name, scores in splits.items():
        found = {bucket["low"]: bucket["bleu"] for bucket in scores["by_length"]}
        series[name] = [found.get(low, float("nan")) for low, _ in ranges]
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as made:
        length_plot(series, ranges, made, x_label="words of the source")
