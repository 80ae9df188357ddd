"""What the command lines that train share: options to start, resume and open a run."""

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import tyro

from attnjax.parallel import initialize_distributed, is_main_process
from experiments.cli.compilation_cache import (
    CompilationOptions,
    use_compilation_cache,
)
from experiments.cli.exit_codes import exit_codes, invalid_settings
from experiments.cli.names import check_names
from experiments.cli.terminal import say as print_status
from experiments.errors import UserError

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """The processes of one run; start each with the same command."""

    coordinator: str | None = None
    """Address of process 0, as host:port. None: a single process."""
    num_processes: int | None = None
    """Number of processes. None: a single process."""
    process_id: int | None = None
    """Index of this process, from 0. None: a single process."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(CompilationOptions):
    """Options of a training command that are not part of the run's config."""

    out: Path | None = None
    """Folder of the run, new or empty. None: runs/CONFIG."""
    resume: bool = False
    """Resume the run in the folder, bit for bit; start it if the folder holds none.
    Its data and settings must be those of the start, but for more steps and another
    log_every, save_every or keep_last."""
    processes: ProcessConfig = dataclasses.field(default_factory=ProcessConfig)
    """The processes that train this run together."""
    name: tyro.conf.Suppress[str] = ""

    def train(
        self, kind: type[Config], train: Callable[..., None], *, then: str
    ) -> None:
        """Starts or resumes the training of a run.

        Args:
          kind: the config class, which is a base class of this object's class too.
          train: `(config, folder, *, resume, say)`.
          then: the next command to suggest; the folder follows it.
        """
        with invalid_settings("processes"):
            initialize_distributed(**dataclasses.asdict(self.processes))
        status = print_status if is_main_process() else lambda text: None
        folder = Path("runs") / self.name if self.out is None else self.out
        config = kind(**_fields(self, kind))
        train(config, folder, resume=self.resume, say=status)
        status(f"next: {then} {shlex.quote(str(folder))}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(CompilationOptions):
    """Options that choose a run and one of its checkpoints."""

    run_folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(name="run")]]
    """Folder of the run."""
    checkpoint: Literal["best", "last", "mean"] = "best"
    """Checkpoint to load: the best in validation, the last, or the mean of the
    parameters over the newest ones (the run's keep_last says how many)."""


# Of commands that take several runs.
RunFolders = tyro.conf.Positional[
    Annotated[tuple[Path, ...], tyro.conf.arg(name="runs")]
]
_OptionalRun = tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(name="run")]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOrPretrainedOptions(RunOptions):
    """Options that choose a run, or a pretrained model in its place."""

    run_folder: _OptionalRun = None  # type: ignore[assignment]
    """Folder of the run; none with --pretrained."""
    pretrained: Path | None = None
    """Folder in Hugging Face's format to use in place of a run: config.json,
    safetensors, and the files of its tokeniser."""


def _fields(values: Any, kind: Any) -> dict[str, Any]:
    """Reads the fields of a dataclass from an object that has them all."""
    return {f.name: getattr(values, f.name) for f in dataclasses.fields(kind)}


def train_command(kind: Any, configs: Mapping[str, tuple[str, Any]]) -> Any:
    """Builds the command `train`, with a subcommand for each named config.

    Args:
      kind: a dataclass with the fields of the config and of `TrainOptions`, and a
        method `run`.
      configs: name to (description, config).
    """
    choices = tuple(
        Annotated[
            kind,
            tyro.conf.subcommand(
                name,
                default=kind(**_fields(config, type(config)), name=name),
                description=description,
                prefix_name=False,
            ),
        ]
        for name, (description, config) in configs.items()
    )

    argument = tyro.conf.arg(name="", help="A named config.")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Train:
        """Trains a named config; flags override its settings."""

        config: Annotated[Union[choices], argument]  # type: ignore[valid-type]  # noqa: UP007

        def run(self) -> None:
            """Trains the chosen config."""
            run: Any = self.config
            run.run()

    return command("train", Train)


def command(name: str, kind: Any) -> Any:
    """Makes a command from a dataclass that has a method `run`."""
    return Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]


def run_command(
    commands: Any, *, prog: str, description: str, arguments: Sequence[str] | None
) -> None:
    """Runs a command line; a `UserError` ends the process with exit code 2.

    Programs that the command compiles are kept, unless an option says otherwise.

    Args:
      commands: a union of commands.
      prog: name of the program in its help text.
      description: what the program does.
      arguments: the command-line arguments; by default those of this process.
    """
    with exit_codes():
        check_names(commands, sys.argv[1:] if arguments is None else arguments)
        chosen: Any = tyro.cli(
            commands, prog=prog, description=description, args=arguments
        )
        options = getattr(chosen, "config", chosen)  # of `train` or of the command
        use_compilation_cache(options.compilation_cache)
        with _own_flags(options):
            chosen.run()


@contextlib.contextmanager
def _own_flags(options: Any) -> Iterator[None]:
    """Names the flag that a command has: of `train` it is that of a setting."""
    try:
        yield
    except UserError as error:
        if not hasattr(options, "raw_dir"):
            raise
        named = str(error).replace("--data.raw-dir", "--raw-dir")
        raise UserError(named) from error
