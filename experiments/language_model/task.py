"""Language modelling as a training task: token windows, next-token cross-entropy."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.train import Batch, Loss, Params
from experiments.datasets.data_dir import fingerprint_content
from experiments.datasets.text.datasets import Splits
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import TokenWindows
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.errors import UserError
from experiments.language_model.config import Config
from experiments.language_model.evaluation import Evaluator
from experiments.language_model.model import build_model, check_context
from experiments.language_model.text_metrics import EvaluationText
from experiments.training.parameters import count_parameters
from experiments.training.task import Best, Task, TaskSetup
from experiments.training.weight_noise import perturb, with_complexity


class LanguageModelTask(Task):
    """Trains a language model on text."""

    best: ClassVar[Best] = ("loss", "min")

    def __init__(self, config: Config, setup: TaskSetup) -> None:
        """Reads and tokenises the texts; compiles nothing.

        Raises:
          UserError: if the texts are invalid, or the settings do not fit the texts or
            the devices.
        """
        self.config = config
        check_context(config.context_tokens, config.model.max_length)
        setup.say("reading text")
        splits = config.data.splits()
        self.tokenizer = self._load_tokenizer(splits, setup)
        setup.check_batch_size(config.batch_size, config.accumulation_steps)
        train, validation = (
            read_tokens(
                splits[name], self.tokenizer, name=name, data_dir=config.data.data_dir
            )
            for name in ("train", "validation")
        )
        self._train = train
        try:
            self._batches, self._per_epoch = self._cut(train)
        except UserError as error:
            raise UserError(f"train: {error}") from error
        self.model, self._params = build_model(config, self.tokenizer)
        self._evaluator = self._make_evaluator(setup.mesh)
        self._validation = EvaluationText(self.tokenizer, validation)

    def _cut(self, train: np.ndarray) -> tuple[Any, float]:
        """Cuts the training text into batches; returns also how many are one epoch."""
        config = self.config
        rows, length = config.batch_size, config.model.max_length
        windows = TokenWindows(train, rows=rows, length=length, seed=config.seed)
        return windows, len(train) / (rows * (length - config.context_tokens))

    def _make_evaluator(self, mesh: Mesh) -> Any:
        """Makes what evaluates parameters on a text."""
        rows = self.config.batch_size // self.config.accumulation_steps
        return Evaluator(self.model, rows=rows, mesh=mesh)

    def _load_tokenizer(self, splits: Splits, setup: TaskSetup) -> TextTokenizer:
        config = self.config.tokenizer
        saved = None if setup.saved is None else config.load(setup.saved)
        if saved is not None:
            return saved
        setup.say("making the vocabulary")
        return config.train(splits, setup.say)

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        return self._params

    def loss(self, params: Params, batch: Batch, rng: jax.Array | None) -> Loss:
        """Computes the cross-entropy of the next tokens."""
        noisy, rng = perturb(self.config.weight_noise, params, rng)
        return self._with_complexity(self.model.loss(noisy, batch, rng), params)

    def _with_complexity(self, loss: Loss, params: Params) -> Loss:
        """Adds a share of what it costs to describe the weights, if any."""
        count = self._per_epoch * self.config.accumulation_steps
        noise = self.config.weight_noise
        return with_complexity(noise, loss, params, num_batches=count)

    def batches(self, start: int) -> Iterator[Batch]:
        """Iterates over this process's rows of the batches from a step on."""
        return self._batches.iterate(
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def evaluate(self, params: Params) -> Mapping[str, float]:
        """Computes the loss of the validation text, in nats per token and otherwise."""
        return self._evaluator(params, self._validation).metrics

    def save(self, folder: Path) -> None:
        """Writes the tokeniser."""
        self.tokenizer.save(folder)

    def fingerprints(self) -> Mapping[str, str]:
        """Hashes the ids of the training and the validation text."""
        return {
            "training": fingerprint_content([self._train.data]),
            "validation": fingerprint_content([self._validation.tokens.data]),
        }

    def num_shapes(self) -> int:
        """All batches have the same shape."""
        return 1

    def summary(self) -> str:
        """Counts tokens, vocabulary, parameters and the tokens of a step."""
        config = self.config
        predicted = config.model.max_length - config.context_tokens
        return (
            f"{len(self._train):,} tokens of {self.tokenizer.vocab_size:,} kinds, "
            f"{count_parameters(self._params):,} parameters, "
            f"{config.batch_size * predicted:,} tokens a step"
        )
