"""Compile time of the Transformer's training step, for shallow and deep stacks.

Layers are stacked in one array and scanned, so the compile time should hardly depend on
their number. Parameters are abstract (`jax.eval_shape`): no step is run.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from attnjax.train import init_state, make_train_step
from experiments.bench.cases.training import random_batch
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES
from experiments.bench.systems import ATTNJAX
from experiments.bench.timing import measure
from experiments.bench.transformer_configs import TRAINING, build, set_vocab_size
from experiments.training.parameters import abstract_params
from experiments.translate.config import Config
from experiments.translate.model import TranslationModel


def time_compiling(options: Any) -> list[dict[str, Any]]:
    """Times tracing, lowering and compiling for each number of layers.

    Args:
      options: a `commands.Compile`.

    Returns:
      Records of `timing.measure` with `shape`, `dtype`, `part` and `layers`: the number
      of encoder layers, which is that of decoder layers too.
    """
    specs = TINY_BATCHES if options.smoke else MULTI30K_BATCHES
    spec = max(specs, key=lambda spec: spec.batches)
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        calls = {}
        for layers in options.layers:
            model: Any = set_vocab_size(
                TRAINING.model,  # type: ignore[arg-type]
                smoke=options.smoke,
                dtype=dtype,
                encoder_layers=layers,
                decoder_layers=layers,
            )
            config = dataclasses.replace(TRAINING, model=model)
            calls[str(layers)] = compile_call(config, spec)
        labels = {"shape": spec._asdict(), "dtype": dtype, "part": "compile"}
        with no_persistent_cache():
            timings = measure(
                calls, labels, repeats=options.repeats, clock=options.clock
            )
        for record in timings:
            layers = int(record.pop("system"))
            records.append(record | {"system": ATTNJAX, "layers": layers})
    return records


def compile_call(config: Config, spec: Any) -> Callable[[], Any]:
    """Tracing, lowering and compiling of a config's training step, without caches."""
    tx = config.optimizer.build(config.steps)
    rebuild, params = abstract_params(partial(build, config.model))
    state = jax.eval_shape(lambda params: init_state(params, tx), params)
    batch = random_batch(spec, config.model.target_vocab_size)
    rng = jax.random.key(config.seed)

    def compile_step() -> Any:
        jax.clear_caches()
        loss: Any = partial(
            TranslationModel(rebuild, None).loss,  # type: ignore[arg-type]
            label_smoothing=config.label_smoothing,
        )
        return make_train_step(loss, tx).lower(state, batch, rng).compile()  # type: ignore[attr-defined]

    return compile_step


@contextlib.contextmanager
def no_persistent_cache() -> Iterator[None]:
    """Disables the persistent compilation cache, where a hit would skip compilation."""
    enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()  # JAX looks at the setting only once, at the first compilation
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        reset_cache()
