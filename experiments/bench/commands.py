"""The commands of `python -m experiments.bench`, as dataclasses with `run`."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.bench.timing import describe_machine
from experiments.errors import UserError

Cell = Literal["gru", "lstm", "decoder"]
Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is timed how often, and where the figures go."""

    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    """Dtypes of computation; weights are float32."""
    repeats: int = 10
    """Turns of each system; the figure is their median."""
    clock: Literal["wall", "cpu"] = "wall"
    """By the clock, or least processor time of all cores (on a busy machine)."""
    systems: tuple[str, ...] = ()
    """Only these systems, by the names in the table (default: all installed)."""
    tiny: bool = False
    """Sizes that only show that it runs."""
    out: Path | None = None
    """File for all figures, as JSON."""

    def check(self) -> None:
        """Refuses what cannot be timed or written, before anything is timed."""
        if self.repeats < 1:
            raise UserError(f"--repeats: expected at least 1, got {self.repeats}")
        if self.out is not None and not self.out.parent.is_dir():
            raise UserError(
                f"--out: expected a file in an existing folder, got {self.out} "
                f"(make {self.out.parent} first)"
            )

    def finish(self, records: list[dict[str, Any]], machine: dict[str, Any]) -> None:
        """Writes the figures where asked."""
        if self.out is None:
            return
        result = {"machine": machine, "clock": self.clock, "records": records}
        self.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"figures: {self.out}", file=sys.stderr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(Options):
    """Times one forward and backward pass of GRU, LSTM and the RNNSearch decoder.

    Ours beside plain lax.scan, flax.nnx.RNN and, where installed, PyTorch. All
    gradients are taken: of inputs, start and every weight.
    """

    cells: tuple[Cell, ...] = ("gru", "lstm", "decoder")
    """What to time."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.tables import print_machine, recurrent_table
        from experiments.bench.trials import time_recurrent

        self.check()
        machine = describe_machine()
        print_machine(machine)
        records = time_recurrent(self)
        recurrent_table(records)
        self.finish(records, machine)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT(Options):
    """Times a training step of nanoGPT's set-up for a CPU, or trains it on a text.

    The config shakespeare-char on random ids, beside the same in PyTorch, eager and,
    where it works, compiled. With a text every system is trained on it, from the same
    weights and on the same crops: how long does it take, and what is learnt?
    """

    dtypes: tuple[Dtype, ...] = ("float32",)
    """Dtypes of computation; weights are float32."""
    text: Path | None = None
    """File to train on, its last tenth to validate on; --repeats is not used then."""
    steps: int = 2_000
    """Updates, over which the learning rate falls."""

    def run(self) -> None:
        """Times or trains, prints a table, writes the figures."""
        from experiments.bench.gpt import time_gpt, train_gpt
        from experiments.bench.tables import gpt_table, print_machine, trained_table

        self.check()
        if self.steps < 1:
            raise UserError(f"--steps: expected at least 1, got {self.steps}")
        machine = describe_machine()
        print_machine(machine)
        records = time_gpt(self) if self.text is None else train_gpt(self)
        (gpt_table if self.text is None else trained_table)(records)
        self.finish(records, machine)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Options):
    """Times training steps of the Multi30k configs, in target tokens a second.

    Random ids in the batch shapes of the real data; no data are needed. A whole
    step is loss, gradients, clipping and Adam, beside the same in PyTorch.
    """

    model: Literal["rnnsearch", "fixed-vector"] = "rnnsearch"
    """The model of the config multi30k-rnnsearch or multi30k-fixed-vector."""
    shapes: int = 1
    """How many of the 8 batch shapes, most frequent first."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.tables import print_machine, train_table
        from experiments.bench.training import time_training

        self.check()
        machine = describe_machine()
        print_machine(machine)
        records = time_training(self)
        train_table(records)
        self.finish(records, machine)


Command = (
    Annotated[Recurrent, tyro.conf.subcommand("recurrent", prefix_name=False)]
    | Annotated[GPT, tyro.conf.subcommand("gpt", prefix_name=False)]
    | Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    command: Any = tyro.cli(
        Command,  # type: ignore[arg-type]
        prog="python -m experiments.bench",
        description="Time our cells and training steps beside the peers'.",
        args=arguments,
    )
    try:
        command.run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
