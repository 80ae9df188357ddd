"""The figures as tables for a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.bench import trials

Records = list[dict[str, Any]]
PARTS = ("forward", "backward", "step")  # each holds the one before


def print_machine(machine: dict[str, Any]) -> None:
    """One line on what the figures are taken on."""
    _console().print(", ".join(f"{k} {v}" for k, v in machine.items()), style="dim")


def print_absent(packages: Sequence[str]) -> None:
    """One line on the peers that are missing from the tables."""
    absent = [package for package in packages if not trials.installed(package)]
    if absent:
        _console().print(f"not installed: {', '.join(absent)}", style="dim")


def recurrent_table(records: Records) -> None:
    """Milliseconds of each system, and how many times ours each takes."""
    table = Table("cell", "shape", "dtype", title="forward + backward, ms (x ours)")
    systems = list(dict.fromkeys(r["system"] for r in records))
    for name in systems:
        table.add_column(name, justify="right")
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for r in records:
        key = (r["cell"], _sizes(r["shape"]), r["dtype"])
        groups.setdefault(key, {})[r["system"]] = r["seconds"]
    for row, seconds in groups.items():
        table.add_row(*row, *(_beside(seconds, name) for name in systems))
    _console().print(table)


def gpt_table(records: Records) -> None:
    """Milliseconds and tokens a second of each system, and how many times ours."""
    table = Table("shape", "dtype", "system", title="GPT training step (x ours)")
    for name in ("ms", "tokens/s"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _of_all(records, "dtype"), strict=True):
        table.add_row(
            _sizes(r["shape"]),
            r["dtype"],
            r["system"],
            _beside(seconds, r["system"]),
            f"{r['tokens_per_second']:,.0f}",
        )
    _console().print(table)


def trained_table(records: Records) -> None:
    """Seconds of whole trainings, and what was learnt in them."""
    title = f"{records[0]['steps']:,} steps of {records[0]['config']}, seconds (x ours)"
    table = Table("dtype", "system", title=title)
    for name in ("first step", "all steps", "validation", "validation loss"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _of_all(records, "dtype"), strict=True):
        table.add_row(
            r["dtype"],
            r["system"],
            f"{r['first_step_seconds']:.1f}",
            _beside(seconds, r["system"], unit=1),
            f"{r['validation_seconds']:.1f}",
            f"{r['validation_loss']:.4f}",
        )
    _console().print(table)


def train_table(records: Records) -> None:
    """Milliseconds of each part, and target tokens a second of the whole step."""
    table = Table("shape (B S T)", "dtype", "system", title="training step, ms")
    for name in ("forward", "+ backward", "+ update", "tokens/s", "padded/s"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for r in records:
        sizes = " ".join(str(r["shape"][letter]) for letter in "BST")
        groups.setdefault((sizes, r["dtype"], r["system"]), {})[r["part"]] = r
    for which, parts in groups.items():
        times = [f"{1e3 * parts[p]['seconds']:.0f}" for p in PARTS]
        step = parts["step"]
        rates = [step["tokens_per_second"], step["padded_tokens_per_second"]]
        table.add_row(*which, *times, *(f"{rate:,.0f}" for rate in rates))
    _console().print(table)
    for (dtype, system), rate in epoch_rates(records).items():
        _console().print(
            f"{dtype} {system}: {rate:,.0f} target tokens/s over these shapes"
        )


def compile_table(records: Records) -> None:
    """Seconds to compile for each depth, and how many times the first one's."""
    table = Table("layers", "dtype", title="compiling a training step")
    for name in ("seconds", "x the first"):
        table.add_column(name, justify="right")
    first: dict[str, float] = {}
    for r in records:
        base = first.setdefault(r["dtype"], r["seconds"])
        table.add_row(
            f"{r['layers']}+{r['layers']}",
            r["dtype"],
            f"{r['seconds']:.1f}",
            f"{r['seconds'] / base:.2f}",
        )
    _console().print(table)


def utilisation_table(records: Records) -> None:
    """Time and rates of each system's step, and its share of the products' rate."""
    best = {r["dtype"]: r["matmul_flops_per_second"] for r in records}
    title = ", ".join(f"{_tera(rate)} TFLOP/s in {d}" for d, rate in best.items())
    table = Table(
        "model", "shape", "dtype", "system", title=f"training step; products: {title}"
    )
    for name in ("ms (x ours)", "tokens/s", "TFLOP/s", "share"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _of_all(records, "model", "dtype"), strict=True):
        table.add_row(
            r["model"],
            _sizes(r["shape"]),
            r["dtype"],
            r["system"],
            _beside(seconds, r["system"]),
            f"{r['tokens_per_second']:,.0f}",
            _tera(r["flops_per_second"]),
            f"{r['utilisation']:.1%}",
        )
    _console().print(table)


def decode_table(records: Records) -> None:
    """Sentences a second, and how many translations are the same as ours."""
    title = f"beam search, {records[0]['sentences']} sentences, {records[0]['model']}"
    table = Table("system", "dtype", title=title)
    for name in ("seconds", "sentences/s", "same as ours"):
        table.add_column(name, justify="right")
    for r in records:
        same = r.get("same")
        table.add_row(
            r["system"],
            r["dtype"],
            f"{r['seconds']:.2f}",
            f"{r['sentences_per_second']:,.0f}",
            "" if same is None else f"{same:.1%}",
        )
    _console().print(table)


def epoch_rates(records: Records) -> dict[tuple[str, str], float]:
    """Tokens a second over the shapes that were timed, weighted as in an epoch."""
    totals: dict[tuple[str, str], tuple[float, float]] = {}
    for r in records:
        if r["part"] == "step":
            tokens, seconds = totals.get((r["dtype"], r["system"]), (0.0, 0.0))
            batches = r["shape"]["batches"]
            totals[r["dtype"], r["system"]] = (
                tokens + batches * r["shape"]["target_tokens"],
                seconds + batches * r["seconds"],
            )
    return {which: tokens / seconds for which, (tokens, seconds) in totals.items()}


def _of_all(records: Records, *alike: str) -> list[dict[str, float]]:
    """For each record the seconds of all systems in those that are alike."""
    which = [tuple(r[name] for name in alike) for r in records]
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for group, r in zip(which, records, strict=True):
        groups.setdefault(group, {})[r["system"]] = r["seconds"]
    return [groups[group] for group in which]


def _beside(seconds: dict[str, float], name: str, unit: float = 1e-3) -> str:
    if name not in seconds:
        return ""
    figure = f"{seconds[name] / unit:.1f}"
    ours = seconds.get("attnjax")
    if ours is None or name == "attnjax":
        return figure
    return f"{figure} ({seconds[name] / ours:.2f})"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.3g}"


def _sizes(shape: dict[str, int]) -> str:
    return " ".join(f"{letter}{size}" for letter, size in shape.items())


def _console() -> Console:
    # A table that is piped into a file keeps its lines whole.
    console = Console()
    return console if console.is_terminal else Console(width=120)
