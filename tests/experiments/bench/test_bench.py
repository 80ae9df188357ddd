"""The benchmarks run and report what they promise; no test asserts a speed."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from experiments.bench import systems, tables, timing
from experiments.bench.cases.recurrent import (
    decoder_workloads,
    deep_lstm_workloads,
    recurrent_calls,
)
from experiments.bench.cases.training import random_batch
from experiments.bench.commands import main
from experiments.bench.options import Options
from experiments.bench.recurrent_arrays import source_mask
from experiments.bench.shapes import (
    MULTI30K_BATCHES,
    TINY_BATCHES,
    TINY_DECODER,
    TINY_STACK,
)
from experiments.bench.tables import recurrent_table
from experiments.bench.timing import Timing, measure, time_interleaved
from experiments.cli.progress_bar import ProgressBar
from experiments.errors import UserError
from experiments.training.memory import keep_freed_memory


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(systems, "find_spec", lambda package: None)


def test_calls_are_interleaved_after_a_warm_up():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = time_interleaved(calls, repeats=2)
    assert order == ["a", "a", "b", "b", *"ab", *"ab"]
    assert {name: len(t.wall) for name, t in timings.items()} == {"a": 2, "b": 2}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the calls move: `calls` maps a name to its seconds."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)

    def calls(order=None, **seconds):
        def call(name):
            now[0] += seconds[name]
            order.append(name)

        order = [] if order is None else order
        return {n.replace("_", " "): partial(call, n) for n in seconds}

    return calls


def test_what_is_20_times_slower_is_called_twice_and_left_out(clock):
    order = []
    calls = clock(order, attnjax=1.0, torch=20.5, flax=19.5)
    timings = time_interleaved(calls, repeats=3)
    assert order == ["attnjax"] * 2 + ["torch"] * 2 + ["flax"] * 2 + [
        *("attnjax", "flax"),
        *("attnjax", "flax"),
        *("attnjax", "flax"),
    ]
    assert {name: t.left_out for name, t in timings.items()} == {
        "attnjax": False,
        "flax": False,
        "torch": True,
    }
    assert timings["torch"].wall == [20.5]


def test_a_system_is_left_out_with_all_its_parts(clock):
    order = []
    calls = clock(
        order, attnjax_forward=1, attnjax_step=3, torch_forward=99, torch_step=9
    )
    timings = time_interleaved(calls, repeats=1)
    assert "torch_step" not in order
    assert [n for n, t in timings.items() if t.left_out] == ["torch forward"]
    assert set(timings) == {"attnjax forward", "attnjax step", "torch forward"}


def test_calls_of_milliseconds_are_timed_whatever_they_take(clock):
    timings = time_interleaved(clock(attnjax=1e-5, torch=1e-2), repeats=1)
    assert not timings["torch"].left_out


def test_without_attnjax_nothing_is_left_out(clock):
    timings = time_interleaved(clock(a=1.0, b=1e3), repeats=1)
    assert not any(t.left_out for t in timings.values())


def test_a_note_says_what_is_left_out(capsys):
    record = {"cell": "gru", "dtype": "bfloat16", "shape": {"B": 3}, "seconds": 1.0}
    records = [
        record | {"system": "attnjax"},
        record | {"system": "torch", "seconds": 63.04, "left_out": True},
    ]
    Options().report(lambda options: records, recurrent_table)
    table, note = capsys.readouterr().out.split("left out: ")
    assert "torch" not in table.split("forward + backward")[1]
    assert note == (
        "gru bfloat16 torch, more than 20 times slower than attnjax (63.0 s a call)\n"
    )


def test_long_timings_show_how_far_they_are(monkeypatch, capsys):
    monkeypatch.setattr(
        timing, "ProgressBar", partial(ProgressBar, delay=0, interval=0)
    )
    measure({"a": int, "b": int}, {"cell": "gru"}, repeats=2, clock="cpu")
    lines = capsys.readouterr().err.splitlines()
    assert "timing gru: a, first calls  0/8" in lines
    assert "timing gru: b  7/8" in lines


def test_the_median_of_wall_time_or_the_minimum_of_cpu_time_is_reported():
    timing = Timing(wall=[3.0, 1.0, 9.0], cpu=[4.0, 5.0, 2.0])
    assert (timing.seconds("wall"), timing.seconds("cpu")) == (3.0, 2.0)


def test_a_record_has_labels_system_and_every_timing(capsys):
    records = measure({"a": int, "b": int}, {"cell": "gru"}, repeats=3, clock="cpu")
    assert [(r["cell"], r["system"]) for r in records] == [("gru", "a"), ("gru", "b")]
    for r in records:
        assert (len(r["wall"]), len(r["cpu"]), r["seconds"]) == (3, 3, min(r["cpu"]))
    assert capsys.readouterr().err == "timing gru: a, b\n"


def test_all_systems_compute_the_same_decoder():
    """attnjax, plain lax.scan and, where it is installed, PyTorch."""
    calls = recurrent_calls("decoder", TINY_DECODER, "float32")
    (want, (params, inputs)) = calls["attnjax"]()
    (same, gradients) = calls["lax.scan"]()
    np.testing.assert_allclose(same, want, rtol=1e-5, atol=1e-6)
    leaves = map(jax.tree.leaves, (gradients, (params, inputs)))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    if "torch" in calls:
        got, (embedded, values, start, *_) = calls["torch"]()
        np.testing.assert_allclose(
            got.detach().cpu().numpy(), want, rtol=1e-5, atol=1e-6
        )
        found = {"embedded": embedded, "values": values, "start": start}
        for name, gradient in found.items():
            np.testing.assert_allclose(
                gradient.cpu().numpy(), inputs[name], rtol=1e-4, atol=1e-6
            )


def test_the_decoder_of_flax_has_the_same_output_shape():
    workload = decoder_workloads(TINY_DECODER)["flax.nnx.RNN"]
    out = jax.eval_shape(workload.apply, workload.params, workload.inputs)
    B, T, D, E = (getattr(TINY_DECODER, letter) for letter in "BTDE")
    assert out.shape == (B, T, D + E)


def test_the_deep_stack_gives_the_states_of_all_layers():
    B, T, _, D, L = TINY_STACK
    workloads = deep_lstm_workloads(TINY_STACK)
    assert list(workloads) == ["attnjax", "attnjax, peepholes"]
    for work in workloads.values():
        found = jax.eval_shape(work.apply, work.params, work.inputs)
        assert found.shape == (B, T, L * D)


def test_source_lengths_cycle_from_the_longest_to_its_half():
    mask = source_mask(TINY_DECODER._replace(B=5, S=7))
    assert mask.sum(axis=1).tolist() == [7, 6, 5, 4, 7]


def test_recurrent_prints_a_table_and_writes_every_timing(tmp_path, capsys, no_peers):
    out = tmp_path / "timings.json"
    options = ["--smoke", "--repeats", "1", "--dtypes", "float32", "--out", str(out)]
    main(["recurrent", *options, "--cells", "gru"])
    printed = capsys.readouterr().out
    for word in ("processor", "cores", "not installed: torch", "gru", "lax.scan"):
        assert word in printed
    result = json.loads(out.read_text())
    assert result["machine"]["cores"] >= 1
    found = {(r["cell"], r["dtype"], r["system"]) for r in result["records"]}
    names = {"attnjax", "lax.scan", "flax.nnx.RNN"}
    assert found == {("gru", "float32", name) for name in names}
    assert all(len(r["wall"]) == 1 and r["seconds"] > 0 for r in result["records"])


@pytest.mark.parametrize("spec", [*TINY_BATCHES, *MULTI30K_BATCHES])
def test_random_batches_have_the_padding_of_the_data(spec):
    source, target = random_batch(spec, 23)
    assert source.shape == (spec.B, spec.S)
    assert target.shape == (spec.B, spec.T)
    assert int((source != 0).sum()) == spec.source_tokens
    assert int((target != 0).sum()) == spec.target_tokens


def test_rates_over_shapes_are_weighted_by_their_frequency():
    def record(tokens, batches, seconds):
        shape = {"target_tokens": tokens, "batches": batches}
        labels = {"dtype": "float32", "system": "attnjax", "part": "step"}
        return {**labels, "shape": shape, "seconds": seconds}

    rates = tables.epoch_rates([record(100, 3, 1.0), record(40, 1, 2.0)])
    assert rates == {("float32", "attnjax"): 340 / 5}


def test_tables_give_the_ratio_to_attnjax(capsys):
    labels = {"cell": "gru", "dtype": "float32", "shape": {"B": 3}}
    seconds = {"attnjax": 0.2, "torch": 0.3}
    tables.recurrent_table(
        [{**labels, "system": name, "seconds": s} for name, s in seconds.items()]
    )
    printed = capsys.readouterr().out
    assert "200.0 " in printed
    assert "300.0 (1.50)" in printed


def test_freed_memory_is_kept_where_the_allocator_is_glibcs(monkeypatch):
    settings = []
    monkeypatch.setattr(
        "ctypes.CDLL",
        lambda _: type(
            "C", (), {"mallopt": lambda self, *a: settings.append(a) or 1}
        )(),
    )
    assert keep_freed_memory()
    assert settings == [(-1, -1), (-4, 0), (-8, 1)]
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
def test_invalid_options_exit_with_code_2(arguments, message, capsys, no_peers):
    with pytest.raises(SystemExit) as stopped:
        main(["recurrent", "--smoke", "--cells", "gru", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_no_system_to_time_is_an_error():
    with pytest.raises(UserError) as error:
        Options().report(lambda options: [], print)
    assert str(error.value) == (
        "--systems: expected a system that works here, got none"
    )
