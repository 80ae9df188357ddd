"""The commands of `python -m experiments.bench`, as dataclasses with `run`."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.bench.timing import describe_machine
from experiments.cli.commands import run_command
from experiments.errors import UserError

Cell = Literal["gru", "lstm", "decoder"]
Dtype = Literal["float32", "bfloat16"]
Published = Literal["wmt14-transformer-big", "gpt2-124m"]
Records = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is timed how often, and where the figures go."""

    repeats: int = 10
    """Turns of each system; the figure is their median."""
    clock: Literal["wall", "cpu"] = "wall"
    """By the clock, or least processor time of all cores (on a busy machine)."""
    tiny: bool = False
    """Sizes that only show that it runs."""
    out: Path | None = None
    """File for all figures, as JSON."""

    def check(self) -> None:
        """Refuses what cannot be timed or written, before anything is timed."""
        _at_least_one(self.repeats, "--repeats")
        if self.out is not None and not self.out.parent.is_dir():
            raise UserError(
                f"--out: expected a file in an existing folder, got {self.out} "
                f"(make {self.out.parent} first)"
            )

    def measure(
        self,
        time: Callable[[Any], Records],
        table: Callable[[Records], None],
        peers: Sequence[str] = (),
    ) -> None:
        """Times, prints a table, writes the figures where asked."""
        from experiments.bench.tables import print_absent, print_machine

        self.check()
        machine = describe_machine()
        print_machine(machine)
        print_absent(peers)
        records = time(self)
        table(records)
        if self.out is not None:
            result = {"machine": machine, "clock": self.clock, "records": records}
            self.out.write_text(json.dumps(result, indent=1) + "\n")
            print(f"figures: {self.out}", file=sys.stderr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against(Options):
    """What is timed beside what."""

    systems: tuple[str, ...] = ()
    """Only these systems, by the names in the table (default: all installed)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class InDtypes(Against):
    """What is timed beside what, and in which numbers."""

    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    """Dtypes of computation; weights are float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(InDtypes):
    """Times one forward and backward pass of GRU, LSTM and the RNNSearch decoder.

    Ours beside plain lax.scan, flax.nnx.RNN and, where installed, PyTorch. All
    gradients are taken: of inputs, start and every weight.
    """

    cells: tuple[Cell, ...] = ("gru", "lstm", "decoder")
    """What to time."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.tables import recurrent_table
        from experiments.bench.trials import time_recurrent

        self.measure(time_recurrent, recurrent_table, ["torch"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT(InDtypes):
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
        from experiments.bench.cases.gpt import time_gpt, train_gpt
        from experiments.bench.tables import gpt_table, trained_table

        work = (
            (time_gpt, gpt_table) if self.text is None else (train_gpt, trained_table)
        )
        self.measure(*work, ["torch"])

    def check(self) -> None:
        """As of `Options`."""
        super().check()
        _at_least_one(self.steps, "--steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(InDtypes):
    """Times training steps at Multi30k's shapes, in target tokens a second.

    Random ids in the batch shapes of the real data; no data are needed. A whole
    step is loss, gradients, clipping and Adam, beside the same in PyTorch, whose
    bfloat16 is autocast.
    """

    model: Literal["rnnsearch", "fixed-vector", "transformer"] = "rnnsearch"
    """RNNSearch or the fixed vector with embeddings of 256 and 512 units, or a
    Transformer of 4+4 layers: width 256, feed-forward 1,024, 8 heads."""
    shapes: int = 1
    """How many of the 8 batch shapes, most frequent first."""
    systems: tuple[str, ...] = ()
    """Only these systems, by the names in the table (default: all installed); with
    torch-compiled also PyTorch through torch.compile, which takes minutes."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.cases.training import time_training
        from experiments.bench.tables import train_table

        self.measure(time_training, train_table, ["torch"])

    def check(self) -> None:
        """As of `Options`."""
        super().check()
        _at_least_one(self.shapes, "--shapes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compile(Options):
    """Times the compiling of the Transformer's training step, shallow and deep.

    From the call to the compiled step: tracing, lowering, compiling, with all caches
    empty. Layers are scanned, so the time should hardly grow with their number.
    """

    repeats: int = 3
    """Turns of each depth; the figure is their median."""
    layers: tuple[int, ...] = (4, 24)
    """Of the encoder, and as many of the decoder."""
    dtypes: tuple[Dtype, ...] = ("float32",)
    """Dtypes of computation."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.cases.compiling import time_compiling
        from experiments.bench.tables import compile_table

        self.measure(time_compiling, compile_table)

    def check(self) -> None:
        """As of `Options`."""
        super().check()
        for layers in self.layers:
            _at_least_one(layers, "--layers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utilisation(InDtypes):
    """Times training steps of published sizes, and how much of the chip they use.

    The big Transformer at 25,000 tokens a side and GPT-2 at 491,520, on random ids:
    made for an accelerator. The share is of what large products do here in that dtype.
    Beside PyTorch, on the same device, eager and, where it works, compiled.
    """

    dtypes: tuple[Dtype, ...] = ("bfloat16",)
    """Dtypes of computation; weights are float32."""
    models: tuple[Published, ...] = ("wmt14-transformer-big", "gpt2-124m")
    """What to train."""
    rows: int | None = None
    """Rows of a batch, taken at once, in place of the published batch."""
    matmul_size: int = 8192
    """Rows and columns of the large products."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.cases.utilisation import time_utilisation
        from experiments.bench.tables import utilisation_table

        self.measure(time_utilisation, utilisation_table, ["torch"])

    def check(self) -> None:
        """As of `Options`."""
        super().check()
        _at_least_one(self.matmul_size, "--matmul-size")
        if self.rows is not None:
            _at_least_one(self.rows, "--rows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(Against):
    """Times beam search with a Transformer, in sentences a second.

    Ours in float32 beside CTranslate2, where installed, with the same weights in
    float32 and in int8 and as many threads as there are cores. Without --run, weights
    and sources are random, and hypotheses as long as the longest source of a batch.
    """

    repeats: int = 5
    """Turns of each system; the figure is their median."""
    model: Literal["transformer", "small"] = "transformer"
    """4+4 layers: of width 256, feed-forward 1,024 and 8 heads; or small: of width
    128, feed-forward 256 and 4 heads."""
    folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """A trained run of `experiments.translate`: its weights and its test set."""
    checkpoint: str = "best"
    """Of that run: best or last."""
    raw_dir: Path | None = None
    """Where that run's raw data are now, if they have moved."""
    sentences: int = 1_000
    """How many are translated; at most."""
    rows: int = 64
    """Sentences of a batch; they are sorted by length."""
    beam_size: int = 5
    """Hypotheses followed at a time."""

    def run(self) -> None:
        """Times, prints a table, writes the figures."""
        from experiments.bench.cases.decoding import time_decoding
        from experiments.bench.tables import decode_table

        self.measure(time_decoding, decode_table, ["ctranslate2"])

    def check(self) -> None:
        """As of `Options`."""
        super().check()
        _at_least_one(self.sentences, "--sentences")
        _at_least_one(self.rows, "--rows")
        _at_least_one(self.beam_size, "--beam-size")


Command = (
    Annotated[Recurrent, tyro.conf.subcommand("recurrent", prefix_name=False)]
    | Annotated[GPT, tyro.conf.subcommand("gpt", prefix_name=False)]
    | Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[Compile, tyro.conf.subcommand("compile", prefix_name=False)]
    | Annotated[Utilisation, tyro.conf.subcommand("utilisation", prefix_name=False)]
    | Annotated[Decode, tyro.conf.subcommand("decode", prefix_name=False)]
)


def _at_least_one(number: int, name: str) -> None:
    if number < 1:
        raise UserError(f"{name}: expected at least 1, got {number}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end it with code 2."""
    run_command(
        Command,
        prog="python -m experiments.bench",
        description="Time what we do beside what the peers do.",
        arguments=arguments,
    )
