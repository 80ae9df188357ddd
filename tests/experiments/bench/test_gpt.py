"""The GPT benchmark: all systems do the same work; no test asserts a speed."""

import dataclasses
import json
import math
import types

import jax
import numpy as np
import pytest

from experiments.bench import systems as bench_systems
from experiments.bench.cases import gpt
from experiments.bench.commands import main
from experiments.bench.gpt_task import TokenizedText
from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.datasets.tokenizers.text import CharacterTokenizer
from experiments.language_model.configs import SHAKESPEARE_CHAR
from experiments.language_model.model import build_model

V = gpt.SMOKE_VOCAB_SIZE
TEXT = "to be, or not to be: that is the question.\n" * 31
FIGURES = {"seconds", "first_step_seconds", "cpu_seconds", "validation_seconds"}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(bench_systems, "find_spec", lambda package: None)


def make_trainers(systems, **changes):
    """The tiny config, and the trainers of these systems."""
    options = types.SimpleNamespace(smoke=True, steps=11)
    config = dataclasses.replace(gpt.build_config(options, "float32"), **changes)
    model, params = build_model(config, CharacterTokenizer(map(chr, range(V))))
    # With noise no scale is exactly 1, so a missing scale cannot pass.
    rng = np.random.default_rng(0)
    noise = lambda x: rng.normal(0, 0.1, x.shape).astype("float32")  # noqa: E731
    params = jax.tree.map(lambda x: x + noise(x), params)
    factories = gpt.trainer_factories(config, model, params, systems)
    return config, {name: make() for name, make in factories.items()}


def windows(config, seed):
    shape = config.batch_size, config.model.max_length + 1
    return np.random.default_rng(seed).integers(0, V, shape, dtype=np.int32)


@pytest.mark.parametrize("accumulation_steps", [1, gpt.TINY.batch_size])
@pytest.mark.parametrize("gelu", ["gelu", "gelu-tanh"])
def test_pytorch_has_the_same_losses_and_updates(gelu, accumulation_steps):
    torch_gpt = pytest.importorskip(
        "experiments.bench.peers.torch_gpt", reason="torch is not installed"
    )
    block = dataclasses.replace(gpt.TINY.model.block, activation=gelu)
    model = dataclasses.replace(gpt.TINY.model, block=block)
    config, trainers = make_trainers(
        ("attnjax", "torch"), model=model, accumulation_steps=accumulation_steps
    )
    ours, peer = trainers["attnjax"], trainers["torch"]
    batch = windows(config, 0)
    batch[-1, 7:] = IGNORE_INDEX
    want, count = ours.loss(batch)
    assert count == config.batch_size * config.model.max_length - 5
    assert peer.loss(batch) == (pytest.approx(want, rel=1e-5), count)
    for seed in range(5):  # the learning-rate warm-up ends after two
        for trainer in trainers.values():
            trainer.step(windows(config, seed))
    want_state = torch_gpt.state_dict(ours.state.params)
    state = peer.model.state_dict()
    assert state.keys() == want_state.keys()
    for name, value in want_state.items():
        found = state[name].cpu().numpy()
        np.testing.assert_allclose(found, value, 1e-4, 1e-5, err_msg=name)
    assert peer.loss(batch)[0] < 0.99 * want


@pytest.mark.parametrize("warmup_steps", [0, 100])
def test_the_learning_rate_of_pytorch_is_that_of_the_config(warmup_steps):
    torch_gpt = pytest.importorskip(
        "experiments.bench.peers.torch_gpt", reason="torch is not installed"
    )
    settings = dataclasses.replace(
        SHAKESPEARE_CHAR.optimizer, warmup_steps=warmup_steps
    )
    schedule = settings.build_schedule(2_000)
    for step in (0, 1, 99, 100, 101, 1_000, 1_999):
        got = torch_gpt.learning_rate(settings, step, 2_000)
        assert math.isclose(got, schedule(step), rel_tol=1e-5, abs_tol=1e-10)


def test_a_step_is_timed_on_random_ids(tmp_path, capsys, no_peers):
    out = tmp_path / "timings.json"
    main(["gpt", "--smoke", "--repeats", "1", "--out", str(out)])
    assert "tokens/s" in capsys.readouterr().out
    (record,) = json.loads(out.read_text())["records"]
    assert record["shape"] == {"B": 5, "T": 11, "V": V}
    assert record["system"] == "attnjax"
    assert len(record["wall"]) == 1
    assert record["tokens_per_second"] == 5 * 11 / record["seconds"]


def test_training_on_a_text_reports_the_validation_loss(
    tmp_path, capsys, text, no_peers
):
    out = tmp_path / "timings.json"
    main(["gpt", "--smoke", "--text", str(text), "--steps", "41", "--out", str(out)])
    assert "validation loss" in capsys.readouterr().out
    (record,) = json.loads(out.read_text())["records"]
    assert (record["system"], record["steps"]) == ("attnjax", 41)
    assert record.keys() > FIGURES
    assert 0 < record["first_step_seconds"] < record["seconds"]
    assert record["validation_loss"] < math.log(len(set(TEXT)))


def test_all_systems_reach_the_same_validation_loss(tmp_path, text):
    pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "timings.json"
    options = ["--systems", "attnjax", "torch", "--steps", "41", "--out", str(out)]
    main(["gpt", "--smoke", "--text", str(text), *options])
    ours, peer = json.loads(out.read_text())["records"]
    assert (ours["system"], peer["system"]) == ("attnjax", "torch")
    assert peer["validation_loss"] == pytest.approx(ours["validation_loss"], rel=1e-4)


def test_every_character_of_the_last_tenth_is_a_target_once(text):
    options = types.SimpleNamespace(smoke=True, steps=1)
    split = TokenizedText.from_file(text, gpt.build_config(options, "float32"))
    # [B, T] -> [B*T], for each batch
    targets = np.concatenate([b[:, 1:].ravel() for b in split.validation_windows()])
    ids = targets[targets != IGNORE_INDEX]
    assert split.tokenizer.detokenize(ids.tolist()) == TEXT[int(0.9 * len(TEXT)) :]


def test_a_system_that_cannot_compile_is_skipped(monkeypatch, capsys):
    peer = pytest.importorskip(
        "experiments.bench.peers.torch_device", reason="torch is not installed"
    )
    monkeypatch.setattr(peer, "torch_compile_works", lambda: False)
    _, trainers = make_trainers(("torch-compiled", "attnjax"))
    assert list(trainers) == ["attnjax"]
    assert "torch-compiled is skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "error: --steps: expected at least 1, got 0"),
        (["--systems", "torch"], "error: --systems: expected names among attnjax"),
        (["--text", "/no/where.txt"], "/no/where.txt"),
    ],
)
def test_invalid_options_exit_with_code_2(arguments, message, capsys, no_peers):
    with pytest.raises(SystemExit) as stopped:
        main(["gpt", "--smoke", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_text_shorter_than_a_window_is_an_error(tmp_path, capsys, no_peers):
    path = tmp_path / "short.txt"
    path.write_text("to be\n")
    with pytest.raises(SystemExit):
        main(["gpt", "--smoke", "--text", str(path)])
    assert "expected a text of more than 11 tokens" in capsys.readouterr().err
