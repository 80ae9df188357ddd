"""Training steps of published configs: tokens per second and model-FLOPs utilisation.

Token ids are random, without padding. Model-FLOPs utilisation (MFU; Chowdhery et al.
2022, arXiv:2204.02311, appendix B) counts the FLOPs of the model's matrix products,
once for the forward pass and twice for the backward pass, whatever a system recomputes.
It is relative to the FLOP/s of large matrix products, measured in the same run, instead
of the peak that the manufacturer states.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.core import precision
from experiments.bench.cases import gpt
from experiments.bench.cases.training import random_batch, training_calls
from experiments.bench.flops import matmul_flops
from experiments.bench.shapes import BatchSpec
from experiments.bench.systems import Calls
from experiments.bench.timing import measure, time_interleaved
from experiments.bench.transformer_configs import (
    SMOKE_VOCAB_SIZE,
    TINY,
    build,
    set_vocab_size,
)
from experiments.language_model.config import Config as LanguageConfig
from experiments.language_model.configs import GPT2_124M
from experiments.training.parameters import abstract_params
from experiments.translate.config import Config
from experiments.translate.configs import WMT14_TRANSFORMER_BIG
from experiments.translate.model import TranslationModel

SEQUENCE_LENGTH = 32  # the mean WMT'14 sentence has about 28 pieces, and EOS
CHAIN_LENGTH = 8  # matrix products per timed call
FLOPS_FACTOR = 3  # forward pass, and twice as many FLOPs in the backward pass


class TrainingStep(NamedTuple):
    """A training step in every system, and its size."""

    calls: Calls  # the whole step, by system
    shape: dict[str, int]
    tokens: int  # number of target tokens
    flops: int  # of the model's matrix products


def time_utilisation(options: Any) -> list[dict[str, Any]]:
    """Times the training steps; one record per model, dtype and system.

    Args:
      options: a `commands.Utilisation`.

    Returns:
      Records of `timing.measure` with `model`, `shape`, `dtype`, `tokens_per_second`,
      `flops_per_second`, `matmul_flops_per_second` and `utilisation`.
    """
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        matmul_rate = matmul_flops_per_second(dtype, options)
        for model in options.models:
            step = STEPS[model](options, dtype)
            labels = {"model": model, "shape": step.shape, "dtype": dtype}
            records += [
                with_utilisation(r, step, matmul_rate)
                for r in measure(
                    step.calls, labels, repeats=options.repeats, clock=options.clock
                )
            ]
            # Compiled programs keep device memory, which the next model needs.
            jax.clear_caches()
    return records


def with_utilisation(
    record: dict[str, Any], step: TrainingStep, matmul_rate: float
) -> dict[str, Any]:
    """Adds to a record its rates and the utilisation."""
    rate = step.flops / record["seconds"]
    return record | {
        "tokens_per_second": step.tokens / record["seconds"],
        "flops_per_second": rate,
        "matmul_flops_per_second": matmul_rate,
        "utilisation": rate / matmul_rate,
    }


def matmul_flops_per_second(dtype: Any, options: Any) -> float:
    """FLOP/s of products of large square matrices."""
    size = 64 if options.smoke else options.matmul_size
    rngs = jax.random.split(jax.random.key(0))
    # With this scale the chained products neither overflow nor vanish.
    scale = jnp.asarray(size**-0.5, dtype)
    w = jax.random.normal(rngs[0], (size, size), dtype) * scale
    x = jax.random.normal(rngs[1], (size, size), dtype)

    @jax.jit
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.fori_loop(0, CHAIN_LENGTH, lambda _, x: precision.matmul(x, w), x)

    calls = {"matmul": lambda: jax.block_until_ready(chain(x, w))}
    timing = time_interleaved(calls, repeats=options.repeats)["matmul"]
    return CHAIN_LENGTH * 2 * size**3 / timing.seconds(options.clock)


def gpt_step(options: Any, dtype: Any) -> TrainingStep:
    """A training step of GPT-2 with 124M parameters, on 491,520 tokens."""
    config = gpt_config(options, dtype)
    V, T, B = config.model.vocab_size, config.model.max_length, config.batch_size
    calls = gpt.step_calls(config, V, options.systems)
    return TrainingStep(calls, {"B": B, "T": T, "V": V}, B * T, gpt_flops(config))


def gpt_flops(config: LanguageConfig) -> int:
    """Model FLOPs of a training step of a GPT."""
    shape = config.batch_size, config.model.max_length + 1
    init = partial(gpt.random_init, config, config.model.vocab_size)
    model, params = abstract_params(init)
    windows = jax.ShapeDtypeStruct(shape, jnp.int32)
    return FLOPS_FACTOR * matmul_flops(model.loss, params, windows)


def gpt_config(options: Any, dtype: Any) -> LanguageConfig:
    """GPT-2's config with the compute dtype and batch size from the options."""
    config = GPT2_124M
    model = dataclasses.replace(config.model, dtype=dtype)
    if options.smoke:
        model = dataclasses.replace(
            gpt.TINY.model, dtype=dtype, vocab_size=SMOKE_VOCAB_SIZE
        )
        config = dataclasses.replace(config, batch_size=6, accumulation_steps=3)
    if options.rows is not None:
        config = dataclasses.replace(
            config, batch_size=options.rows, accumulation_steps=1
        )
    return dataclasses.replace(config, model=model)


def transformer_step(options: Any, dtype: Any) -> TrainingStep:
    """A training step of the big Transformer, on 25,000 tokens per side."""
    config = transformer_config(options, dtype)
    T = 7 if options.smoke else SEQUENCE_LENGTH
    B = options.rows or (5 if options.smoke else config.batch_tokens // T)
    spec = BatchSpec(B, T, T, batches=1, source_tokens=B * T, target_tokens=B * T)
    parts = training_calls(config, spec, options.systems, compiled=True)
    suffix = " step"  # the calls are named "system part"
    calls = {
        n.removesuffix(suffix): call for n, call in parts.items() if n.endswith(suffix)
    }
    shape = {"B": B, "S": T, "T": T, "V": config.model.target_vocab_size}
    return TrainingStep(calls, shape, B * T, transformer_flops(config, spec))


def transformer_flops(config: Config, spec: BatchSpec) -> int:
    """Model FLOPs of a training step of a Transformer."""
    rebuild, params = abstract_params(partial(build, config.model))
    loss = partial(TranslationModel(rebuild, None).loss, rng=None)  # type: ignore[arg-type]
    batch = random_batch(spec, config.model.target_vocab_size)
    return FLOPS_FACTOR * matmul_flops(loss, params, batch)


def transformer_config(options: Any, dtype: Any) -> Config:
    """The big Transformer's config with a compute dtype; tiny in a smoke test."""
    config = WMT14_TRANSFORMER_BIG
    model: Any = config.model
    if options.smoke:
        block = dataclasses.replace(TINY.block, pre_norm=model.block.pre_norm)
        model = set_vocab_size(model, smoke=True, block=block)
    return dataclasses.replace(config, model=dataclasses.replace(model, dtype=dtype))


STEPS: dict[str, Callable[[Any, Any], TrainingStep]] = {
    "wmt14-transformer-big": transformer_step,
    "gpt2-124m": gpt_step,
}
