"""What every training run has: an optimiser, a length, and what is due when."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from attnjax.parallel import replicate
from attnjax.train import Batch, LossFn, Params, init_state, make_train_step
from experiments.training.fit import Run, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How parameters move."""

    name: Literal["adam", "adadelta"] = "adam"
    """Adam, or Adadelta as in the RNNSearch paper (rho 0.95, epsilon 1e-6)."""
    learning_rate: float = 1e-3
    """The highest learning rate."""
    warmup: int = 0
    """Steps in which the learning rate rises to its highest."""
    decay: Literal["none", "cosine", "linear", "inverse_sqrt"] = "none"
    """How the learning rate falls from the warm-up on: to `final` of its highest at the
    last step, or as the root of warmup / step, as in the Transformer paper."""
    final: float = 0.01
    """Share of the highest learning rate that is left at the last step."""
    beta2: float = 0.98
    """Adam's second decay rate."""
    epsilon: float = 1e-8
    """Added to the root of Adam's second moment."""
    clip_norm: float | None = 1.0
    """Largest norm of a gradient; longer ones are shortened to it. None: any norm."""
    weight_decay: float = 0.0
    """Share of a matrix, times the learning rate, that a step takes off (AdamW)."""

    def build(self, steps: int) -> optax.GradientTransformation:
        """Makes the transformation for a run of so many steps."""
        move = self._move(self.schedule(steps))
        if self.clip_norm is None:
            return move
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), move)

    def _move(self, rate: optax.Schedule) -> optax.GradientTransformation:
        decay = self.weight_decay
        if self.name == "adadelta":
            return optax.adadelta(
                rate, rho=0.95, eps=1e-6, weight_decay=decay, weight_decay_mask=matrices
            )
        moments = {"b2": self.beta2, "eps": self.epsilon}
        if decay == 0:
            return optax.adam(rate, **moments)
        return optax.adamw(rate, **moments, weight_decay=decay, mask=matrices)

    def schedule(self, steps: int) -> optax.Schedule:
        """Makes the learning rate of each step, for a run of so many."""
        rest = max(1, steps - self.warmup)
        fall = {
            "none": optax.constant_schedule(self.learning_rate),
            "cosine": optax.cosine_decay_schedule(
                self.learning_rate, rest, alpha=self.final
            ),
            "linear": optax.linear_schedule(
                self.learning_rate, self.learning_rate * self.final, rest
            ),
            "inverse_sqrt": self._inverse_sqrt,
        }[self.decay]
        if self.warmup == 0:
            return fall
        rise = optax.linear_schedule(0.0, self.learning_rate, self.warmup)
        return optax.join_schedules([rise, fall], [self.warmup])

    def _inverse_sqrt(self, since: Any) -> Any:
        """The learning rate so many steps after the warm-up.

        Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 3, whose highest learning
        rate is 1 / sqrt(width * warmup).
        """
        warmup = max(1, self.warmup)
        step = warmup + jnp.maximum(since, 0)
        return self.learning_rate * jnp.sqrt(warmup / step)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The settings of a run that do not depend on what is trained."""

    optimizer: OptimizerConfig = OptimizerConfig()
    """How parameters move."""
    seed: int = 0
    """Of parameters, dropout and the order of the data."""
    steps: int = 10_000
    """Updates in all."""
    ema_decay: float | None = None
    """Decay of a running mean of the parameters, which is then what is evaluated and
    used; None: keep none."""
    accumulate: int = 1
    """Parts in which a batch is taken one after another, to save memory."""
    log_every: int = 50
    """Steps between lines of the log."""
    evaluate_every: int = 500
    """Steps between validations, each with a checkpoint; 0: only after the last."""
    save_every: int = 500
    """Steps between checkpoints; 0: only at validations."""
    keep_last: int = 2
    """Newest checkpoints kept; `--checkpoint mean` takes the mean of them."""


def train_on(
    mesh: Mesh,
    run: Run,
    config: TrainingConfig,
    *,
    params: Params,
    loss: LossFn,
    batches: Callable[[int], Iterator[Batch]],
    evaluate: Callable[[Params], Mapping[str, float]],
    best: tuple[str, str],
    title: str = "",
) -> Params:
    """Trains a config to its last step on the devices of a mesh.

    Args:
      mesh: the devices; every one gets the state, and its rows of each batch.
      run: the folder.
      config: how long, how fast, and how often to say so.
      params: before training.
      loss: as `attnjax.train.make_train_step` takes it.
      batches, evaluate, best, title: as `experiments.training.fit.fit` takes them.

    Returns:
      The parameters after the last step, or their mean if one is kept.

    Raises:
      UserError, SystemExit: as `fit`.
    """
    tx = config.optimizer.build(config.steps)
    state = fit(
        run,
        state=replicate(init_state(params, tx, ema=config.ema_decay is not None), mesh),
        train_step=make_train_step(
            loss,
            tx,
            accumulation_steps=config.accumulate,
            ema_decay=config.ema_decay,
            state_sharding=replicated_sharding(mesh),
        ),
        batches=batches,
        steps=config.steps,
        rng=replicate(jax.random.key(config.seed), mesh),
        evaluate=evaluate,
        log_every=config.log_every,
        evaluate_every=config.evaluate_every,
        save_every=config.save_every,
        keep_last=config.keep_last,
        best=best,
        title=title,
    )
    return state.params if state.ema is None else state.ema


def count_parameters(params: Params) -> int:
    """The number of trainable numbers."""
    return sum(x.size for x in jax.tree.leaves(params))


def matrices(params: Params) -> PyTree:
    """Tells matrices and tables (True) from biases and scales: what decays.

    TransformerOutput blocks have an axis of layers besides.
    """

    def is_matrix(path: tuple[Any, ...], x: jax.Array) -> bool:
        stacked = any(getattr(key, "key", None) == "blocks" for key in path)
        return x.ndim - stacked >= 2

    return jax.tree_util.tree_map_with_path(is_matrix, params)
