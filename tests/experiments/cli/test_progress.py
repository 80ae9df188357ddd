"""Progress displays, stop signals and the metrics of the log."""

import io
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from experiments.cli.progress import Lines, Screen, duration
from experiments.training.interrupts import Interrupted, StopRequest
from experiments.training.metrics import MetricsAccumulator


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=120, color_system=None), out


def test_a_bar_shows_phase_step_loss_rate_and_time_left():
    terminal, out = console(terminal=True)
    with Screen(terminal) as screen:
        bar = screen.reporter("en-fr [bold]\x1b[2J", step=3, steps=200)
        bar.phase("validating")
        bar.update(50, 1.2345, 2310.4, 61)
        bar.print("step 50  bleu 31.2 [best]")
    for text in (
        "en-fr [bold]\\x1b[2J",  # as it is: neither markup nor controls
        "validating",
        "25%",
        "50/200",
        "loss 1.234",
        "2,310 tokens/s",
    ):
        assert text in out.getvalue()
    assert "1:01 left" in out.getvalue()
    assert "step 50  bleu 31.2 [best]\n" in out.getvalue()


def test_concurrent_trainings_share_a_display():
    terminal, out = console(terminal=True)
    with Screen(terminal) as screen:
        one = screen.reporter("first", step=0, steps=200)
        two = screen.reporter("second", step=0, steps=200)
        two.update(100, 1.0, 1.0, 1.0)
        one.update(200, 1.0, 1.0, 1.0)
        screen.print("[1 of 2] done")
    last = out.getvalue().split("[1 of 2] done\n")[-1]
    for text in ("first", "200/200", "second", "100/200"):
        assert text in last


def test_plain_lines_are_printed_at_intervals():
    screen, out = console(terminal=False)
    lines = Lines(screen, "en-fr", step=0, steps=200, every=0.0)
    lines.phase("compiling, shape 1 of 2")
    lines.phase("training")
    lines.update(50, 1.2345, 2310.4, 61)
    lines.phase("compiling, shape 2 of 2")
    assert out.getvalue().splitlines() == [
        "en-fr  0/200 0%  compiling, shape 1 of 2",
        "en-fr  50/200 25%  training  loss 1.234  2,310 tokens/s  1:01 left",
        "en-fr  50/200 25%  compiling, shape 2 of 2",
    ]
    rare = Lines(screen, "en-fr", step=0, steps=200, every=1e9)
    rare.update(51, 1.2345, 2310.4, 61)
    assert len(out.getvalue().splitlines()) == 3


def test_progress_goes_to_stderr_and_only_from_the_main_process(capfd):
    with Screen() as screen:
        screen.reporter("a", step=0, steps=2).print("hello")
    with Screen(silent=True) as screen:
        screen.print("nor this")
        reporter = screen.reporter("a", step=0, steps=2)
        reporter.phase("training")
        reporter.update(1, 1.0, 1.0, 1.0)
        reporter.print("nobody hears this")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "hello\n")


def test_a_signal_interrupts_the_main_thread_only():
    with StopRequest() as stop, ThreadPoolExecutor() as pool:

        def wait(entered: threading.Event) -> str:
            with stop.interruptible(True):
                entered.set()
                time.sleep(0.2)
                return "done"

        entered = threading.Event()
        waiting = pool.submit(wait, entered)
        entered.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert waiting.result() == "done"
        assert stop.number == signal.SIGTERM
        with pytest.raises(Interrupted):
            wait(entered)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (3661, "1:01:01"), (7e4, "19:26:40")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_mean_loss_is_weighted_by_tokens():
    metrics = MetricsAccumulator()
    metrics.add({"loss": 1.0, "grad_norm": 2.0, "tokens": 10.0, "skipped": 0})
    metrics.add({"loss": 4.0, "grad_norm": 4.0, "tokens": 20.0, "skipped": 0})
    line = metrics.summarize(2)
    assert (line["loss"], line["grad_norm"], line["tokens"]) == (3.0, 3.0, 30.0)
    assert "skipped" not in line
    metrics.add({"loss": 5.0, "grad_norm": 1.0, "tokens": 10.0, "skipped": 0})
    assert (metrics.summarize(3)["loss"], metrics.summarize(4).get("loss")) == (
        5.0,
        None,
    )


def test_skipped_steps_are_counted_and_excluded_from_means():
    metrics = MetricsAccumulator()
    metrics.add({"loss": 1.0, "grad_norm": 2.0, "tokens": 10.0, "skipped": 0})
    metrics.add(
        {"loss": float("nan"), "grad_norm": float("inf"), "tokens": 20.0, "skipped": 1}
    )
    assert metrics.is_finite()
    line = metrics.summarize(2)
    assert (line["loss"], line["grad_norm"], line["skipped"]) == (1.0, 2.0, 1)
    metrics.add({"loss": 1.0, "grad_norm": float("inf"), "tokens": 20.0, "skipped": 0})
    assert not metrics.is_finite()


def test_the_accumulator_continues_from_its_state():
    one = MetricsAccumulator()
    one.add({"loss": 1.0, "grad_norm": 2.0, "tokens": 10.0, "skipped": 0})
    two = MetricsAccumulator(**one.state())
    for metrics in (one, two):
        metrics.add({"loss": 4.0, "grad_norm": 4.0, "tokens": 20.0, "skipped": 0})
    mine, theirs = (metrics.summarize(2) for metrics in (one, two))
    for name in ("loss", "grad_norm", "tokens"):
        assert mine[name] == theirs[name]


def test_compilation_and_pauses_are_excluded_from_the_rate(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("experiments.training.metrics.time.monotonic", lambda: clock[0])
    metrics = MetricsAccumulator()
    clock[0] += 3600  # restoring
    metrics.start()
    clock[0] += 60 + 2  # compiling, and the step
    metrics.exclude(60)
    metrics.add({"loss": 1.0, "grad_norm": 1.0, "tokens": 10.0, "skipped": 0})
    assert metrics.progress() == (1.0, 5.0, 2.0)
    line = metrics.summarize(1)
    assert (line["tokens_per_second"], line["time"]) == (5.0, 3662.0)
