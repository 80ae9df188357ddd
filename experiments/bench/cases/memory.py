"""Training steps of the Neural Turing Machine: loss, gradients, clipping and Adam."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.train import init_state, make_train_step
from experiments.algorithms.config import Config
from experiments.algorithms.configs import CONFIGS
from experiments.algorithms.model import build_model
from experiments.algorithms.sequences import Sequences
from experiments.bench.systems import (
    ATTNJAX,
    TORCH_COMPILED,
    Calls,
    is_installed,
    select_systems,
)
from experiments.bench.timing import measure

# Sequences of 20 vectors: 41 steps.
COPY = dataclasses.replace(CONFIGS["copy-ntm-lstm"][1], batch_size=32)
SMOKE = dataclasses.replace(CONFIGS["smoke"][1], batch_size=4)


def time_memory(options: Any) -> list[dict[str, Any]]:
    """Times a training step; one record per system.

    Args:
      options: a `commands.Memory`.

    Returns:
      Records of `timing.measure` with `model`, `shape`, `dtype` and
      `sequences_per_second`.
    """
    config = SMOKE if options.smoke else COPY
    model: Any = config.model
    B, N, M = config.batch_size, model.tape_size, model.tape_width
    labels = {
        "model": "ntm",
        "shape": {"B": B, "T": longest_batch(config).mask.shape[1], "N": N, "M": M},
        "dtype": "float32",
    }
    calls = step_calls(config, options.systems)
    return [
        r | {"sequences_per_second": B / r["seconds"]}
        for r in measure(calls, labels, repeats=options.repeats, clock=options.clock)
    ]


def step_calls(config: Config, systems: tuple[str, ...]) -> Calls:
    """A training step on one batch of the longest sequences, by selected system."""
    batch = longest_batch(config)
    calls: Calls = {ATTNJAX: jax_step(config, batch)}
    if is_installed("torch"):
        calls |= _torch_calls(config, batch, compiled=TORCH_COMPILED in systems)
    return select_systems(calls, systems)


def longest_batch(config: Config) -> Sequences:
    """Sequences of the longest kind of training."""
    longest = next(iter(config.algorithm.generalizations().values()))
    return longest.generate(np.random.default_rng(0), config.batch_size)


def jax_step(config: Config, batch: Sequences) -> Callable[[], Any]:
    """A training step of attnjax; returns the loss before it."""
    model, params = build_model(config)
    tx = config.optimizer.build(config.steps)
    train = make_train_step(model.loss, tx)
    state = [init_state(params, tx)]
    on_device, rng = jax.tree.map(jnp.asarray, batch), jax.random.key(0)

    def step() -> Any:
        state[0], metrics = train(state[0], on_device, rng)
        return jax.block_until_ready(metrics["loss"])

    return step


def _torch_calls(config: Config, batch: Sequences, *, compiled: bool) -> Calls:
    from experiments.bench.peers.torch_device import check_torch_compile
    from experiments.bench.peers.torch_ntm import torch_ntm_step

    _, params = build_model(config)
    rule = config.optimizer

    def make(compiled: bool) -> Callable[[], Any]:
        return torch_ntm_step(
            config.model,  # type: ignore[arg-type]
            params,
            batch,
            learning_rate=rule.learning_rate,
            max_grad_norm=rule.max_grad_norm or np.inf,
            compiled=compiled,
        )

    calls: Calls = {"torch": make(False)}
    if compiled and check_torch_compile():
        calls[TORCH_COMPILED] = make(True)
    return calls
