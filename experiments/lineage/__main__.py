"""`python -m experiments.lineage`: attention is invented, in a few minutes."""

import sys
import time
from pathlib import Path

import tyro
from rich.console import Console

from experiments.errors import UserError
from experiments.lineage import report
from experiments.lineage.config import ENTRIES, LineageConfig
from experiments.lineage.race import Outcome, Race, read_languages
from experiments.progress import duration


def run(config: LineageConfig, console: Console, progress: Console) -> list[Outcome]:
    """Runs the whole lineage.

    Args:
      config: what to run.
      console: for results.
      progress: for what is going on.

    Returns:
      The outcomes, system by system.

    Raises:
      UserError: if the folder is in use, or a pair is unknown.
    """
    start = time.perf_counter()
    folder = _new_folder(config.out)
    progress.print(f"generating phrases for {', '.join(config.pairs)}", style="bold")
    languages = read_languages(config)
    race = Race(config, languages)
    outcomes: list[Outcome] = []
    total = len(ENTRIES) * len(config.pairs)
    for entry in ENTRIES:
        progress.print(
            f"[{len(outcomes) + 1}-{len(outcomes) + len(config.pairs)} of {total}] "
            f"{entry.title}: training on {' and '.join(config.pairs)}",
            style="bold",
            markup=False,
        )
        for outcome in race.run(entry, folder):
            outcomes.append(outcome)
            progress.print(
                f"{entry.title}, {outcome.pair}: "
                f"{outcome.corpus.exact_match:.1%} of held-out phrases right "
                f"({duration(time.perf_counter() - start)} since the start)"
            )
    report.write_results(outcomes, folder / "results.json")
    _show(outcomes, languages, folder, console)
    console.print(
        f"\nresults, pictures and runs: {folder} "
        f"({duration(time.perf_counter() - start)})"
    )
    return outcomes


def _show(outcomes, languages, folder, console) -> None:  # type: ignore[no-untyped-def]
    for pair, language in languages.items():
        of_pair = [outcome for outcome in outcomes if outcome.pair == pair]
        report.draw_pictures(pair, language, of_pair, folder)
        report.show_examples(pair, language, of_pair[-1], console)
    for pair in languages:
        of_pair = [outcome for outcome in outcomes if outcome.pair == pair]
        console.print()
        console.print(report.table(pair, of_pair))


def _new_folder(out: Path | None) -> Path:
    """The folder asked for, or the first free one of the default names."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(
                f"out: expected a new or empty folder, got {out} (name another; "
                "nothing there was touched)"
            )
        out.mkdir(parents=True, exist_ok=True)
        return out
    number = 1
    while True:
        folder = Path("runs") / ("lineage" if number == 1 else f"lineage-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def main() -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    config = tyro.cli(LineageConfig, prog="python -m experiments.lineage")
    width = None if sys.stdout.isatty() else 120
    try:
        run(config, Console(width=width), Console(stderr=True, highlight=False))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
