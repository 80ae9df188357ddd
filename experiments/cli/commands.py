"""What the command lines that train have in common: a run, begun and found again."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

import tyro

from attnjax.parallel import is_main_process, initialize_distributed
from experiments.cli.exit_codes import exit_codes, settings_at_fault

Config = TypeVar("Config")


def say(text: str) -> None:
    """Tells the user what is going on; stdout is for results."""
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Several processes for one run; each is started with the same command."""

    coordinator: str | None = None
    """Address host:port of process 0."""
    num_processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Which of them this is, from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What only this start of a run needs to know: no part of its config."""

    out: Path | None = None
    """Folder of the run, new or empty; None: runs/CONFIG."""
    resume: bool = False
    """Go on with the run in the folder, to the same bits; begin it if there is none."""
    processes: ProcessConfig = dataclasses.field(default_factory=ProcessConfig)
    """Several processes for one run."""
    name: tyro.conf.Suppress[str] = ""

    def train(
        self, kind: type[Config], train: Callable[..., None], *, then: str
    ) -> None:
        """Trains, or goes on training.

        Args:
          kind: the config, of which this is a subclass too.
          train: `(config, folder, *, resume, say)`.
          then: the command to name when it is done; the folder follows it.
        """
        with settings_at_fault("processes"):
            initialize_distributed(**dataclasses.asdict(self.processes))
        tell = say if is_main_process() else lambda text: None
        folder = Path("runs") / self.name if self.out is None else self.out
        config = kind(**_fields(self, kind))
        train(config, folder, resume=self.resume, say=tell)
        tell(f"next: {then} {folder}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Which parameters of a run."""

    run_folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(name="run")]]
    """Folder of the run."""
    checkpoint: Literal["best", "last", "mean"] = "best"
    """The checkpoint that did best in validation, the last one, or the mean of the
    parameters in the newest (as many as the run's keep_last says)."""


def _fields(values: Any, kind: Any) -> dict[str, Any]:
    """The values that the fields of a dataclass have in an object."""
    return {f.name: getattr(values, f.name) for f in dataclasses.fields(kind)}


def train_command(kind: Any, configs: Mapping[str, tuple[str, Any]]) -> Any:
    """The command `train`, with a subcommand for each named config.

    Args:
      kind: a dataclass of the config's fields and of `TrainOptions`, with `run`.
      configs: name to description and config.
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

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Train:
        """Trains one of the configs; every setting of it can be changed by a flag."""

        config: Annotated[Union[choices], tyro.conf.arg(name="", help="The configs.")]  # type: ignore[valid-type]  # noqa: UP007

        def run(self) -> None:
            """Trains the chosen config."""
            run: Any = self.config
            run.run()

    return command("train", Train)


def command(name: str, kind: Any) -> Any:
    """The command of a dataclass with `run`, under a name."""
    return Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]


def run_command(
    commands: Any, *, prog: str, description: str, arguments: Sequence[str] | None
) -> None:
    """Runs a command line; mistakes of the user end it with code 2.

    Args:
      commands: a union of commands.
      prog: how the program is called.
      description: what it does.
      arguments: of the command line; None: of this process.
    """
    with exit_codes():
        chosen: Any = tyro.cli(
            commands, prog=prog, description=description, args=arguments
        )
        chosen.run()
