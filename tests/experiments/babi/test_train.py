"""Training memory networks from the real command line: killed, spread, misused."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.babi.configs import CONFIGS
from experiments.babi.loading import load_run
from experiments.babi.model import repeat_last
from experiments.babi.task import QuestionTask
from experiments.training.task import TaskSetup
from tests import oracle_memory
from tests.experiments import commands
from tests.experiments.babi.stories import SETTINGS, train_command
from tests.experiments.commands import contents, record
from tests.experiments.disturbed import check_a_kill_changes_nothing

run = partial(commands.run, program="babi")


def test_killed_and_started_again_it_ends_with_the_same_bits(
    soft_run, raw, data_dir, cache, tmp_path
):
    check_a_kill_changes_nothing(
        *train_command("joint-1k", tmp_path / "run", raw, data_dir),
        out=tmp_path / "run",
        undisturbed=soft_run,
        cache=cache,
        program="babi",
    )


def test_what_a_run_leaves_behind(soft_run, hard_run):
    for folder in (soft_run, hard_run):
        names = {path.name for path in folder.iterdir() if path.name[0] != "."}
        assert names >= {
            *("config.json", "metrics.jsonl", "checkpoints"),
            *("vocabulary.json", "data.json"),
        }
        lines = record(folder)
        assert [line["step"] for line in lines] == list(range(1, 9))
        assert {k for k in lines[3] if k.startswith("validation/")} == {
            "validation/error",
            "validation/training_error",
        }
    config = json.loads((hard_run / "config.json").read_text())
    assert config["model"]["class"] == "MemoryNetworkConfig"


@pytest.fixture(scope="module")
def task(raw, data_dir):
    """The task of a config, not trained."""

    def make(name: str, **changes):
        config = CONFIGS[name][1]
        where = {"raw_dir": raw, "data_dir": data_dir, "tasks": (1, 2)}
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, **where), **changes
        )
        return QuestionTask(config, TaskSetup(make_mesh(1), None, lambda text: None))

    return make


def test_noise_is_in_training_only_and_the_linear_start_ends(task):
    """The loss of a batch: with a key it is noisy, without it is not."""
    made = task("joint-1k", linear_start_steps=2, batch_size=8)
    loss = jax.jit(made.loss)
    params = made.init_params()
    batches = made.batches(0)
    first, second, third = (next(batches) for _ in range(3))
    assert first["linear"].all()
    assert second["linear"].all()
    assert not third["linear"].any()
    quiet = [float(loss(params, third, None).total) for _ in range(2)]
    noisy = [float(loss(params, third, jax.random.key(k)).total) for k in (1, 1, 2)]
    assert quiet[0] == quiet[1]
    assert noisy[0] == noisy[1] != noisy[2]
    assert int(loss(params, third, None).num_tokens) == 8
    linear = loss(params, third | {"linear": first["linear"]}, None)
    assert float(linear.total) != quiet[0]


def test_a_linear_start_keeps_the_softmax_of_the_answer(task):
    made = task("joint-1k", linear_start_steps=1, batch_size=8)
    batch = next(made.batches(0))
    params = made.init_params()
    model = made.model.rebuild(params)

    def linear(scores, mask):
        return jnp.where(mask, scores, 0)

    logits, _ = model(batch["facts"], batch["question"], weighting=linear)
    want = sum(
        oracle_memory.softmax_cross_entropy(np.asarray(row, np.float64), y)
        for row, y in zip(logits, batch["answer"], strict=True)
    )
    got = float(made.loss(params, batch, None).total)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_supports_are_of_each_question_not_of_the_first():
    """One fact, two, three and none: K hops repeat the last or keep the first ones."""
    given = jnp.array([[4, -1, -1], [2, 5, -1], [1, 2, 3], [-1, -1, -1]])
    assert repeat_last(given, 2).tolist() == [[4, 4], [2, 5], [1, 2], [-1, -1]]
    assert repeat_last(given, 1).tolist() == [[4], [2], [1], [-1]]
    assert repeat_last(given, 4)[1].tolist() == [2, 5, 5, 5]


def test_batches_are_a_function_of_the_step(task):
    made = task("supervised-1k", batch_size=8)
    stream = made.batches(0)
    for _ in range(5):
        want = next(stream)
    got = next(made.batches(4))
    assert all((got[k] == want[k]).all() for k in want)


def test_the_published_recipe_is_in_the_configs():
    """Rates and norms of gradients summed over 32, here of means."""
    config = CONFIGS["joint-1k"][1]
    assert config.batch_size == 32
    assert config.optimizer.name == "sgd"
    np.testing.assert_allclose(config.optimizer.max_grad_norm * 32, 40)
    assert config.optimizer.clip_each_array
    assert (config.model.num_hops, config.model.memory_size) == (3, 50)
    assert config.model.empty_slots == 0.1
    tenth = CONFIGS["joint-10k"][1].data.tasks
    assert 3 not in tenth
    assert len(tenth) == 19


def test_a_small_world_is_learned(tmp_path, data_dir):
    """Two hops with write times find both facts; one hop cannot."""
    common = (
        *("--data.data-dir", data_dir, "--data.train", 800, "--data.test", 100),
        *("--data.statements", 8, "--steps", 300, "--eval-every", 300),
    )
    errors = {}
    for hops in (1, 2):
        folder = tmp_path / str(hops)
        command = ("train", "world", "--out", folder, "--model.num-hops", hops)
        assert run(*command, *common) == 0
        errors[hops] = record(folder)[-1]["validation/error"]
    assert errors[2] < 0.1 < 0.2 < errors[1]


BAD = {
    "no folder": (
        ("train", "joint-1k"),
        "raw_dir: expected the folder of en/ and en-10k/ of bAbI v1.2, got none",
    ),
    "empty slots": (
        ("train", "smoke", "--model.empty-slots", 1),
        "model.empty_slots: expected 0 or more and less than 1, got 1.0",
    ),
    "hops": (
        ("train", "smoke", "--model.num-hops", 0),
        "model.num_hops: expected at least 1, got 0",
    ),
    "batch": (
        ("train", "smoke", "--batch-size", 300),
        "batch_size: expected at most the 180 training questions, got 300",
    ),
    "held out": (
        ("train", "smoke", "--held-out", 1),
        "held_out: expected 0 or more and less than 1, got 1.0",
    ),
    "a world": (
        ("train", "smoke", "--data.difficulty", 9),
        "difficulty: expected at most 5 (the shortest story), got 9",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_settings_are_named_and_nothing_is_written(
    arguments, message, tmp_path, data_dir, monkeypatch, capsys
):
    monkeypatch.setenv("ATTNJAX_DATA_DIR", str(data_dir))
    before = contents(tmp_path)
    assert run(*arguments, "--out", tmp_path / "run") == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_facts_without_supports_train_no_hard_network(tmp_path, data_dir, raw, capsys):
    folder = tmp_path / "raw" / "en"
    folder.mkdir(parents=True)
    for path in sorted((raw / "en").glob("qa1_*")):
        lines = path.read_text().splitlines()
        bare = (
            line.rpartition("\t")[0] + "\t" if "\t" in line else line for line in lines
        )
        (folder / path.name).write_text("\n".join(bare) + "\n")
    where = (
        "--data.raw-dir",
        folder.parent,
        "--data.tasks",
        1,
        "--data.data-dir",
        data_dir,
    )
    command = ("train", "supervised-1k", "--out", tmp_path / "run", *where, *SETTINGS)
    assert run(*command) == 2
    assert "data: expected questions that name their supporting facts, got none" in (
        capsys.readouterr().err
    )


def test_a_run_without_its_vocabulary_is_named(soft_run, tmp_path, capsys):
    copy = Path(shutil.copytree(soft_run, tmp_path / "run"))
    (copy / "vocabulary.json").unlink()
    assert run("evaluate", copy) == 2
    assert "vocabulary.json is missing (copy it back)" in capsys.readouterr().err
    shutil.rmtree(copy / "checkpoints")
    assert run("evaluate", copy) == 2
    assert "vocabulary.json: cannot be read: No such file" in capsys.readouterr().err
    assert load_run(soft_run, mesh=make_mesh(1)).model.vocabulary.id("mary")
