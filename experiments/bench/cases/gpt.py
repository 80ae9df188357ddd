"""nanoGPT's configuration for a CPU, beside PyTorch: one step, or a whole training.

All systems start from the same parameters and get the same windows of text in the same
order, so their losses differ only by rounding.
"""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from attnjax.models.gpt import GPTConfig
from attnjax.train import Params, init_state, make_train_step
from experiments.bench.cases.compiling import no_persistent_cache
from experiments.bench.gpt_task import TokenizedText, Trainer
from experiments.bench.systems import (
    ATTNJAX,
    TORCH_COMPILED,
    Calls,
    is_installed,
    select_systems,
)
from experiments.bench.timing import is_too_slow, measure
from experiments.cli.progress_bar import ProgressBar
from experiments.datasets.tokenizers.text import CharacterTokenizer
from experiments.language_model.config import Config
from experiments.language_model.configs import CHAR_BLOCK, SHAKESPEARE_CHAR
from experiments.language_model.model import LanguageModel, build_model
from experiments.training.parameters import count_parameters

VOCAB_SIZE = 65  # characters of tiny Shakespeare
SMOKE_VOCAB_SIZE = 23
TINY = dataclasses.replace(
    SHAKESPEARE_CHAR,
    model=GPTConfig(
        num_layers=2,
        max_length=11,
        block=dataclasses.replace(CHAR_BLOCK, d_model=12, num_heads=3, d_ff=17),
    ),
    optimizer=dataclasses.replace(SHAKESPEARE_CHAR.optimizer, warmup_steps=2),
    batch_size=5,
)
Factories = dict[str, Callable[[], Trainer]]


class JaxTrainer:
    """The training of `experiments.language_model`; implements `gpt_task.Trainer`."""

    def __init__(self, config: Config, model: LanguageModel, params: Params) -> None:
        """Initialises the state; the first step compiles."""
        tx = config.optimizer.build(config.steps)
        self._train = make_train_step(
            model.loss, tx, accumulation_steps=config.accumulation_steps
        )
        self._loss = jax.jit(model.loss)
        self._rng = jax.random.key(config.seed)
        self.state = init_state(params, tx)

    def step(self, windows: np.ndarray) -> None:
        """Dispatches an optimisation step."""
        self.state, _ = self._train(self.state, windows, self._rng)

    def wait(self) -> None:
        """Waits until the device has finished all steps."""
        jax.block_until_ready(self.state)

    def loss(self, windows: np.ndarray) -> tuple[float, int]:
        """The summed cross-entropy of the targets, in nats, and their number."""
        loss = self._loss(self.state.params, windows)
        return float(loss.total), int(loss.num_tokens)


def time_gpt(options: Any) -> list[dict[str, Any]]:
    """Times a training step on random ids; one record per system and dtype.

    Args:
      options: a `commands.GPT`.

    Returns:
      Records of `timing.measure` with `config`, `shape`, `dtype` and
      `tokens_per_second`.
    """
    V = SMOKE_VOCAB_SIZE if options.smoke else VOCAB_SIZE
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        config = build_config(options, dtype)
        B, T = config.batch_size, config.model.max_length
        labels = {
            "config": config_name(options),
            "shape": {"B": B, "T": T, "V": V},
            "dtype": dtype,
        }
        calls = step_calls(config, V, options.systems)
        records += [
            r | {"tokens_per_second": B * T / r["seconds"]}
            for r in measure(
                calls, labels, repeats=options.repeats, clock=options.clock
            )
        ]
    return records


def step_calls(config: Config, V: int, systems: tuple[str, ...]) -> Calls:
    """A training step on random ids below V, by selected system."""
    shape = config.batch_size, config.model.max_length + 1
    ids = np.random.default_rng(0).integers(0, V, shape, dtype=np.int32)
    factories = trainer_factories(config, *random_init(config, V), systems)
    return {n: partial(_step_and_wait, make(), ids) for n, make in factories.items()}


def _step_and_wait(trainer: Trainer, windows: np.ndarray) -> None:
    trainer.step(windows)
    trainer.wait()


def train_gpt(options: Any) -> list[dict[str, Any]]:
    """Trains every system on a text, one after another, and validates it.

    Args:
      options: a `commands.GPT` with a text.

    Returns:
      Records with `config`, `dtype`, `steps`, `parameters`, `system` and the figures of
      `train_and_validate`; a system that is too slow has the `seconds` of a step, and
      `left_out`.

    Raises:
      UserError: if the text is missing or too short.
    """
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        config = build_config(options, dtype)
        text = TokenizedText.from_file(options.text, config)
        model, params = build_model(config, text.tokenizer)
        labels = {
            "config": config_name(options),
            "dtype": dtype,
            "steps": config.steps,
            "parameters": count_parameters(params),
        }
        factories = trainer_factories(config, model, params, options.systems)
        with no_persistent_cache():  # the first step is timed with its compilation
            ours: float | None = None  # seconds of one step
            for name, make in factories.items():
                seconds = seconds_of_a_step(make(), text)
                ours = seconds if name == ATTNJAX else ours
                figures: dict[str, Any] = {"seconds": seconds, "left_out": True}
                if not is_too_slow(seconds, ours):
                    figures = train_and_validate(name, make, text, config)
                records.append(labels | {"system": name} | figures)
    return records


def seconds_of_a_step(trainer: Trainer, text: TokenizedText) -> float:
    """Times the second step of a trainer; the first one may compile."""
    _step_and_wait(trainer, text.train.batch(0))
    start = time.perf_counter()
    _step_and_wait(trainer, text.train.batch(1))
    return time.perf_counter() - start


def train_and_validate(
    name: str, make: Callable[[], Trainer], text: TokenizedText, config: Config
) -> dict[str, float]:
    """Trains a system and evaluates it on the validation split.

    Returns:
      `seconds` and `cpu_seconds` of all steps, `first_step_seconds` (with compilation;
      part of `seconds`), `validation_seconds` and `validation_loss` in nats per token.
    """
    start, cpu = time.perf_counter(), time.process_time()
    trainer = make()
    title = f"training {name}, {config.model.dtype}"
    with ProgressBar(title, config.steps) as progress:
        _step_and_wait(trainer, text.train.batch(0))
        first = time.perf_counter() - start
        for step in range(1, config.steps):
            trainer.step(text.train.batch(step))
            progress.advance(1)
        trainer.wait()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    losses = np.array([trainer.loss(windows) for windows in text.validation_windows()])
    total, count = losses.sum(axis=0)
    return {
        "seconds": seconds,
        "first_step_seconds": first,
        "cpu_seconds": cpu,
        "validation_seconds": time.perf_counter() - start - seconds,
        "validation_loss": total / count,
    }


def random_init(config: Config, V: int) -> tuple[LanguageModel, Params]:
    """A model with a vocabulary of V characters, and its initial parameters."""
    # Characters needs a newline, which is chr(10), so V must exceed 10.
    return build_model(config, CharacterTokenizer(map(chr, range(V))))


def config_name(options: Any) -> str:
    """The name of the config in `experiments.language_model`."""
    return "tiny" if options.smoke else "shakespeare-char"


def build_config(options: Any, dtype: Any) -> Config:
    """The config with the compute dtype and number of steps from the options."""
    config = TINY if options.smoke else SHAKESPEARE_CHAR
    model = dataclasses.replace(config.model, dtype=dtype)
    return dataclasses.replace(config, model=model, steps=options.steps)


def trainer_factories(
    config: Config, model: LanguageModel, params: Params, systems: tuple[str, ...]
) -> Factories:
    """Constructors of the selected systems' trainers.

    Without a selection these are all installed systems, and torch-compiled only where
    `torch.compile` works.

    Raises:
      UserError: if a selected system is not installed.
    """
    factories: Factories = {ATTNJAX: partial(JaxTrainer, config, model, params)}
    if not is_installed("torch"):
        return select_systems(factories, systems)
    from experiments.bench.peers.torch_device import check_torch_compile
    from experiments.bench.peers.torch_gpt import TorchTrainer

    assert isinstance(model.config, GPTConfig)  # the task trains no other model
    make = partial(TorchTrainer, config, model.config, params)
    factories |= {
        "torch": partial(make, compiled=False),
        TORCH_COMPILED: partial(make, compiled=True),
    }
    selected: Factories = select_systems(factories, systems)
    if TORCH_COMPILED in selected and not check_torch_compile():
        del selected[TORCH_COMPILED]
    return selected
