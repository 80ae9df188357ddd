"""The command of `python -m experiments.lineage`: compares the systems in minutes."""

import itertools
import sys
import time
from pathlib import Path

import tyro
from rich.console import Console

from experiments.cli.compilation_cache import use_compilation_cache
from experiments.cli.exit_codes import exit_codes
from experiments.cli.progress import duration
from experiments.errors import UserError
from experiments.lineage import report
from experiments.lineage.compare import Comparison, Language, Result, read_languages
from experiments.lineage.config import LineageConfig
from experiments.training.session import open_session


def run(config: LineageConfig, console: Console, progress: Console) -> list[Result]:
    """Runs the whole lineage.

    Args:
      config: the settings.
      console: shows results.
      progress: shows progress.

    Returns:
      The results, system by system.

    Raises:
      UserError: if a setting is invalid, or the folder is in use.
    """
    start = time.perf_counter()
    config.check()
    folder = _folder(config.out, config.resume)
    report.check_outputs(config.pairs, folder)
    progress.print(f"generating phrases for {', '.join(config.pairs)}", style="bold")
    languages = read_languages(config)
    comparison = Comparison(config, languages)
    results: list[Result] = []
    systems = config.chosen
    total = len(systems) * len(config.pairs)
    with open_session(progress) as session:
        for result in comparison.run(folder, session):
            results.append(result)
            session.screen.print(
                f"[{len(results)} of {total}] {result.system.title}, {result.pair}: "
                f"{result.corpus.exact_match:.1%} of held-out phrases right "
                f"({duration(time.perf_counter() - start)} since the start)",
                style="bold",
            )
    results.sort(key=lambda r: (systems.index(r.system), config.pairs.index(r.pair)))
    report.write_results(results, folder)
    _show(results, languages, folder, console)
    console.print(
        f"\nresults, pictures and runs: {folder} "
        f"({duration(time.perf_counter() - start)})"
    )
    return results


def _show(
    results: list[Result],
    languages: dict[str, Language],
    folder: Path,
    console: Console,
) -> None:
    for pair, language in languages.items():
        of_pair = [result for result in results if result.pair == pair]
        report.draw_pictures(pair, language, of_pair, folder)
        report.show_examples(pair, language, report.clearest(of_pair), console)
    for pair in languages:
        of_pair = [result for result in results if result.pair == pair]
        console.print()
        console.print(report.table(pair, of_pair))


def _folder(out: Path | None, resume: bool) -> Path:
    """Returns `out`, or a folder with a default name: the newest, or a new one."""
    if out is None:
        numbers = itertools.count(1)
        names = (f"lineage-{n}" if n > 1 else "lineage" for n in numbers)
        folders = (Path("runs") / name for name in names)
        existing = list(itertools.takewhile(Path.exists, folders))
        if resume and existing:
            return existing[-1]
        out = Path("runs") / (f"lineage-{len(existing) + 1}" if existing else "lineage")
    if out.exists() and not resume and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"out: expected a new or empty folder, got {out} (name another, or "
            "resume the lineage in it with --resume; nothing was changed)"
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def main() -> None:
    """Runs the command line; an invalid argument ends it with code 2."""
    with exit_codes():
        config = tyro.cli(LineageConfig, prog="python -m experiments.lineage")
        use_compilation_cache(config.compilation_cache)
        width = None if sys.stdout.isatty() else 120
        run(config, Console(width=width), Console(stderr=True, highlight=False))
