"""Whole training steps at Multi30k's shapes, in target tokens a second.

The ids are random, the shapes, their frequencies and their padding the real ones.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from attnjax.train import init_state, make_train_step
from experiments.bench import trials
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES, BatchSpec
from experiments.bench.transformers import (
    TRAINING,
    VOCAB,
    build,
    sized_transformer,
)
from experiments.bench.trials import COMPILED, Calls, choose, timed
from experiments.datasets.pairs.batching import Batch
from experiments.translate.config import Config
from experiments.translate.configs import MULTI30K_FIXED_VECTOR, MULTI30K_RNNSEARCH
from experiments.translate.model import TranslationModel

# The sizes at which JoeyNMT's speed is known, and its alignment's width.
SIZES: dict[str, Any] = {
    "embed_dim": 256,
    "hidden_dim": 512,
    "readout_dim": 256,
    "tie_output": True,
    "dropout": 0.4,
    "init": "glorot",
}
RNNSEARCH = dataclasses.replace(
    MULTI30K_RNNSEARCH, model=RNNSearchConfig(align_dim=512, **SIZES)
)
FIXED_VECTOR = dataclasses.replace(
    MULTI30K_FIXED_VECTOR, model=RNNEncoderDecoderConfig(**SIZES)
)
CONFIGS = {
    "rnnsearch": RNNSEARCH,
    "fixed-vector": FIXED_VECTOR,
    "transformer": TRAINING,
}
FIRST_ID = 4  # after PAD, BOS, EOS, UNK


def time_training(options: Any) -> list[dict[str, Any]]:
    """Times forward, forward and backward, and the whole step; one record each.

    Args:
      options: a `commands.Train`.

    Returns:
      Records with `model`, `shape`, `dtype`, `system`, `part`, `seconds` and, for
      whole steps, `tokens_per_second` and `padded_tokens_per_second`.
    """
    records: list[dict[str, Any]] = []
    specs = TINY_BATCHES if options.tiny else MULTI30K_BATCHES
    often = sorted(specs, key=lambda spec: -spec.batches)[: options.shapes]
    for dtype in options.dtypes:
        config = sized(CONFIGS[options.model], dtype, tiny=options.tiny)
        for spec in often:
            calls = choose_parts(
                training_calls(config, spec, compiled=COMPILED in options.systems),
                options.systems,
            )
            what = {"model": options.model, "dtype": dtype, "shape": spec._asdict()}
            records += [with_rate(r, spec) for r in timed(calls, what, options)]
    return records


def sized(config: Config, dtype: Any, *, tiny: bool) -> Config:
    """The config in a dtype of computation, with its vocabularies' size."""
    if isinstance(config.model, TransformerConfig):
        model: Any = sized_transformer(config.model, tiny=tiny, dtype=dtype)
        return dataclasses.replace(config, model=model)
    V = 23 if tiny else VOCAB
    sizes: dict[str, Any] = {
        "source_vocab_size": V,
        "target_vocab_size": V,
        "dtype": dtype,
    }
    if tiny:
        sizes |= {"embed_dim": 13, "hidden_dim": 11, "readout_dim": 13}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))


def training_calls(config: Config, spec: BatchSpec, *, compiled: bool) -> Calls:
    """What is timed, named "system part"; of what is compiled only where asked."""
    host = random_batch(spec, config.model.target_vocab_size)
    batch = Batch(*map(jnp.asarray, host))  # type: ignore[arg-type]
    systems = {trials.OURS: jax_steps(config, batch)}
    if trials.installed("torch") and has_peer(config):
        from experiments.bench.peers.torch_device import compiles
        from experiments.bench.peers.torch_training import torch_steps

        systems["torch"] = torch_steps(config, *host)
        if compiled and compiles():
            systems[COMPILED] = torch_steps(config, *host, compiled=True)
    return {
        f"{system} {part}": call
        for system, parts in systems.items()
        for part, call in parts.items()
    }


def has_peer(config: Config) -> bool:
    """Whether the same is written in PyTorch."""
    return isinstance(config.model, RNNSearchConfig | TransformerConfig)


def choose_parts(calls: Calls, systems: tuple[str, ...]) -> Calls:
    """The calls of the systems that were asked for."""
    names = {name.partition(" ")[0]: calls[name] for name in calls}
    wanted = choose(names, systems)
    return {n: call for n, call in calls.items() if n.partition(" ")[0] in wanted}


def with_rate(record: dict[str, Any], spec: BatchSpec) -> dict[str, Any]:
    """The record with system and part apart, and the rates of a whole step."""
    system, _, part = record["system"].partition(" ")
    record = record | {"system": system, "part": part}
    if part == "step":
        seconds = record["seconds"]
        record["tokens_per_second"] = spec.target_tokens / seconds
        record["padded_tokens_per_second"] = spec.B * spec.T / seconds
    return record


def jax_steps(config: Config, batch: Batch) -> dict[str, Callable[[], Any]]:
    """Our forward pass, forward and backward passes, and whole step."""
    rebuild, params = build(config.model)
    loss = partial(
        TranslationModel(rebuild, None).loss,  # type: ignore[arg-type]
        label_smoothing=config.label_smoothing,
    )
    tx = config.optimizer.build(config.steps)
    rng = jax.random.key(config.seed)
    forward = jax.jit(lambda params: loss(params, batch, rng))
    both = jax.jit(jax.value_and_grad(lambda params: loss(params, batch, rng).total))
    step = make_train_step(loss, tx)
    state = [init_state(params, tx)]

    def whole() -> Any:
        state[0], metrics = step(state[0], batch, rng)
        return jax.block_until_ready((state[0], metrics))

    return {
        "forward": lambda: jax.block_until_ready(forward(params)),
        "backward": lambda: jax.block_until_ready(both(params)),
        "step": whole,
    }


def random_batch(spec: BatchSpec, vocab: int) -> Batch:
    """Random ids with as many real tokens as such a batch has on average."""
    rng = np.random.default_rng(0)

    def side(length: int, tokens: int) -> np.ndarray:
        ids = rng.integers(FIRST_ID, vocab, (spec.B, length), dtype=np.int32)
        # What is missing is missing from all rows alike.
        lengths = np.full(spec.B, length)
        for i in range(spec.B * length - tokens):
            lengths[i % spec.B] -= 1
        ids[np.arange(length) >= lengths[:, None]] = 0
        return ids

    return Batch(side(spec.S, spec.source_tokens), side(spec.T, spec.target_tokens))
