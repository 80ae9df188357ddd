"""The command of `python -m experiments.lineage`: attention is invented, in minutes."""

import itertools
import sys
import time
from pathlib import Path

import tyro
from rich.console import Console

from experiments.cli.exit_codes import exit_codes
from experiments.cli.progress import duration
from experiments.errors import UserError
from experiments.lineage import report
from experiments.lineage.config import ENTRIES, LineageConfig
from experiments.lineage.race import Outcome, Race, read_languages
from experiments.training.session import open_session


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
    folder = _folder(config.out, config.resume)
    progress.print(f"generating phrases for {', '.join(config.pairs)}", style="bold")
    languages = read_languages(config)
    race = Race(config, languages)
    outcomes: list[Outcome] = []
    total = len(ENTRIES) * len(config.pairs)
    with open_session(progress) as session:
        for outcome in race.run(folder, session):
            outcomes.append(outcome)
            session.screen.print(
                f"[{len(outcomes)} of {total}] {outcome.entry.title}, {outcome.pair}: "
                f"{outcome.corpus.exact_match:.1%} of held-out phrases right "
                f"({duration(time.perf_counter() - start)} since the start)",
                style="bold",
            )
    outcomes.sort(key=lambda o: (ENTRIES.index(o.entry), config.pairs.index(o.pair)))
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
        report.show_examples(pair, language, report.clearest(of_pair), console)
    for pair in languages:
        of_pair = [outcome for outcome in outcomes if outcome.pair == pair]
        console.print()
        console.print(report.table(pair, of_pair))


def _folder(out: Path | None, resume: bool) -> Path:
    """The folder asked for, or one of the default names: the newest or a new one."""
    if out is None:
        numbers = itertools.count(1)
        names = (f"lineage-{n}" if n > 1 else "lineage" for n in numbers)
        folders = (Path("runs") / name for name in names)
        there = list(itertools.takewhile(Path.exists, folders))
        if resume and there:
            return there[-1]
        out = Path("runs") / (f"lineage-{len(there) + 1}" if there else "lineage")
    if out.exists() and not resume and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"out: expected a new or empty folder, got {out} (name another, or go on "
            "with what is there by --resume; nothing was touched)"
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def main() -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    with exit_codes():
        config = tyro.cli(LineageConfig, prog="python -m experiments.lineage")
        width = None if sys.stdout.isatty() else 120
        run(config, Console(width=width), Console(stderr=True, highlight=False))
