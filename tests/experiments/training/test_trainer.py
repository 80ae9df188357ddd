"""The optimiser's settings, and any task in the one trainer."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnjax.train import Loss
from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.training.config import TrainingConfig
from experiments.training.optimizer import OptimizerConfig
from experiments.training.task import Best, Task, TaskSetup, generate_batches
from experiments.training.trainer import train
from tests.experiments.commands import contents

pytestmark = pytest.mark.versions

WIDTH, WARMUP = 512, 4_000


def test_the_inverse_root_is_the_transformer_papers():
    config = OptimizerConfig(
        learning_rate=(WIDTH * WARMUP) ** -0.5,
        warmup_steps=WARMUP,
        lr_schedule="inverse_sqrt",
    )
    rate = config.build_schedule(100_000)
    for step in (1, 7, WARMUP - 1, WARMUP, WARMUP + 1, 16_000, 100_000):
        want = WIDTH**-0.5 * min(step**-0.5, step * WARMUP**-1.5)  # eq. 3
        np.testing.assert_allclose(rate(step), want, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    "lr_schedule", ["constant", "cosine", "linear", "inverse_sqrt"]
)
@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_the_learning_rate_rises_to_its_highest_and_then_never_rises(
    lr_schedule, warmup_steps
):
    config = OptimizerConfig(
        learning_rate=0.3, warmup_steps=warmup_steps, lr_schedule=lr_schedule
    )
    rates = np.array([config.build_schedule(50)(step) for step in range(51)])
    np.testing.assert_allclose(rates.max(), rates[warmup_steps], rtol=1e-6)
    np.testing.assert_allclose(rates[warmup_steps], 0.3, rtol=1e-6)
    assert (np.diff(rates[: warmup_steps + 1]) > 0).all()
    assert (np.diff(rates[warmup_steps:]) <= 1e-7).all()


def test_a_gradient_is_shortened_unless_any_norm_is_allowed():
    params, gradient = jnp.zeros(3), jnp.array([30.0, 0.0, 40.0])

    def first_moment(**settings):
        tx = OptimizerConfig(**settings).build(10)
        with jax.numpy_dtype_promotion("standard"):
            _, state = tx.update(gradient, tx.init(params), params)
        return optax.tree_utils.tree_get(state, "mu")

    chex.assert_trees_all_close(first_moment(max_grad_norm=1.0), gradient * (0.1 / 50))
    chex.assert_trees_all_close(first_moment(max_grad_norm=None), gradient * 0.1)


def test_epsilon_is_adams():
    params, gradient = jnp.zeros(1), jnp.array([1e-3])
    tx = OptimizerConfig(learning_rate=1.0, epsilon=1e-3, max_grad_norm=None).build(10)
    with jax.numpy_dtype_promotion("standard"):
        update, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_allclose(update, -0.5, rtol=1e-5)  # -g / (|g| + epsilon)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParityConfig(TrainingConfig):
    """Settings of the toy task below."""

    bits: int = 3
    batch_size: int = 8
    steps: int = 6
    ema_decay: float | None = 0.5
    accumulation_steps: int = 2
    log_every: int = 1
    eval_every: int = 4
    save_every: int = 2


class Parity(Task):
    """Predicts the parity of random bits: generated data, a cost in bits a sequence."""

    best: ClassVar[Best] = ("bits_per_sequence", "min")

    def __init__(self, config: ParityConfig, setup: TaskSetup) -> None:
        if config.bits > 5:
            raise UserError(f"bits: expected at most 5, got {config.bits}")
        self.config, self.setup = config, setup

    def init_params(self) -> dict[str, jax.Array]:
        return {"table": jnp.zeros((2**self.config.bits, 2))}

    def loss(self, params: Any, batch: Any, rng: jax.Array | None) -> Loss:
        words, parities = batch
        logits = params["table"][words]
        if rng is not None:  # so that randomness counts
            logits += 0.1 * jax.random.normal(rng, logits.shape)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, parities)
        return Loss(nats.sum(), jnp.int32(parities.size))

    def batches(self, start: int) -> Iterator[Any]:
        return generate_batches(self.make_batch, start)

    def make_batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng((self.config.seed, step))
        words = draw.integers(2**self.config.bits, size=self.config.batch_size)
        return words, np.bitwise_count(words).astype(np.int32) % 2

    def evaluate(self, params: Any) -> Mapping[str, float]:
        loss = self.loss(params, self.make_batch(10**6), None)
        nats = float(loss.total) / int(loss.num_tokens)
        return {"bits_per_sequence": nats / np.log(2)}

    def samples(self, params: Any) -> Iterator[str]:
        yield f"parity of 101: {params['table'][5].argmax()}"

    def save(self, folder: Path) -> None:
        (folder / "vocabulary.json").write_text("[0, 1]")

    def summary(self) -> str:
        return f"{self.config.bits} bits"

    def fingerprints(self) -> Mapping[str, str]:
        return {"training": DATA["training"]}


DATA = {"training": "0a1b"}  # a test changes it


def curve(folder: Path) -> list[dict[str, float]]:
    """The log of a run without what depends on the clock."""
    return [
        {k: v for k, v in line.items() if k not in ("time", "tokens_per_second")}
        for line in Run.open(folder).metrics()
    ]


@pytest.fixture(scope="module")
def parity_run(tmp_path_factory) -> tuple[Path, Any, list[str]]:
    """A finished run of the toy task: folder, parameters, what was said."""
    folder, said = tmp_path_factory.mktemp("parity") / "run", []
    params = train(Parity, ParityConfig(), folder, say=said.append)
    return folder, params, said


def test_a_task_needs_no_loop_to_train_evaluate_and_save(parity_run):
    folder, params, said = parity_run
    assert said == ["3 bits"]
    assert json.loads((folder / "vocabulary.json").read_text()) == [0, 1]
    assert Run.open(folder).config_as(ParityConfig) == ParityConfig()
    chex.assert_trees_all_equal(Run.open(folder).load_params("last"), params)
    lines = curve(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["tokens"] for line in lines] == [8, 16, 24, 32, 40, 48]
    bits = [line.get("validation/bits_per_sequence") for line in lines]
    assert [b is not None for b in bits] == [False, False, False, True, False, True]
    assert bits[5] < bits[3] < 1


def test_a_task_that_was_cut_off_resumes_to_the_same_bits(parity_run, tmp_path):
    folder, params, _ = parity_run

    class CutOff(Parity):
        def batches(self, start: int) -> Iterator[Any]:
            yield from itertools.islice(super().batches(start), 5)
            raise ConnectionError

    setups = []

    class Resumed(Parity):
        def __init__(self, config: ParityConfig, setup: TaskSetup) -> None:
            super().__init__(config, setup)
            setups.append(setup)

    with pytest.raises(ConnectionError):
        train(CutOff, ParityConfig(), tmp_path / "run")
    assert Run.open(tmp_path / "run").checkpoints.steps() == [2, 4]
    resumed = train(Resumed, ParityConfig(), tmp_path / "run", resume=True)
    assert setups[0].saved == tmp_path / "run"  # where `save` has put its files
    chex.assert_trees_all_equal(resumed, params)
    assert curve(tmp_path / "run") == curve(folder)


def test_samples_are_shown_beside_the_metrics(tmp_path, capsys):
    config = ParityConfig(steps=1, bits=5, ema_decay=None)
    train(Parity, config, tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    place = next(i for i, line in enumerate(said) if "bits_per_sequence" in line)
    assert said[place + 1].startswith("  parity of 101: ")


def test_what_a_task_refuses_leaves_no_run(tmp_path):
    with pytest.raises(UserError, match="bits: expected at most 5, got 7"):
        train(Parity, ParityConfig(bits=7), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    train(Parity, ParityConfig(steps=1), tmp_path / "run")
    with pytest.raises(UserError, match="seed: 0 saved, 1 now"):
        train(Parity, ParityConfig(steps=1, seed=1), tmp_path / "run", resume=True)


def test_a_task_must_define_what_has_no_default():
    class Incomplete(Task):
        best = ("loss", "min")

    with pytest.raises(TypeError, match=r"batches.*evaluate.*init_params.*loss"):
        Incomplete()


@pytest.mark.parametrize("start", [0, 7])
def test_generated_batches_continue_at_any_step(start):
    batches = generate_batches(lambda step: {"x": np.full((3, 2), step)}, start)
    for step, batch in zip(range(start, start + 5), batches, strict=False):
        np.testing.assert_array_equal(batch["x"], np.full((3, 2), step))


def test_a_resumed_run_notices_other_data_and_changes_nothing(
    parity_run, tmp_path, monkeypatch
):
    folder = Path(shutil.copytree(parity_run[0], tmp_path / "run"))
    before = contents(folder)
    assert json.loads((folder / "data.json").read_text()) == DATA
    monkeypatch.setitem(DATA, "training", "2c3d")
    with pytest.raises(
        UserError,
        match=r"^data: expected the training data with which the run in .*run was "
        r"started \(fingerprint 0a1b\), got others \(2c3d: restore the files, or",
    ):
        train(Parity, ParityConfig(steps=8), folder, resume=True)
    assert contents(folder) == before


def test_more_steps_and_other_saves_end_with_the_bits_of_one_long_run(
    parity_run, tmp_path
):
    """Without a learning-rate schedule, which depends on the number of steps."""
    folder = Path(shutil.copytree(parity_run[0], tmp_path / "run"))
    longer = {"steps": 12, "save_every": 5, "keep_last": 3}
    params = train(Parity, ParityConfig(**longer), folder, resume=True)
    whole = train(Parity, ParityConfig(**longer), tmp_path / "whole")
    chex.assert_trees_all_equal(params, whole)
    assert Run.open(folder).config["steps"] == 12
    assert Run.open(folder).checkpoints.steps()[-3:] == [8, 10, 12]
    trained = [{k: line[k] for k in ("step", "tokens")} for line in curve(folder)]
    assert trained == [{"step": n, "tokens": 8 * n} for n in range(1, 13)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 3}, r"expected the config with which this run was .*: seed: 0 saved"),
        ({"steps": 5}, r"^steps: expected at least the 6 that the run in .*, got 5$"),
    ],
)
def test_other_changes_are_refused_by_name(changed, message, parity_run):
    folder = parity_run[0]
    before = contents(folder)
    with pytest.raises(UserError, match=message):
        train(Parity, ParityConfig(**changed), folder, resume=True)
    assert contents(folder) == before


class TwoShapes(Parity):
    """Batches of 8 and of 16 rows, in turn."""

    def make_batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        words, parities = super().make_batch(step)
        return np.tile(words, 1 + step % 2), np.tile(parities, 1 + step % 2)

    def num_shapes(self) -> int:
        return 2


def test_progress_says_which_shape_is_compiled(tmp_path, capsys):
    train(TwoShapes, ParityConfig(steps=4, save_every=0), tmp_path / "run")
    lines = capsys.readouterr().err.splitlines()
    compiling = [line for line in lines if "compiling" in line]
    assert compiling == [
        "run  0/4 0%  compiling, shape 1 of 2",
        "run  0/4 0%  compiling, shape 2 of 2",
    ]
