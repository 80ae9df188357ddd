"""The smallest task that the real trainer trains, as a program: for faults of its run.

    python -m tests.faults.tiny train FOLDER [--steps N]    starts or resumes it
    python -m tests.faults.tiny load FOLDER WHICH           prints its parameters

The best of its evaluations is neither the first nor the last one.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.train import Loss
from experiments.cli.exit_codes import exit_codes
from experiments.cli.terminal import say
from experiments.runs.folder import Run
from experiments.runs.json_file import read_saved
from experiments.training.config import TrainingConfig
from experiments.training.loading import load_checkpoint
from experiments.training.optimizer import OptimizerConfig
from experiments.training.task import Best, Task, TaskSetup, generate_batches
from experiments.training.trainer import train

WORDS = ["null", "one", "two"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig(TrainingConfig):
    """Settings of the task."""

    optimizer: OptimizerConfig = dataclasses.field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.1)
    )
    batch_size: int = 8
    steps: int = 12
    log_every: int = 1
    eval_every: int = 4
    save_every: int = 2
    keep_last: int = 2


def read_words(folder: Path) -> list[str]:
    """Reads the vocabulary of a run."""
    return read_saved(folder / "vocabulary.json", list[str], list)


class TinyTask(Task):
    """Fits a vector to noisy ones."""

    best: ClassVar[Best] = ("distance", "min")

    def __init__(self, config: TinyConfig, setup: TaskSetup) -> None:
        self.config = config
        self.words = WORDS if setup.saved is None else None
        if setup.saved is not None and (setup.saved / "vocabulary.json").exists():
            self.words = read_words(setup.saved)

    def init_params(self) -> dict[str, jax.Array]:
        return {"table": jnp.zeros((len(WORDS), 5))}

    def loss(self, params: Any, batch: Any, rng: jax.Array | None) -> Loss:
        noise = 0.0 if rng is None else 0.1 * jax.random.normal(rng, batch.shape)
        total = jnp.square(params["table"][1] + noise - batch).sum()
        return Loss(total, jnp.float32(len(batch)))

    def batches(self, start: int) -> Iterator[Any]:
        def make_batch(step: int) -> np.ndarray:
            draw = np.random.default_rng((self.config.seed, step))
            rows = draw.normal(size=(self.config.batch_size, 5))
            return rows.astype(np.float32) + np.float32(1)

        return generate_batches(make_batch, start)

    def evaluate(self, params: Any) -> Mapping[str, float]:
        # Passed on the way: the best evaluation is one in the middle.
        return {"distance": abs(float(params["table"][1].mean()) - 0.7)}

    def save(self, folder: Path) -> None:
        words = WORDS if self.words is None else self.words
        (folder / "vocabulary.json").write_text(json.dumps(words))

    def fingerprints(self) -> Mapping[str, str]:
        return {"training": "0a1b"}


def train_run(folder: Path, steps: int) -> str:
    """Starts or resumes a run; its last parameters as text."""
    config = TinyConfig(steps=steps)
    params = train(TinyTask, config, folder, resume=True, say=say)
    return np.asarray(params["table"]).tobytes().hex()


def load(folder: Path, which: str) -> str:
    """Loads a run as every experiment does; its parameters and words as text."""
    run = Run.open(folder)
    config = run.config_as(TinyConfig)

    def build() -> tuple[None, dict[str, jax.Array]]:
        return None, {"table": jnp.zeros((len(WORDS), 5))}

    loaded = load_checkpoint(run, config, build, which, None)
    table = np.asarray(loaded.params["table"]).tobytes().hex()
    return f"step {loaded.step} {' '.join(read_words(folder))} {table}"


def main(arguments: list[str]) -> None:
    """Runs a command line."""
    with exit_codes():
        command, folder, *rest = arguments
        if command == "load":
            print(load(Path(folder), *rest))
            return
        steps = int(rest[1]) if rest else TinyConfig().steps
        print(train_run(Path(folder), steps))


if __name__ == "__main__":
    main(sys.argv[1:])
