"""Evaluates a model that carries a state over a text; it may learn on the way."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from attnjax.parallel import batch_sharding, replicate, replicated_sharding
from attnjax.train import Params
from experiments.datasets.text.streams import Segments, TokenStream
from experiments.errors import UserError
from experiments.language_model.model import LanguageModel
from experiments.language_model.text_metrics import EvaluationText, TextMetrics
from experiments.runs.processes import place_batch


class StreamEvaluator:
    """Evaluates parameters on texts that are read from end to end."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        columns: int,
        mesh: Mesh,
        dynamic_learning_rate: float | None = None,
    ) -> None:
        """Jits the loss.

        Args:
          model: the model and its tokeniser.
          columns: number of parts of a text that are read side by side, each from the
            first state.
          mesh: the devices.
          dynamic_learning_rate: for dynamic evaluation (Mikolov et al. 2010): once a
            segment is scored, a step of gradient descent on its mean loss is taken, so
            that the model learns from the text that it has predicted. None: none is.

        Raises:
          UserError: if an option is out of range, or a text is to be learned from in
            several columns at once.
        """
        if columns < 1:
            raise UserError(f"columns: expected at least 1, got {columns}")
        rate = dynamic_learning_rate
        if rate is not None and not 0 <= rate < float("inf"):
            raise UserError(
                f"dynamic_learning_rate: expected a number of at least 0, got {rate}"
            )
        if rate is not None and columns != 1:
            raise UserError(
                f"columns: expected 1 for dynamic evaluation, got {columns} (each "
                "token may be learned from once it is predicted, and not before)"
            )
        self._model, self._columns, self._mesh, self._rate = model, columns, mesh, rate
        whole, rows = replicated_sharding(mesh), batch_sharding(mesh)
        self._score = jax.jit(self._static, out_shardings=(whole, rows))
        self._learn = jax.jit(
            self._dynamic, donate_argnums=0, out_shardings=(whole, whole, rows)
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What the record of an evaluation says about it."""
        return {"columns": self._columns}

    def __call__(
        self,
        params: Params,
        text: EvaluationText,
        progress: Callable[[int], None] = lambda count: None,
    ) -> TextMetrics:
        """Computes the loss of a text, every token once.

        The first token is predicted from a newline. The result does not depend on the
        length of a segment, but for the updates of dynamic evaluation.

        Args:
          params: the model's parameters; they stay as they are.
          text: the text.
          progress: called after every segment with the number of its tokens.
        """
        stream = TokenStream(
            text.tokens,
            first=text.first,
            columns=min(self._columns, len(text.tokens)),
            length=self._model.config.max_length,
            rows=-(-self._columns // self._mesh.size) * self._mesh.size,
        )
        params = replicate(params, self._mesh)
        carry = place_batch(self._model.start(params, stream.rows), self._mesh)
        if self._rate is not None:
            params = jax.tree.map(jnp.copy, params)
        total = count = 0.0
        for number in range(stream.segments):
            segments = place_batch(stream.segment(number), self._mesh)
            if self._rate is None:
                loss, carry = self._score(params, segments, carry)
            else:
                params, loss, carry = self._learn(params, segments, carry)
            total += float(loss.total)
            count += float(loss.num_tokens)
            progress(int(loss.num_tokens))
        return text.metrics(total / count)

    def _static(self, params: Params, segments: Segments, carry: Any) -> Any:
        return self._model.stream_loss(params, segments, None, carry)

    def _dynamic(self, params: Params, segments: Segments, carry: Any) -> Any:
        """Scores a segment, then updates the parameters."""

        def mean(params: Params) -> Any:
            loss, new = self._model.stream_loss(params, segments, None, carry)
            count = jnp.maximum(loss.num_tokens, 1).astype(loss.total.dtype)
            return loss.total / count, (loss, new)

        grads, (loss, new) = jax.grad(mean, has_aux=True)(params)
        step = jax.tree.map(lambda g: self._rate * g, grads)
        return jax.tree.map(jnp.subtract, params, step), loss, new
