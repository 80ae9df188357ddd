"""Training of a model that carries a state: a stream, segment by segment.

Truncated backpropagation through time: the text is cut into columns, and a batch has
the next segment of each. The state is carried from batch to batch and saved in the
checkpoints; the gradient stays within a segment.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.models.lstm_lm import LSTMLMConfig
from attnjax.train import Batch, Carry, Loss, Params
from experiments.datasets.text.streams import TokenStream
from experiments.errors import UserError
from experiments.language_model.config import Config
from experiments.language_model.stream_evaluation import StreamEvaluator
from experiments.language_model.task import LanguageModelTask
from experiments.training.task import TaskSetup
from experiments.training.weight_noise import perturb


class StreamTask(LanguageModelTask):
    """Trains a language model whose state is carried over the whole text."""

    def _cut(self, train: np.ndarray) -> tuple[Any, float]:
        config = self.config
        for name, least in (("context_tokens", 0), ("accumulation_steps", 1)):
            if (value := getattr(config, name)) != least:
                raise UserError(
                    f"{name}: expected {least} for a model that carries its state, got "
                    f"{value}"
                )
        columns, length = config.batch_size, config.model.max_length
        if len(train) < columns * length:
            raise UserError(
                f"expected a text of at least {columns * length} tokens, got "
                f"{len(train)} (one segment of {length} in each of {columns} columns: "
                "give more text, or make segments shorter or fewer)"
            )
        stream = TokenStream(
            train,
            first=self.tokenizer.newline,
            columns=columns,
            length=length,
            reset_every=config.reset_every,
        )
        return stream, stream.segments

    def _make_evaluator(self, mesh: Mesh) -> Any:
        return StreamEvaluator(self.model, columns=self.config.batch_size, mesh=mesh)

    def init_params(self) -> Params:
        """Returns the model's initial parameters."""
        if not self.config.unigram_bias:
            return self._params
        bias = {"b_output": log_frequencies(self._train, self.tokenizer.vocab_size)}
        if self.config.weight_noise.kind == "adaptive":
            posterior: Any = self._params
            return posterior._replace(mean=posterior.mean | bias)  # type: ignore[no-any-return]
        return {**self._params, **bias}

    def initial_carry(self) -> Carry:
        """Returns the state of every column before the text."""
        return self.model.start(self._params, self.config.batch_size)

    def stream_loss(
        self, params: Params, batch: Batch, rng: jax.Array | None, carry: Carry
    ) -> tuple[Loss, Carry]:
        """Computes the cross-entropy of the next tokens, and the state after them."""
        noisy, rng = perturb(self.config.weight_noise, params, rng)
        loss, carry = self.model.stream_loss(noisy, batch, rng, carry)
        return self._with_complexity(loss, params), carry


def log_frequencies(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns the log of each id's share in a text, in which it is counted once more.

    Example:
      >>> np.exp(log_frequencies(np.array([2, 2]), 3)).round(3)
      array([0.2, 0.2, 0.6], dtype=float32)
    """
    counts = np.bincount(tokens, minlength=vocab_size) + 1
    return np.log(counts / counts.sum()).astype(np.float32)


def make_task(config: Config, setup: TaskSetup) -> LanguageModelTask:
    """Makes the task of a config, by its model."""
    streams = isinstance(config.model, LSTMLMConfig)
    if not streams and config.reset_every is not None:
        raise UserError(
            f"reset_every: expected none for a model without a state, got "
            f"{config.reset_every}"
        )
    if not streams and config.unigram_bias:
        raise UserError("unigram_bias: expected False for a model without a state")
    return (StreamTask if streams else LanguageModelTask)(config, setup)
