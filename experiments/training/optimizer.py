"""The optimiser and its learning-rate schedule, as settings; optax does the work."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from experiments.errors import UserError
from experiments.training.parameters import weight_decay_mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimiser, learning-rate schedule, gradient clipping and weight decay."""

    name: Literal["adam", "adadelta", "rmsprop", "sgd"] = "adam"
    """Update rule: Adam (AdamW with weight_decay); Adadelta with the rho 0.95 and
    epsilon 1e-6 of the RNNSearch paper; the RMSProp of Graves 2013, centred, with
    momentum 0.9, decay 0.95 and epsilon 1e-4; or gradient descent (sgd)."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    warmup_steps: int = 0
    """Number of steps in which the learning rate rises linearly from 0 to its peak."""
    lr_schedule: Literal["constant", "cosine", "linear", "inverse_sqrt", "step"] = (
        "constant"
    )
    """Learning rate after warm-up: constant; falling to end_lr_ratio of the peak along
    a cosine or a line; the peak times sqrt(warmup_steps / step), as in the Transformer
    paper; or multiplied by decay_ratio every decay_every steps (step)."""
    decay_begin: int = 0
    """Number of steps after warm-up from which decay_every is counted (step)."""
    begin_ratio: float = 1.0
    """Factor of the learning rate before decay_begin (step)."""
    decay_every: int = 10_000
    """Number of steps between two decays of the learning rate (step)."""
    decay_ratio: float = 0.5
    """Factor of each decay of the learning rate (step)."""
    end_lr_ratio: float = 0.01
    """Learning rate of the last step as a share of the peak (cosine and linear)."""
    beta2: float = 0.98
    """Decay rate of Adam's second moment."""
    epsilon: float = 1e-8
    """Term added to the denominator of Adam's update."""
    max_grad_norm: float | None = 1.0
    """Global norm to which longer gradients are clipped; None disables clipping."""
    max_grad_value: float | None = None
    """Absolute value to which each element of the gradient is clipped, before its norm
    is; None disables it."""
    clip_each_array: bool = False
    """Whether max_grad_norm bounds the norm of each array's gradient on its own,
    instead of the global norm."""
    momentum: float = 0.0
    """Share of the last update that is added to the next (sgd)."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) of matrices and embeddings; biases and norms do
    not decay."""

    def build(self, steps: int) -> optax.GradientTransformation:
        """Builds the optax transformation of a run of so many steps."""
        tx = self._update_rule(self.build_schedule(steps))
        if self.max_grad_norm is not None:
            tx = optax.chain(self._clipping(self.max_grad_norm), tx)
        if self.max_grad_value is not None:
            tx = optax.chain(optax.clip(self.max_grad_value), tx)
        return tx

    def _clipping(self, max_norm: float) -> optax.GradientTransformation:
        if not self.clip_each_array:
            return optax.clip_by_global_norm(max_norm)

        def clip(x: jax.Array) -> jax.Array:
            return x * (max_norm / jnp.maximum(optax.tree.norm(x), max_norm))

        # optax clips each array by its root mean square only, not by its norm.
        return optax.stateless(lambda updates, params: jax.tree.map(clip, updates))

    def _update_rule(self, schedule: optax.Schedule) -> optax.GradientTransformation:
        if self.name == "sgd":
            # None, not 0: without momentum nothing is kept from step to step.
            descent = optax.sgd(schedule, momentum=self.momentum or None)
            if self.weight_decay == 0:
                return descent
            decay = optax.add_decayed_weights(self.weight_decay, weight_decay_mask)
            return optax.chain(decay, descent)
        if self.momentum:
            raise UserError(
                f"momentum: expected 0 with {self.name}, got {self.momentum} (only sgd "
                "takes it)"
            )
        if self.name == "adadelta":
            return optax.adadelta(
                schedule,
                rho=0.95,
                eps=1e-6,
                weight_decay=self.weight_decay,
                weight_decay_mask=weight_decay_mask,
            )
        if self.name == "rmsprop":
            if self.weight_decay:
                raise UserError(
                    f"weight_decay: expected 0 with rmsprop, got {self.weight_decay} "
                    "(it would not be applied)"
                )
            # Graves 2013 (arXiv:1308.0850), eqs. 38 to 45.
            return optax.rmsprop(
                schedule, decay=0.95, eps=1e-4, centered=True, momentum=0.9
            )
        moments = {"b2": self.beta2, "eps": self.epsilon}
        if self.weight_decay == 0:
            # Not adamw: XLA may not drop `+ 0 * params` from every update.
            return optax.adam(schedule, **moments)
        return optax.adamw(
            schedule,
            **moments,
            weight_decay=self.weight_decay,
            mask=weight_decay_mask,
        )

    def build_schedule(self, steps: int) -> optax.Schedule:
        """Builds the learning rate as a function of the step, for a run's length."""
        peak = self.learning_rate
        # Not optax.warmup_cosine_decay_schedule: it refuses runs that end in warm-up.
        decay_steps = max(1, steps - self.warmup_steps)
        schedules = {
            "constant": optax.constant_schedule(peak),
            "cosine": optax.cosine_decay_schedule(
                peak, decay_steps, alpha=self.end_lr_ratio
            ),
            "linear": optax.linear_schedule(
                peak, peak * self.end_lr_ratio, decay_steps
            ),
            "inverse_sqrt": self._inverse_sqrt,
            "step": self._stepped(),
        }
        after_warmup = schedules[self.lr_schedule]
        if self.warmup_steps == 0:
            return after_warmup
        warmup = optax.linear_schedule(0.0, peak, self.warmup_steps)
        return optax.join_schedules([warmup, after_warmup], [self.warmup_steps])

    def _stepped(self) -> optax.Schedule:
        """A constant rate, then one that falls in equal ratios at equal intervals."""
        peak = self.learning_rate
        begin = optax.constant_schedule(peak * self.begin_ratio)
        decay = optax.exponential_decay(
            peak, self.decay_every, self.decay_ratio, staircase=True
        )
        return optax.join_schedules([begin, decay], [self.decay_begin])

    def _inverse_sqrt(self, count: jax.typing.ArrayLike) -> jax.Array:
        """The learning rate `count` steps after warm-up; optax has no such schedule.

        Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 3, whose peak is
        1 / sqrt(d_model * warmup_steps).
        """
        warmup_steps = max(1, self.warmup_steps)
        # join_schedules also evaluates this during warm-up, where count < 0.
        step = warmup_steps + jnp.maximum(count, 0)
        return self.learning_rate * jnp.sqrt(warmup_steps / step)
