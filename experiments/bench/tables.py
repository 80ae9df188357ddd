"""Prints the records of a benchmark as tables."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.bench.systems import ATTNJAX, is_installed
from experiments.bench.timing import TOO_SLOW

Records = list[dict[str, Any]]
PARTS = ("forward", "backward", "step")  # each includes the one before


def print_machine(machine: dict[str, Any]) -> None:
    """Prints the description of the machine in one line."""
    _console().print(", ".join(f"{k} {v}" for k, v in machine.items()), style="dim")


def print_missing(packages: Sequence[str]) -> None:
    """Prints which optional packages are not installed, if any."""
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        _console().print(f"not installed: {', '.join(missing)}", style="dim")


def print_left_out(records: Records) -> None:
    """Prints a note about each system that was too slow to be timed."""
    for r in records:
        if r.get("left_out"):
            labels = (r.get(name) for name in ("model", "cell", "dtype", "system"))
            _console().print(
                f"left out: {' '.join(str(x) for x in labels if x)}, more than "
                f"{TOO_SLOW} times slower than attnjax ({r['seconds']:.1f} s a call)"
            )


def recurrent_table(records: Records) -> None:
    """Prints milliseconds of each system, and the ratio to attnjax."""
    table = Table("cell", "shape", "dtype", title="forward + backward, ms (x attnjax)")
    systems = list(dict.fromkeys(r["system"] for r in records))
    for name in systems:
        table.add_column(name, justify="right")
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for r in records:
        key = (r["cell"], _sizes(r["shape"]), r["dtype"])
        groups.setdefault(key, {})[r["system"]] = r["seconds"]
    for row, seconds in groups.items():
        table.add_row(*row, *(_with_ratio(seconds, name) for name in systems))
    _console().print(table)


def gpt_table(records: Records) -> None:
    """Prints milliseconds and tokens per second of each system."""
    table = Table("shape", "dtype", "system", title="GPT training step (x attnjax)")
    for name in ("ms", "tokens/s"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _system_seconds(records, "dtype"), strict=True):
        table.add_row(
            _sizes(r["shape"]),
            r["dtype"],
            r["system"],
            _with_ratio(seconds, r["system"]),
            f"{r['tokens_per_second']:,.0f}",
        )
    _console().print(table)


def memory_table(records: Records) -> None:
    """Prints milliseconds and sequences per second of each system."""
    title = "training step of a Neural Turing Machine (x attnjax)"
    table = Table("shape", "dtype", "system", title=title)
    for name in ("ms", "sequences/s"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _system_seconds(records, "dtype"), strict=True):
        table.add_row(
            _sizes(r["shape"]),
            r["dtype"],
            r["system"],
            _with_ratio(seconds, r["system"]),
            f"{r['sequences_per_second']:,.0f}",
        )
    _console().print(table)


def lattice_table(records: Records) -> None:
    """Prints milliseconds and peak memory of each system."""
    title = "loss and gradient of a transducer (x attnjax)"
    table = Table("shape", "dtype", "system", title=title)
    for name in ("ms", "peak memory, x logits"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _system_seconds(records, "dtype"), strict=True):
        memory = "" if r["memory"] is None else f"{r['memory']:.2f}"
        timed = _with_ratio(seconds, r["system"])
        table.add_row(_sizes(r["shape"]), r["dtype"], r["system"], timed, memory)
    _console().print(table)


def trained_table(records: Records) -> None:
    """Prints seconds of whole training runs, and their validation losses."""
    title = f"{records[0]['steps']:,} steps of {records[0]['config']}, seconds"
    table = Table("dtype", "system", title=title)
    for name in ("first step", "all (x attnjax)", "validation", "validation loss"):
        table.add_column(name, justify="right")
    for r, seconds in zip(records, _system_seconds(records, "dtype"), strict=True):
        table.add_row(
            r["dtype"],
            r["system"],
            f"{r['first_step_seconds']:.1f}",
            _with_ratio(seconds, r["system"], unit=1),
            f"{r['validation_seconds']:.1f}",
            f"{r['validation_loss']:.4f}",
        )
    _console().print(table)


def train_table(records: Records) -> None:
    """Prints milliseconds of each part, and target tokens per second of the step."""
    table = Table("shape (B S T)", "dtype", "system", title="training step, ms")
    for name in ("forward", "+ backward", "+ update", "tokens/s", "with padding"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for r in records:
        sizes = " ".join(str(r["shape"][letter]) for letter in "BST")
        groups.setdefault((sizes, r["dtype"], r["system"]), {})[r["part"]] = r
    for row, parts in groups.items():
        times = [f"{1e3 * parts[p]['seconds']:.0f}" for p in PARTS]
        step = parts["step"]
        rates = [step["tokens_per_second"], step["padded_tokens_per_second"]]
        table.add_row(*row, *times, *(f"{rate:,.0f}" for rate in rates))
    _console().print(table)
    for (dtype, system), rate in epoch_rates(records).items():
        _console().print(
            f"{dtype} {system}: {rate:,.0f} target tokens/s, mean over these shapes"
        )


def compile_table(records: Records) -> None:
    """Prints compile times by number of layers, and the ratio to the first."""
    table = Table("layers", "dtype", title="compile time of a training step")
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
    """Prints time, rates and model-FLOPs utilisation of each system's step."""
    matmul = {r["dtype"]: r["matmul_flops_per_second"] for r in records}
    rates = ", ".join(f"{_tera(rate)} TFLOP/s in {d}" for d, rate in matmul.items())
    title = f"training step; large matrix products: {rates}"
    table = Table("model", "shape", "dtype", "system", title=title)
    for name in ("ms (x attnjax)", "tokens/s", "TFLOP/s", "utilisation"):
        table.add_column(name, justify="right")
    for r, seconds in zip(
        records, _system_seconds(records, "model", "dtype"), strict=True
    ):
        table.add_row(
            r["model"],
            _sizes(r["shape"]),
            r["dtype"],
            r["system"],
            _with_ratio(seconds, r["system"]),
            f"{r['tokens_per_second']:,.0f}",
            _tera(r["flops_per_second"]),
            f"{r['utilisation']:.1%}",
        )
    _console().print(table)


def decode_table(records: Records) -> None:
    """Prints sentences per second, and the share of equal translations."""
    title = f"beam search, {records[0]['sentences']} sentences, {records[0]['model']}"
    table = Table("system", "dtype", title=title)
    for name in ("seconds", "sentences/s", "same as attnjax"):
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
    """Target tokens per second over all timed shapes, weighted by their frequency.

    Returns:
      Rates by dtype and system.
    """
    totals: dict[tuple[str, str], tuple[float, float]] = {}
    for r in records:
        if r["part"] == "step":
            tokens, seconds = totals.get((r["dtype"], r["system"]), (0.0, 0.0))
            batches = r["shape"]["batches"]
            totals[r["dtype"], r["system"]] = (
                tokens + batches * r["shape"]["target_tokens"],
                seconds + batches * r["seconds"],
            )
    return {key: tokens / seconds for key, (tokens, seconds) in totals.items()}


def _system_seconds(records: Records, *labels: str) -> list[dict[str, float]]:
    """For each record, the seconds of all systems with the same labels."""
    keys = [tuple(r[label] for label in labels) for r in records]
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for key, r in zip(keys, records, strict=True):
        groups.setdefault(key, {})[r["system"]] = r["seconds"]
    return [groups[key] for key in keys]


def _with_ratio(seconds: dict[str, float], name: str, unit: float = 1e-3) -> str:
    if name not in seconds:
        return ""
    figure = f"{seconds[name] / unit:.1f}"
    ours = seconds.get(ATTNJAX)
    if ours is None or name == ATTNJAX:
        return figure
    return f"{figure} ({seconds[name] / ours:.2f})"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.3g}"


def _sizes(shape: dict[str, int]) -> str:
    return " ".join(f"{letter}{size}" for letter, size in shape.items())


def _console() -> Console:
    # rich assumes 80 columns when stdout is not a terminal, too few for some tables.
    console = Console()
    return console if console.is_terminal else Console(width=120)
