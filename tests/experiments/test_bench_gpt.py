"""The GPT's benchmark: every system does the same work; no speed is asserted."""

import dataclasses
import json
import math
import types

import jax
import numpy as np
import pytest

from experiments.bench import trials
from experiments.bench.cases import gpt
from experiments.bench.commands import main
from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.datasets.tokenizers.text import CharacterTokenizer
from experiments.language_model.configs import SHAKESPEARE_CHAR
from experiments.language_model.system import build_system

V = 23
TEXT = "to be, or not to be: that is the question.\n" * 31
TRAINED = {"seconds", "first_step_seconds", "cpu_seconds", "validation_seconds"}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(trials, "installed", lambda package: False)


def made(systems, **changes):
    """The tiny config, and the learners of these systems."""
    options = types.SimpleNamespace(tiny=True, steps=11)
    config = dataclasses.replace(gpt.sized(options, "float32"), **changes)
    system, params = build_system(config, CharacterTokenizer(map(chr, range(V))))
    # Numbers everywhere, so that no scale passes by being 1.
    rng = np.random.default_rng(0)
    noise = lambda x: rng.normal(0, 0.1, x.shape).astype("float32")  # noqa: E731
    params = jax.tree.map(lambda x: x + noise(x), params)
    makers = gpt.makers(config, system, params, systems)
    return config, {name: make() for name, make in makers.items()}


def crops(config, seed):
    shape = config.batch_rows, config.model.max_length + 1
    return np.random.default_rng(seed).integers(0, V, shape, dtype=np.int32)


@pytest.mark.parametrize("accumulate", [1, gpt.TINY.batch_rows])
@pytest.mark.parametrize("gelu", ["gelu", "gelu-tanh"])
def test_pytorch_computes_and_learns_what_ours_does(gelu, accumulate):
    torch_gpt = pytest.importorskip(
        "experiments.bench.peers.torch_gpt", reason="no torch"
    )
    block = dataclasses.replace(gpt.TINY.model.block, activation=gelu)
    model = dataclasses.replace(gpt.TINY.model, block=block)
    config, learners = made(("attnjax", "torch"), model=model, accumulate=accumulate)
    ours, theirs = learners["attnjax"], learners["torch"]
    some = crops(config, 0)
    some[-1, 7:] = IGNORE_INDEX
    want, count = ours.nats(some)
    assert count == config.batch_rows * config.model.max_length - 5
    assert theirs.nats(some) == (pytest.approx(want, rel=1e-5), count)
    for seed in range(5):  # past the warm-up of two
        for learner in learners.values():
            learner.step(crops(config, seed))
    named = torch_gpt.named(ours.state.params)
    found = theirs.model.state_dict()
    assert found.keys() == named.keys()
    for name, value in named.items():
        mine = found[name].cpu().numpy()
        np.testing.assert_allclose(mine, value, 1e-4, 1e-5, err_msg=name)
    assert theirs.nats(some)[0] < 0.99 * want


@pytest.mark.parametrize("warmup", [0, 100])
def test_pytorchs_learning_rate_is_the_configs(warmup):
    torch_gpt = pytest.importorskip(
        "experiments.bench.peers.torch_gpt", reason="no torch"
    )
    settings = dataclasses.replace(SHAKESPEARE_CHAR.optimizer, warmup=warmup)
    schedule = settings.schedule(2_000)
    for step in (0, 1, 99, 100, 101, 1_000, 1_999):
        got = torch_gpt.rate(settings, step, 2_000)
        assert math.isclose(got, schedule(step), rel_tol=1e-5, abs_tol=1e-10)


def test_a_step_is_timed_on_random_ids(tmp_path, capsys, without_torch):
    out = tmp_path / "figures.json"
    main(["gpt", "--tiny", "--repeats", "2", "--out", str(out)])
    assert "tokens/s" in capsys.readouterr().out
    (record,) = json.loads(out.read_text())["records"]
    assert record["shape"] == {"B": 5, "T": 11, "V": V}
    assert record["system"] == "attnjax"
    assert len(record["wall"]) == 2
    assert record["tokens_per_second"] == 5 * 11 / record["seconds"]


def test_every_system_is_trained_on_the_text(tmp_path, capsys, text):
    pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "figures.json"
    options = ["--systems", "attnjax", "torch", "--steps", "41", "--out", str(out)]
    main(["gpt", "--tiny", "--text", str(text), *options])
    assert "validation loss" in capsys.readouterr().out
    ours, theirs = json.loads(out.read_text())["records"]
    assert (ours["system"], theirs["system"]) == ("attnjax", "torch")
    for record in (ours, theirs):
        assert record["steps"] == 41
        assert record.keys() > TRAINED
        assert 0 < record["first_step_seconds"] < record["seconds"]
    assert ours["validation_loss"] < math.log(len(set(TEXT)))
    assert theirs["validation_loss"] == pytest.approx(ours["validation_loss"], rel=1e-4)


def test_every_character_of_the_last_tenth_is_counted_once(text):
    options = types.SimpleNamespace(tiny=True, steps=1)
    reading = gpt.Reading.of(text, gpt.sized(options, "float32"))
    targets = np.concatenate([b[:, 1:].ravel() for b in reading.whole_validation()])
    ids = targets[targets != IGNORE_INDEX]
    assert reading.tokenizer.detokenize(ids.tolist()) == TEXT[int(0.9 * len(TEXT)) :]


def test_what_does_not_compile_is_left_out(monkeypatch, capsys):
    peer = pytest.importorskip(
        "experiments.bench.peers.torch_device", reason="no torch"
    )
    monkeypatch.setattr(peer, "can_compile", lambda: False)
    _, learners = made(("torch-compiled", "attnjax"))
    assert list(learners) == ["attnjax"]
    assert "torch-compiled is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "error: --steps: expected at least 1, got 0"),
        (["--systems", "torch"], "error: --systems: expected names among attnjax"),
        (["--text", "/no/where.txt"], "/no/where.txt"),
    ],
)
def test_mistakes_are_told_with_code_2(arguments, message, capsys, without_torch):
    with pytest.raises(SystemExit) as stopped:
        main(["gpt", "--tiny", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_text_shorter_than_the_context_is_told(tmp_path, capsys, without_torch):
    path = tmp_path / "short.txt"
    path.write_text("to be\n")
    with pytest.raises(SystemExit):
        main(["gpt", "--tiny", "--text", str(path)])
    assert "expected a text of more than 11 tokens" in capsys.readouterr().err
