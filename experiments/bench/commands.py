"""The commands of `python -m experiments.bench`, as dataclasses with `run`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.bench.options import (
    Dtype,
    DtypeOptions,
    Options,
    SystemOptions,
    at_least_one,
)
from experiments.cli.commands import run_command
from experiments.errors import UserError

Cell = Literal["gru", "lstm", "deep_lstm", "decoder"]
PublishedModel = Literal["wmt14-transformer-big", "gpt2-124m"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(DtypeOptions):
    """Times a forward and backward pass of GRU, LSTM, deep LSTM, RNNSearch's decoder.

    attnjax is compared with plain lax.scan, flax.nnx.RNN and, where it is installed,
    PyTorch. The backward pass returns the gradients of all inputs and parameters.
    """

    cells: tuple[Cell, ...] = ("gru", "lstm", "deep_lstm", "decoder")
    """Cells to time."""

    def run(self) -> None:
        """Times the cells, prints a table and writes the timings."""
        from experiments.bench.cases.recurrent import time_recurrent
        from experiments.bench.tables import recurrent_table

        self.report(time_recurrent, recurrent_table, ["torch"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT(DtypeOptions):
    """Times a training step of nanoGPT's configuration for a CPU, or a whole training.

    The model is the config shakespeare-char on random ids. It is compared with
    PyTorch, eager and, where torch.compile works, compiled. With --text, every system
    is trained on that text, from the same parameters and on the same batches, and the
    validation losses are reported too.
    """

    dtypes: tuple[Dtype, ...] = ("float32",)
    """Compute dtypes to time; parameters are always float32."""
    text: Path | None = None
    """Text file to train on; its last tenth is the validation split."""
    steps: int = 2_000
    """Number of optimisation steps, over which the learning rate decays."""

    def run(self) -> None:
        """Times a step or a training, prints a table and writes the timings."""
        from experiments.bench.cases.gpt import time_gpt, train_gpt
        from experiments.bench.tables import gpt_table, trained_table

        if self.text is None:
            self.report(time_gpt, gpt_table, ["torch"])
        else:
            self.report(train_gpt, trained_table, ["torch"])

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        at_least_one(self.steps, "--steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(DtypeOptions):
    """Times training steps in the batch shapes of Multi30k, in tokens per second.

    RNNSearch and the fixed-vector model have embeddings of width 256 and 512 units; the
    Transformer has 4+4 layers, width 256, MLP width 1,024 and 8 heads.

    Tokens are counted on the target side, without padding. Their ids are random, so no
    data set is needed. A step consists of loss, gradients,
    gradient clipping and Adam. It is compared with PyTorch, whose bfloat16 is autocast.
    """

    model: Literal["rnnsearch", "fixed-vector", "transformer"] = "rnnsearch"
    """Model to train."""
    shapes: int = 1
    """Number of batch shapes to time, of 8, the most frequent first."""
    systems: tuple[str, ...] = ()
    """Systems to time; none given means all installed except torch-compiled."""

    def run(self) -> None:
        """Times the steps, prints a table and writes the timings."""
        from experiments.bench.cases.training import time_training
        from experiments.bench.tables import train_table

        self.report(time_training, train_table, ["torch"])

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        at_least_one(self.shapes, "--shapes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compile(Options):
    """Times the compilation of the Transformer's training step, shallow and deep.

    It includes tracing, lowering and compiling, with all caches empty. The layers are
    scanned, so the time should hardly depend on their number.
    """

    repeats: int = 3
    """Number of timed compilations of each depth; the median is reported."""
    layers: tuple[int, ...] = (4, 24)
    """Numbers of layers to compile, in the encoder and in the decoder each."""
    dtypes: tuple[Dtype, ...] = ("float32",)
    """Compute dtypes to compile for."""

    def run(self) -> None:
        """Times compilations, prints a table and writes the timings."""
        from experiments.bench.cases.compiling import time_compiling
        from experiments.bench.tables import compile_table

        self.report(time_compiling, compile_table)

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        for layers in self.layers:
            at_least_one(layers, "--layers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utilisation(DtypeOptions):
    """Times training steps of published models, with model-FLOPs utilisation (MFU).

    The models are the big Transformer at 25,000 tokens per side and GPT-2 at 491,520
    tokens, on random ids; these batches are meant for an accelerator. MFU is relative
    to the measured FLOP/s of large matrix products in the same dtype. PyTorch is timed
    on the same device, eager and, where torch.compile works, compiled.
    """

    dtypes: tuple[Dtype, ...] = ("bfloat16",)
    """Compute dtypes to time; parameters are always float32."""
    models: tuple[PublishedModel, ...] = ("wmt14-transformer-big", "gpt2-124m")
    """Models to train."""
    rows: int | None = None
    """Batch size in rows, instead of the published batch; nothing is accumulated."""
    matmul_size: int = 8192
    """Number of rows and columns of the large matrix products."""

    def run(self) -> None:
        """Times the steps, prints a table and writes the timings."""
        from experiments.bench.cases.utilisation import time_utilisation
        from experiments.bench.tables import utilisation_table

        self.report(time_utilisation, utilisation_table, ["torch"])

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        at_least_one(self.matmul_size, "--matmul-size")
        if self.rows is not None:
            at_least_one(self.rows, "--rows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory(SystemOptions):
    """Times a training step of a Neural Turing Machine that copies 20 vectors.

    The batch has 32 sequences of 41 steps, the tape 128 rows of 20. It is compared with
    the same cell in PyTorch, eager and, where it is named in --systems and works,
    compiled.
    """

    repeats: int = 15
    """Number of timed steps of each system; the median is reported."""

    def run(self) -> None:
        """Times the steps, prints a table and writes the timings."""
        from experiments.bench.cases.memory import time_memory
        from experiments.bench.tables import memory_table

        self.report(time_memory, memory_table, ["torch"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lattice(SystemOptions):
    """Times loss and gradient of a transducer, from logits of its whole alphabet.

    attnjax is compared with a scan over rows of the lattice, differentiated
    automatically, and with warprnnt-numba and torchaudio where they are installed. The
    memory is the compiled program's peak, where the gradient may overwrite the logits,
    in sizes of the logits.
    """

    repeats: int = 5
    """Number of timed calls of each system; the median is reported."""
    batch: int = 16
    """Number of lattices."""
    frames: int = 200
    """Number of frames of each."""
    labels: int = 50
    """Number of labels of each."""
    alphabet: int = 1_000
    """Number of ids, the blank among them."""

    def run(self) -> None:
        """Times the losses, prints a table and writes the timings."""
        from experiments.bench.cases.lattice import time_lattice
        from experiments.bench.tables import lattice_table

        self.report(time_lattice, lattice_table, ["warprnnt_numba", "torchaudio"])

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        for name in ("batch", "frames", "labels"):
            at_least_one(getattr(self, name), f"--{name}")
        if self.alphabet < 2:
            raise UserError(f"--alphabet: expected at least 2, got {self.alphabet}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode(SystemOptions):
    """Times beam search with a Transformer, in sentences per second.

    attnjax in float32 is compared with CTranslate2, where it is installed, with the
    same parameters in float32 and in int8, on all cores. Without --run, parameters and
    sources are random, and every hypothesis is as long as the longest source of its
    batch.
    """

    repeats: int = 5
    """Number of timed calls of each system; the median is reported."""
    model: Literal["transformer", "small"] = "transformer"
    """Size of the Transformer with 4+4 layers: width 256, or small: width 128."""
    folder: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Folder of a translation run, whose parameters and test set are used."""
    checkpoint: str = "best"
    """Checkpoint of the run: best or last."""
    raw_dir: Path | None = None
    """Folder of the run's raw data, if it has moved."""
    sentences: int = 1_000
    """Maximum number of sentences to translate."""
    rows: int = 64
    """Number of sentences per batch; sentences are sorted by length."""
    beam_size: int = 5
    """Beam size."""

    def run(self) -> None:
        """Times the decoders, prints a table and writes the timings."""
        from experiments.bench.cases.decoding import time_decoding
        from experiments.bench.tables import decode_table

        self.report(time_decoding, decode_table, ["ctranslate2"])

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        super().check()
        at_least_one(self.sentences, "--sentences")
        at_least_one(self.rows, "--rows")
        at_least_one(self.beam_size, "--beam-size")


Command = (
    Annotated[Recurrent, tyro.conf.subcommand("recurrent", prefix_name=False)]
    | Annotated[GPT, tyro.conf.subcommand("gpt", prefix_name=False)]
    | Annotated[Train, tyro.conf.subcommand("train", prefix_name=False)]
    | Annotated[Compile, tyro.conf.subcommand("compile", prefix_name=False)]
    | Annotated[Utilisation, tyro.conf.subcommand("utilisation", prefix_name=False)]
    | Annotated[Memory, tyro.conf.subcommand("memory", prefix_name=False)]
    | Annotated[Lattice, tyro.conf.subcommand("lattice", prefix_name=False)]
    | Annotated[Decode, tyro.conf.subcommand("decode", prefix_name=False)]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; invalid options exit with code 2."""
    run_command(
        Command,
        prog="python -m experiments.bench",
        description="Compare the speed of attnjax with that of other libraries.",
        arguments=arguments,
    )
