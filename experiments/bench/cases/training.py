"""Training steps in the batch shapes of Multi30k, in target tokens per second.

Token ids are random; batch shapes, their frequencies and the amount of padding are
those of the data.
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
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES, BatchSpec
from experiments.bench.systems import (
    ATTNJAX,
    TORCH_COMPILED,
    Calls,
    is_installed,
    select_systems,
)
from experiments.bench.timing import measure
from experiments.bench.transformer_configs import (
    SMOKE_VOCAB_SIZE,
    TRAINING,
    VOCAB_SIZE,
    build,
    set_vocab_size,
)
from experiments.datasets.pairs.batching import Batch
from experiments.translate.config import Config
from experiments.translate.configs import MULTI30K_FIXED_VECTOR, MULTI30K_RNNSEARCH
from experiments.translate.model import TranslationModel

# The sizes for which the speed of JoeyNMT is known.
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
    """Times forward pass, forward and backward pass, and whole step; one record each.

    Args:
      options: a `commands.Train`.

    Returns:
      Records of `timing.measure` with `model`, `shape`, `dtype`, `part` and, for whole
      steps, `tokens_per_second` and `padded_tokens_per_second`.
    """
    records: list[dict[str, Any]] = []
    specs = TINY_BATCHES if options.smoke else MULTI30K_BATCHES
    frequent = sorted(specs, key=lambda spec: -spec.batches)[: options.shapes]
    for dtype in options.dtypes:
        config = build_config(CONFIGS[options.model], dtype, smoke=options.smoke)
        for spec in frequent:
            calls = training_calls(config, spec, options.systems)
            labels = {"model": options.model, "dtype": dtype, "shape": spec._asdict()}
            records += [
                with_rates(r, spec)
                for r in measure(
                    calls, labels, repeats=options.repeats, clock=options.clock
                )
            ]
    return records


def build_config(config: Config, dtype: Any, *, smoke: bool) -> Config:
    """The config with a compute dtype and vocabulary sizes; tiny in a smoke test."""
    if isinstance(config.model, TransformerConfig):
        model: Any = set_vocab_size(config.model, smoke=smoke, dtype=dtype)
        return dataclasses.replace(config, model=model)
    V = SMOKE_VOCAB_SIZE if smoke else VOCAB_SIZE
    sizes: dict[str, Any] = {
        "source_vocab_size": V,
        "target_vocab_size": V,
        "dtype": dtype,
    }
    if smoke:
        sizes |= {"embed_dim": 13, "hidden_dim": 11, "readout_dim": 13}
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))


def training_calls(
    config: Config, spec: BatchSpec, systems: tuple[str, ...], *, compiled: bool = False
) -> Calls:
    """The parts of a training step, by "system part", such as "torch backward".

    Args:
      config: of model, loss and optimiser.
      spec: shape of the batch.
      systems: names of the systems to build; empty means all that are installed.
      compiled: whether those include torch-compiled.

    Raises:
      UserError: if a selected system is not installed.
    """
    host = random_batch(spec, config.model.target_vocab_size)
    batch = Batch(*map(jnp.asarray, host))  # type: ignore[arg-type]
    factories: Calls = {ATTNJAX: partial(jax_steps, config, batch)}
    if is_installed("torch") and has_torch_model(config):
        from experiments.bench.peers.torch_training import torch_steps

        factories["torch"] = partial(torch_steps, config, *host)
        if compiled or TORCH_COMPILED in systems:
            factories[TORCH_COMPILED] = partial(
                torch_steps, config, *host, compiled=True
            )
    # Selected before they are built, so that the others take no time or memory.
    selected = select_systems(factories, systems)
    if TORCH_COMPILED in selected:
        from experiments.bench.peers.torch_device import check_torch_compile

        if not check_torch_compile():
            del selected[TORCH_COMPILED]
    return {
        f"{system} {part}": call
        for system, make in selected.items()
        for part, call in make().items()
    }


def has_torch_model(config: Config) -> bool:
    """Whether `peers.torch_training` has the config's model."""
    return isinstance(config.model, RNNSearchConfig | TransformerConfig)


def with_rates(record: dict[str, Any], spec: BatchSpec) -> dict[str, Any]:
    """Splits the record's "system part", and adds the rates of a whole step."""
    system, _, part = record["system"].partition(" ")
    record = record | {"system": system, "part": part}
    if part == "step":
        seconds = record["seconds"]
        record["tokens_per_second"] = spec.target_tokens / seconds
        record["padded_tokens_per_second"] = spec.B * spec.T / seconds
    return record


def jax_steps(config: Config, batch: Batch) -> dict[str, Callable[[], Any]]:
    """Forward pass, forward and backward pass, and whole step of attnjax."""
    rebuild, params = build(config.model)
    loss = partial(
        TranslationModel(rebuild, None).loss,  # type: ignore[arg-type]
        label_smoothing=config.label_smoothing,
    )
    tx = config.optimizer.build(config.steps)
    rng = jax.random.key(config.seed)
    forward = jax.jit(lambda params: loss(params, batch, rng))
    forward_backward = jax.jit(
        jax.value_and_grad(lambda params: loss(params, batch, rng).total)
    )
    step = make_train_step(loss, tx)
    # The step donates its state, so every call starts from the result of the last one.
    state = [init_state(params, tx)]

    def whole_step() -> Any:
        state[0], metrics = step(state[0], batch, rng)
        return jax.block_until_ready((state[0], metrics))

    return {
        "forward": lambda: jax.block_until_ready(forward(params)),
        "backward": lambda: jax.block_until_ready(forward_backward(params)),
        "step": whole_step,
    }


def random_batch(spec: BatchSpec, vocab: int) -> Batch:
    """Random ids; as many of them are not padding as in a mean batch of the data."""
    rng = np.random.default_rng(0)

    def side(length: int, tokens: int) -> np.ndarray:
        ids = rng.integers(FIRST_ID, vocab, (spec.B, length), dtype=np.int32)
        # Padding is distributed evenly: row lengths differ by at most one.
        lengths = np.full(spec.B, length)
        for i in range(spec.B * length - tokens):
            lengths[i % spec.B] -= 1
        ids[np.arange(length) >= lengths[:, None]] = 0  # [B] -> [B, 1]
        return ids

    return Batch(side(spec.S, spec.source_tokens), side(spec.T, spec.target_tokens))
