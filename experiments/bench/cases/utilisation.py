"""Training steps of published sizes: tokens a second, and how much of the chip works.

The ids are random, and nothing is padding. Model-FLOPs utilisation (Chowdhery et al.
2022, arXiv:2204.02311, appendix B) is the arithmetic of the model's products, once
forward and twice that backward, whatever a system computes again, as a share of what
large products do in the same time, which is measured in the same run.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attnjax.core import precision
from experiments.bench import trials
from experiments.bench.cases import gpt
from experiments.bench.cases.training import choose_parts, random_batch, training_calls
from experiments.bench.flops import product_flops
from experiments.bench.shapes import BatchSpec
from experiments.bench.timing import race
from experiments.bench.transformers import TINY, build, sized_transformer
from experiments.bench.trials import Calls, timed
from experiments.language_model.config import Config as LanguageConfig
from experiments.language_model.configs import GPT2_124M
from experiments.translate.config import Config
from experiments.translate.configs import WMT14_TRANSFORMER_BIG
from experiments.translate.model import TranslationModel

BIG_LENGTH = 32  # a side; a sentence of WMT'14 has some 28 pieces, and the end
CHAIN = 8  # products, one after the other
PASSES = 3  # forward, and twice as much backward


class Work(NamedTuple):
    """A training step, and what it is worth."""

    calls: Calls  # the whole step of each system
    shape: dict[str, int]
    tokens: int  # that it learns to predict
    flops: int  # of the model's products


def time_utilisation(options: Any) -> list[dict[str, Any]]:
    """Times the training steps; one record per model, dtype and system.

    Args:
      options: a `commands.Utilisation`.

    Returns:
      Records with `model`, `shape`, `dtype`, `system`, `seconds`, `tokens_per_second`,
      `flops_per_second`, `matmul_flops_per_second` and `utilisation`.
    """
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        best = matmul_rate(dtype, options)
        for model in options.models:
            work = WORK[model](options, dtype)
            what = {"model": model, "shape": work.shape, "dtype": dtype}
            records += [
                with_utilisation(r, work, best)
                for r in timed(work.calls, what, options)
            ]
            jax.clear_caches()
    return records


def with_utilisation(record: dict[str, Any], work: Work, best: float) -> dict[str, Any]:
    """The record with its rates, and their share of the best."""
    rate = work.flops / record["seconds"]
    return record | {
        "tokens_per_second": work.tokens / record["seconds"],
        "flops_per_second": rate,
        "matmul_flops_per_second": best,
        "utilisation": rate / best,
    }


def matmul_rate(dtype: Any, options: Any) -> float:
    """Floating-point operations a second of large square products."""
    size = 64 if options.tiny else options.matmul_size
    keys = jax.random.split(jax.random.key(0))
    # Of such a scale that a product has the scale of what goes in.
    w = jax.random.normal(keys[0], (size, size), dtype) * jnp.asarray(size**-0.5, dtype)
    x = jax.random.normal(keys[1], (size, size), dtype)

    @jax.jit
    def chain(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.fori_loop(0, CHAIN, lambda _, x: precision.matmul(x, w), x)

    calls = {"products": lambda: jax.block_until_ready(chain(x, w))}
    timing = race(calls, repeats=options.repeats)["products"]
    return CHAIN * 2 * size**3 / timing.seconds(options.clock)


def gpt_work(options: Any, dtype: Any) -> Work:
    """A step of GPT-2 of 124M parameters, of 491,520 tokens."""
    config = _gpt_config(options, dtype)
    V, T, B = config.model.vocab_size, config.model.max_length, config.batch_size
    calls = gpt.step_calls(config, V, options.systems)
    system, params = gpt.without_text(config, V)
    crops = jax.ShapeDtypeStruct((B, T + 1), jnp.int32)
    flops = PASSES * product_flops(system.loss, params, crops)
    return Work(calls, {"B": B, "T": T, "V": V}, B * T, flops)


def _gpt_config(options: Any, dtype: Any) -> LanguageConfig:
    config = GPT2_124M
    model = dataclasses.replace(config.model, dtype=dtype)
    if options.tiny:
        model = dataclasses.replace(gpt.TINY.model, dtype=dtype, vocab_size=23)
        config = dataclasses.replace(config, batch_size=6, accumulation_steps=3)
    if options.rows is not None:
        config = dataclasses.replace(
            config, batch_size=options.rows, accumulation_steps=1
        )
    return dataclasses.replace(config, model=model)


def transformer_work(options: Any, dtype: Any) -> Work:
    """A step of the paper's big Transformer, of 25,000 tokens a side."""
    config = _transformer_config(options, dtype)
    T = 7 if options.tiny else BIG_LENGTH
    B = options.rows or (5 if options.tiny else config.batch_tokens // T)
    spec = BatchSpec(B, T, T, batches=1, source_tokens=B * T, target_tokens=B * T)
    V = config.model.target_vocab_size
    compiled = not options.systems or trials.COMPILED in options.systems
    every = training_calls(config, spec, compiled=compiled)
    calls = choose_parts(every, options.systems)
    rebuild, params = build(config.model)
    loss = partial(TranslationModel(rebuild, None).loss, rng=None)  # type: ignore[arg-type]
    flops = PASSES * product_flops(loss, params, random_batch(spec, V))
    steps = {
        n.removesuffix(" step"): c for n, c in calls.items() if n.endswith(" step")
    }
    return Work(steps, {"B": B, "S": T, "T": T, "V": V}, B * T, flops)


def _transformer_config(options: Any, dtype: Any) -> Config:
    config = WMT14_TRANSFORMER_BIG
    model: Any = config.model
    if options.tiny:
        block = dataclasses.replace(TINY.block, pre_norm=model.block.pre_norm)
        model = sized_transformer(model, tiny=True, block=block)
    return dataclasses.replace(config, model=dataclasses.replace(model, dtype=dtype))


WORK: dict[str, Callable[[Any, Any], Work]] = {
    "wmt14-transformer-big": transformer_work,
    "gpt2-124m": gpt_work,
}
