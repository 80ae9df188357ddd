"""How long the Transformer's training step takes to compile, shallow and deep.

Layers are an axis of the weights and scanned, so a deep stack should take about as
long as a shallow one. Nothing is computed and no array is made.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from attnjax.train import init_state, make_train_step
from experiments.bench import trials
from experiments.bench.cases.training import random_batch
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES
from experiments.bench.transformers import (
    TRAINING,
    build_abstract,
    sized_transformer,
)
from experiments.translate.config import Config
from experiments.translate.system import System


def time_compiling(options: Any) -> list[dict[str, Any]]:
    """Times tracing, lowering and compiling for each number of layers.

    Args:
      options: a `commands.Compile`.

    Returns:
      Records with `layers` (of the encoder, and as many of the decoder), `dtype`,
      `seconds` and all turns.
    """
    # Programs of earlier runs must not be found on disk.
    jax.config.update("jax_enable_compilation_cache", False)
    spec = max((TINY_BATCHES if options.tiny else MULTI30K_BATCHES), key=lambda s: s[3])
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        calls = {}
        for layers in options.layers:
            model: Any = sized_transformer(
                TRAINING.model,  # type: ignore[arg-type]
                tiny=options.tiny,
                dtype=dtype,
                encoder_layers=layers,
                decoder_layers=layers,
            )
            config = dataclasses.replace(TRAINING, model=model)
            calls[str(layers)] = compile_call(config, spec)
        what = {"shape": spec._asdict(), "dtype": dtype, "part": "compile"}
        for record in trials.timed(calls, what, options):
            layers = int(record.pop("system"))
            records.append(record | {"system": trials.OURS, "layers": layers})
    return records


def compile_call(config: Config, spec: Any) -> Callable[[], Any]:
    """A call that compiles the training step of a config from nothing."""
    tx = config.optimizer.build(config.steps)
    rebuild, params = build_abstract(config.model)
    state = jax.eval_shape(lambda params: init_state(params, tx), params)
    batch = random_batch(spec, config.model.target_vocab_size)
    rng = jax.random.key(config.seed)

    def compiled() -> Any:
        jax.clear_caches()
        loss: Any = partial(
            System(rebuild, None).loss,  # type: ignore[arg-type]
            smoothing=config.label_smoothing,
        )
        return make_train_step(loss, tx).lower(state, batch, rng).compile()  # type: ignore[attr-defined]

    return compiled
