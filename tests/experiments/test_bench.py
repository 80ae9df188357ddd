"""The benchmarks run, and print and write what they say; no speed is asserted."""

import json

import numpy as np
import pytest

from experiments.bench import tables, trials
from experiments.bench.cases import recurrent
from experiments.bench.cases.training import random_batch
from experiments.bench.commands import main
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES, TINY_DECODER
from experiments.bench.timing import Timing, race
from experiments.training.memory import keep_freed_memory

TINY = ["--tiny", "--repeats", "2", "--dtypes", "float32"]


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(trials, "installed", lambda package: False)


def test_systems_take_turns_after_one_call_that_is_not_counted():
    turns = []
    calls = {name: lambda name=name: turns.append(name) for name in "ab"}
    timings = race(calls, repeats=2)
    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(t.wall) for name, t in timings.items()} == {"a": 2, "b": 2}


def test_the_figure_is_a_median_by_the_clock_and_the_least_of_processor_time():
    timing = Timing(wall=[3.0, 1.0, 9.0], cpu=[4.0, 5.0, 2.0])
    assert (timing.seconds("wall"), timing.seconds("cpu")) == (3.0, 2.0)


def test_the_decoders_of_a_race_do_the_same_work():
    """Ours, plain lax.scan and, where installed, PyTorch: one function."""
    calls = trials.recurrent_calls("decoder", TINY_DECODER, "float32")
    (want, (weights, inputs)) = calls["attnjax"]()
    (same, gradients) = calls["lax.scan"]()
    np.testing.assert_allclose(same, want, rtol=1e-5, atol=1e-6)
    for a, b in zip(*map(_leaves, (gradients, (weights, inputs))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    if "torch" in calls:
        got, (embedded, values, start, *_) = calls["torch"]()
        np.testing.assert_allclose(
            got.detach().cpu().numpy(), want, rtol=1e-5, atol=1e-6
        )
        slopes = {"embedded": embedded, "values": values, "start": start}
        for name, slope in slopes.items():
            found = slope.cpu().numpy()
            np.testing.assert_allclose(found, inputs[name], rtol=1e-4, atol=1e-6)


def _leaves(tree):
    return recurrent.jax.tree.leaves(tree)


def test_recurrent_prints_a_table_and_writes_every_figure(
    tmp_path, capsys, without_torch
):
    out = tmp_path / "figures.json"
    main(["recurrent", *TINY, "--cells", "gru", "decoder", "--out", str(out)])
    printed = capsys.readouterr().out
    for word in ("processor", "cores", "gru", "decoder", "attnjax", "lax.scan"):
        assert word in printed
    figures = json.loads(out.read_text())
    assert figures["machine"]["cores"] >= 1
    found = {(r["cell"], r["system"]) for r in figures["records"]}
    systems = {"attnjax", "lax.scan", "flax.nnx.RNN"}
    assert found == {(cell, s) for cell in ("gru", "decoder") for s in systems}
    assert all(len(r["wall"]) == 2 and r["seconds"] > 0 for r in figures["records"])


@pytest.mark.parametrize("spec", [*TINY_BATCHES, *MULTI30K_BATCHES])
def test_random_batches_are_as_full_as_real_ones(spec):
    source, target = random_batch(spec, 23)
    assert source.shape == (spec.B, spec.S)
    assert target.shape == (spec.B, spec.T)
    assert int((source != 0).sum()) == spec.source_tokens
    assert int((target != 0).sum()) == spec.target_tokens


def test_rates_over_shapes_are_those_of_an_epoch():
    def record(tokens, batches, seconds):
        shape = {"target_tokens": tokens, "batches": batches}
        same = {"dtype": "float32", "system": "attnjax", "part": "step"}
        return {**same, "shape": shape, "seconds": seconds}

    rates = tables.epoch_rates([record(100, 3, 1.0), record(40, 1, 2.0)])
    assert rates == {("float32", "attnjax"): 340 / 5}


def test_freed_memory_is_kept_where_glibc_is(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ctypes.CDLL",
        lambda _: type("C", (), {"mallopt": lambda self, *a: asked.append(a) or 1})(),
    )
    assert keep_freed_memory()
    assert asked == [(-1, -1), (-4, 0), (-8, 1)]
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "error: --repeats: expected at least 1, got 0"),
        (["--out", "/no/where.json"], "error: --out: expected a file in an existing"),
        (["--systems", "theirs"], "error: --systems: expected names among attnjax"),
    ],
)
def test_mistakes_are_told_with_code_2(arguments, message, capsys, without_torch):
    with pytest.raises(SystemExit) as stopped:
        main(["recurrent", "--tiny", "--cells", "gru", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
