"""Training a language model: what the loop of `experiments.training.fit` is given."""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from jax.sharding import Mesh

from attnjax.parallel import make_global_batch, make_mesh
from attnjax.train import Batch, Params
from experiments.cli.checks import check_numbers
from experiments.datasets.text.datasets import Splits
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import TokenWindows
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.errors import UserError
from experiments.language_model.config import Config
from experiments.language_model.evaluation import Measure, Measured
from experiments.language_model.system import build_system
from experiments.runs.processes import on_main
from experiments.training.config import count_parameters, train_on
from experiments.training.fit import Run

MAY_CHANGE = ("log_every", "data.raw_dir", "data.data_dir")  # when resumed


class Trainer:
    """A config made real: system, batches, step and validation."""

    def __init__(
        self,
        config: Config,
        splits: Splits,
        tokenizer: TextTokenizer,
        *,
        mesh: Mesh | None = None,
    ) -> None:
        """Encodes the texts; nothing is compiled yet.

        Raises:
          UserError: if the settings do not fit the texts or the devices.
        """
        self.config = config
        self.mesh = make_mesh() if mesh is None else mesh
        multiple = self.mesh.size * config.accumulate
        if config.batch_rows % multiple:
            raise UserError(
                f"batch_rows: expected a multiple of {multiple} (of {self.mesh.size} "
                f"devices x {config.accumulate} parts), got {config.batch_rows}"
            )
        self.system, self.params = build_system(config, tokenizer)
        train, validation = (
            read_tokens(
                splits[name], tokenizer, name=name, data_dir=config.data.data_dir
            )
            for name in ("train", "validation")
        )
        try:
            self.crops = TokenWindows(
                train,
                rows=config.batch_rows,
                length=config.model.max_length,
                seed=config.seed,
            )
        except UserError as error:
            raise UserError(f"train: {error}") from error
        self.tokens = len(train)
        rows = config.batch_rows // config.accumulate
        self.measure = Measure(self.system, rows=rows, mesh=self.mesh)
        self.validation = Measured(tokenizer, validation)

    def fit(self, run: Run, *, title: str = "") -> Params:
        """Trains to the last step and returns the parameters."""
        return train_on(
            self.mesh,
            run,
            self.config,
            params=self.params,
            loss=self.system.loss,
            batches=self.iterate,
            evaluate=self.validate,
            best=("loss", "min"),
            title=title,
        )

    def iterate(self, start: int) -> Iterator[Batch]:
        """Batches on the devices from a step on, each process reading its rows."""
        host = self.crops.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return (make_global_batch(batch, self.mesh) for batch in host)

    def validate(self, params: Params) -> dict[str, float]:
        """Loss in nats a token, and what follows from it, of the validation text."""
        return self.measure(params, self.validation).figures


def train(
    config: Config, folder: Path, *, resume: bool, say: Callable[[str], None]
) -> None:
    """Trains a config in a folder of its own, or goes on with one.

    Args:
      config: what to train.
      folder: of the run; must be new unless it is resumed. It is made when
        everything else has been found to be in order.
      resume: go on where the run in the folder stopped.
      say: told what is being prepared.

    Raises:
      UserError: if a setting or the text is at fault, or the folder cannot be used.
    """
    check_numbers(config)
    Run.check(folder, config, resume=resume, may_change=MAY_CHANGE)
    say("reading text")
    splits = config.data.splits()
    tokenizer = config.tokenizer.load(folder) if resume else None
    if tokenizer is None:
        say("making the vocabulary")
        tokenizer = config.tokenizer.train(splits)
    trainer = Trainer(config, splits, tokenizer)
    run = Run.create(folder, config, resume=resume, may_change=MAY_CHANGE)
    on_main(lambda: tokenizer.save(run.folder))
    say(
        f"{trainer.tokens:,} tokens of {tokenizer.vocab_size:,} kinds, "
        f"{count_parameters(trainer.params):,} parameters, "
        f"{config.batch_rows * config.model.max_length:,} tokens a step"
    )
    trainer.fit(run)
