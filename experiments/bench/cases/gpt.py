"""nanoGPT's set-up for a CPU, ours beside PyTorch's: one step, and a whole training.

Every system begins with the same weights and is given the same crops in the same
order, so what it learns differs by rounding only.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from attnjax.models.gpt import GPTConfig
from attnjax.train import Params, init_state, make_train_step
from experiments.bench import trials
from experiments.bench.trials import COMPILED, Calls, choose, timed
from experiments.cli.counter import Counter
from experiments.datasets.text.datasets import TextFiles
from experiments.datasets.text.windows import Crops, consecutive_crops
from experiments.datasets.tokenizers.text import Characters
from experiments.language_model.config import Config
from experiments.language_model.configs import SHAKESPEARE_CHAR
from experiments.language_model.system import System, build_system
from experiments.training.config import count_parameters

VOCAB = 65  # characters of tiny Shakespeare
TINY = dataclasses.replace(
    SHAKESPEARE_CHAR,
    model=GPTConfig(
        num_layers=2,
        max_length=11,
        block=dataclasses.replace(
            SHAKESPEARE_CHAR.model.block, d_model=12, num_heads=3, d_ff=17
        ),
    ),
    optimizer=dataclasses.replace(SHAKESPEARE_CHAR.optimizer, warmup=2),
    batch_rows=5,
)


class Learner(Protocol):
    """A language model that learns from crops [B, T + 1] of ids."""

    def step(self, crops: np.ndarray) -> None:
        """Takes the next optimisation step, or asks for it."""

    def wait(self) -> None:
        """Returns when every step that was asked for is done."""

    def nats(self, crops: np.ndarray) -> tuple[float, int]:
        """Nats of the tokens that crops predict, summed, and how many they are."""


class JaxLearner:
    """Ours, as `experiments.language_model` trains it."""

    def __init__(self, config: Config, system: System, params: Params) -> None:
        """Nothing is compiled yet."""
        tx = config.optimizer.build(config.steps)
        self._train = make_train_step(
            system.loss, tx, accumulation_steps=config.accumulate
        )
        self._loss = jax.jit(system.loss)
        self._rng = jax.random.key(config.seed)
        self.state = init_state(params, tx)

    def step(self, crops: np.ndarray) -> None:
        """See `Learner`: asks for it."""
        self.state, _ = self._train(self.state, crops, self._rng)

    def wait(self) -> None:
        """See `Learner`."""
        jax.block_until_ready(self.state)

    def nats(self, crops: np.ndarray) -> tuple[float, int]:
        """See `Learner`."""
        loss = self._loss(self.state.params, crops)
        return float(loss.total), int(loss.num_tokens)


Makers = dict[str, Callable[[], Learner]]


def time_gpt(options: Any) -> list[dict[str, Any]]:
    """Times a training step on random ids; one record per system and dtype.

    Args:
      options: a `commands.GPT`.

    Returns:
      Records with `config`, `shape`, `dtype`, `system`, `seconds`, `tokens_per_second`
      and all turns.
    """
    V = 23 if options.tiny else VOCAB
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        config = sized(options, dtype)
        B, T = config.batch_rows, config.model.max_length
        what = {
            "config": name(options),
            "shape": {"B": B, "T": T, "V": V},
            "dtype": dtype,
        }
        records += [
            r | {"tokens_per_second": B * T / r["seconds"]}
            for r in timed(step_calls(config, V, options.systems), what, options)
        ]
    return records


def step_calls(config: Config, V: int, systems: tuple[str, ...]) -> Calls:
    """A training step of each system asked for, on random ids below V."""
    shape = config.batch_rows, config.model.max_length + 1
    ids = np.random.default_rng(0).integers(0, V, shape, dtype=np.int32)
    chosen = makers(config, *without_text(config, V), systems)
    return {name: partial(_whole, make(), ids) for name, make in chosen.items()}


def _whole(learner: Learner, crops: np.ndarray) -> None:
    learner.step(crops)
    learner.wait()


def train_gpt(options: Any) -> list[dict[str, Any]]:
    """Trains every system on a text, one after the other, and validates it.

    Args:
      options: a `commands.GPT` with a text.

    Returns:
      Records with `system`, `seconds` of all steps, `first_step_seconds` (the one that
      compiles) among them, `cpu_seconds`, `validation_seconds` and `validation_loss`.

    Raises:
      UserError: if the text is missing or too short.
    """
    records: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        config = sized(options, dtype)
        text = Reading.of(options.text, config)
        system, params = build_system(config, text.tokenizer)
        what = {
            "config": name(options),
            "dtype": dtype,
            "steps": config.steps,
            "parameters": count_parameters(params),
        }
        for who, make in makers(config, system, params, options.systems).items():
            records.append(what | {"system": who} | trained(who, make, text, config))
    return records


def without_text(config: Config, V: int) -> tuple[System, Params]:
    """A system whose vocabulary is V characters, and its first parameters."""
    return build_system(config, Characters(map(chr, range(V))))  # a newline is there


class Reading(NamedTuple):
    """A text, cut and encoded as the config says."""

    tokenizer: Characters
    crops: Crops  # of its beginning, to learn from
    validation: np.ndarray  # ids of its last tenth

    @classmethod
    def of(cls, path: Path, config: Config) -> "Reading":
        """Reads a file."""
        splits = TextFiles(text=(path,)).splits()
        train, validation = ("".join(splits[n]) for n in ("train", "validation"))
        tokenizer = Characters(train + validation)
        crops = Crops(
            np.array(tokenizer.encode(train), np.int32),
            rows=config.batch_rows,
            length=config.model.max_length,
            seed=config.seed,
        )
        return cls(tokenizer, crops, np.array(tokenizer.encode(validation), np.int32))

    def whole_validation(self) -> Iterator[np.ndarray]:
        """Batches in which every validation token is predicted once."""
        return consecutive_crops(
            self.validation,
            first=self.tokenizer.newline,
            rows=self.crops.rows,
            length=self.crops.length,
        )


def trained(
    system: str, make: Callable[[], Learner], text: Reading, config: Config
) -> dict[str, float]:
    """The record of one training."""
    start, cpu = time.perf_counter(), time.process_time()
    learner = make()
    with Counter(f"training {system}, {config.model.dtype}", config.steps) as counter:
        _whole(learner, text.crops.batch(0))
        first = time.perf_counter() - start
        for step in range(1, config.steps):
            learner.step(text.crops.batch(step))
            counter.add(1)
        learner.wait()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    sums = np.array([learner.nats(crops) for crops in text.whole_validation()])
    nats, count = sums.sum(axis=0)
    return {
        "seconds": seconds,
        "first_step_seconds": first,
        "cpu_seconds": cpu,
        "validation_seconds": time.perf_counter() - start - seconds,
        "validation_loss": nats / count,
    }


def name(options: Any) -> str:
    """Of the config, as `experiments.language_model` knows it."""
    return "tiny" if options.tiny else "shakespeare-char"


def sized(options: Any, dtype: Any) -> Config:
    """The config in a dtype of computation, for so many steps."""
    config = TINY if options.tiny else SHAKESPEARE_CHAR
    model = dataclasses.replace(config.model, dtype=dtype)
    return dataclasses.replace(config, model=model, steps=options.steps)


def makers(
    config: Config, system: System, params: Params, wanted: tuple[str, ...]
) -> Makers:
    """What makes a learner of each system asked for that is installed and works.

    Raises:
      UserError: if a system is asked for that is not installed.
    """
    every: Makers = {"attnjax": partial(JaxLearner, config, system, params)}
    if not trials.installed("torch"):
        return choose(every, wanted)
    from experiments.bench.peers.torch_device import compiles
    from experiments.bench.peers.torch_gpt import TorchLearner

    make = partial(TorchLearner, config, system.config, params)
    every |= {
        "torch": partial(make, compiled=False),
        COMPILED: partial(make, compiled=True),
    }
    chosen: Makers = choose(every, wanted)
    if COMPILED in chosen and not compiles():
        del chosen[COMPILED]
    return chosen
