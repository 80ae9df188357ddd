"""Named configs of the five tasks; measured figures are in RESULTS.md.

TASK-MODEL: recipes that depend less on the seed, such as copy-ntm-lstm.
  Paper: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 4, and its sizes.
    From Collier & Beel 2018 (arXiv:1807.08518): a tape of 1e-6, Adam, head outputs
    clipped at 20, the loss summed over bits. Ours: heads start on the first row, Adam
    at 3e-3 falling along a cosine, batches of 8, gradients clipped at a norm of 10; a
    curriculum for repeated copying; strong keys for recall and N-grams; a learned tape
    for sorting.
  Expect: less than 0.1 bits of copying for ten seeds of ten; less than 0.5 of
    repeated copying and of recall for three of three; N-grams 0.6 to 1.2 bits
    above the optimum; 42 to 59 of 128 bits of sorting, by the feed-forward controller.
  Cost: a minute on one CPU core (copy) to 25 minutes (sorting).
  Run: python -m experiments.algorithms train copy-ntm-lstm

TASK-MODEL-paper: the published sizes, learning rates and optimiser.
  Paper: the same, tables 1 to 3: RMSProp of Graves 2013, momentum 0.9, every element
    of the gradient clipped at 10, a learned tape, one sequence at a time.
  Expect: the published curves, for lucky seeds.
  Cost: a million sequences; days on one CPU core.
  Run: python -m experiments.algorithms train copy-ntm-lstm-paper

TASK is copy, repeat-copy, recall, ngrams or sort; MODEL is ntm-lstm, ntm-ff (a
feed-forward controller) or lstm (three layers without a tape).

smoke: four steps of a tiny machine. Seconds.
"""

import dataclasses
from typing import Literal, NamedTuple

from attnjax.models.ntm import NTMConfig
from attnjax.models.rnn import RNNConfig
from experiments.algorithms.config import Config
from experiments.algorithms.sequences import (
    Algorithm,
    AssociativeRecall,
    Copy,
    DynamicNGrams,
    PrioritySort,
    RepeatCopy,
)
from experiments.training.optimizer import OptimizerConfig


class Published(NamedTuple):
    """A row of tables 1 to 3: heads, controller and learning rates of each model."""

    algorithm: Algorithm
    ff: tuple[int, int, float]  # heads, width, learning rate
    lstm: tuple[int, int, int, float]  # heads, layers, width, learning rate
    baseline: tuple[int, float]  # width of three layers, learning rate


PUBLISHED = {
    "copy": Published(Copy(), (1, 100, 1e-4), (1, 1, 100, 1e-4), (256, 3e-5)),
    "repeat-copy": Published(
        RepeatCopy(), (1, 100, 1e-4), (1, 1, 100, 1e-4), (512, 3e-5)
    ),
    "recall": Published(
        AssociativeRecall(), (4, 256, 1e-4), (1, 1, 100, 1e-4), (256, 1e-4)
    ),
    "ngrams": Published(
        DynamicNGrams(), (1, 100, 3e-5), (1, 1, 100, 3e-5), (128, 1e-4)
    ),
    "sort": Published(PrioritySort(), (8, 512, 3e-5), (5, 2, 100, 3e-5), (128, 3e-5)),
}


class Recipe(NamedTuple):
    """How a task is learned without luck, with batches of 8."""

    steps: int
    curriculum_steps: int = 0
    learning_rate: float = 3e-3
    tape_init: Literal["constant", "learned"] = "constant"
    strength_bias: float = 0.0


RECIPES = {
    "copy": Recipe(5_000),
    "repeat-copy": Recipe(12_000, 8_000),
    # What is looked up by content, a query or the last bits, needs strong keys: heads
    # with weak ones are slow to find it.
    "recall": Recipe(16_000, learning_rate=1e-3, strength_bias=5.0),
    "ngrams": Recipe(15_000, strength_bias=5.0),
    # Where rows of the tape are alike at first, no head finds one by a priority.
    "sort": Recipe(30_000, learning_rate=1e-3, tape_init="learned"),
}


def _model(row: Published, name: str) -> tuple[NTMConfig | RNNConfig, float]:
    """The published model of a row, and its learning rate."""
    if name == "lstm":
        width, rate = row.baseline
        return RNNConfig(hidden_dim=width), rate
    if name == "ntm-ff":
        heads, width, rate = row.ff
        layers, controller = 1, "feed-forward"
    else:
        heads, layers, width, rate = row.lstm
        controller = "lstm"
    model = NTMConfig(
        controller=controller,  # type: ignore[arg-type]
        hidden_dim=width,
        num_layers=layers,
        num_read_heads=heads,
        num_write_heads=heads,
    )
    return model, rate


def _published(row: Published, name: str) -> Config:
    model, rate = _model(row, name)
    if isinstance(model, NTMConfig):
        model = dataclasses.replace(model, tape_init="learned", start_weights="spread")
    return Config(
        algorithm=row.algorithm,
        model=model,
        optimizer=OptimizerConfig(
            name="rmsprop", learning_rate=rate, max_grad_norm=None, max_grad_value=10.0
        ),
        batch_size=1,
        steps=1_000_000,
        log_every=1_000,
        eval_every=10_000,
        save_every=10_000,
    )


def _stable(row: Published, task: str, name: str) -> Config:
    model, _ = _model(row, name)
    recipe = RECIPES[task]
    if isinstance(model, NTMConfig):
        model = dataclasses.replace(
            model, tape_init=recipe.tape_init, strength_bias=recipe.strength_bias
        )
    return Config(
        algorithm=row.algorithm,
        model=model,
        optimizer=OptimizerConfig(
            learning_rate=recipe.learning_rate,
            lr_schedule="cosine",
            beta2=0.999,
            max_grad_norm=10.0,  # as long as most are; spikes are 100 times longer
        ),
        batch_size=8,
        steps=recipe.steps,
        curriculum_steps=recipe.curriculum_steps,
        eval_every=250,
        save_every=1_000,
    )


SMOKE = Config(
    algorithm=Copy(bits=3, max_length=4),
    model=NTMConfig(hidden_dim=11, tape_size=7, tape_width=5),
    batch_size=4,
    validation_size=8,
    steps=4,
    log_every=1,
    eval_every=2,
    save_every=2,
)

CONFIGS: dict[str, tuple[str, Config]] = {
    "smoke": ("Four steps of a tiny machine that copies.", SMOKE)
}
_MODELS = {
    "ntm-lstm": "a Neural Turing Machine with an LSTM controller",
    "ntm-ff": "a Neural Turing Machine with a feed-forward controller",
    "lstm": "three LSTM layers",
}
for _task, _row in PUBLISHED.items():
    for _name, _what in _MODELS.items():
        CONFIGS[f"{_task}-{_name}"] = (
            f"{type(_row.algorithm).__name__} with {_what}.",
            _stable(_row, _task, _name),
        )
        CONFIGS[f"{_task}-{_name}-paper"] = (
            f"{type(_row.algorithm).__name__} with {_what}, as published.",
            _published(_row, _name),
        )
