"""Learning algorithms from the real command line: trained, evaluated, watched."""

import itertools
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.algorithms import curves, watching
from experiments.algorithms.config import Config
from experiments.algorithms.configs import CONFIGS, PUBLISHED
from experiments.algorithms.evaluation import Evaluator, validation_set
from experiments.algorithms.loading import load_run
from experiments.algorithms.model import BITS_PER_NAT, build_model
from experiments.algorithms.sequences import Copy, Sequences
from experiments.algorithms.task import AlgorithmTask
from experiments.runs.folder import Run
from experiments.training.task import TaskSetup
from tests import oracles
from tests.experiments import commands
from tests.experiments.commands import contents, finish, launch, record
from tests.experiments.disturbed import check_a_kill_changes_nothing
from tests.sharing import made_once

run = partial(commands.run, program="algorithms")
TINY = (
    *("--steps", 8, "--log-every", 1, "--save-every", 2, "--eval-every", 4),
    *("--curriculum-steps", 5),
)


@pytest.fixture(scope="session")
def copied(tmp_path_factory, cache) -> Path:
    """The folder of an undisturbed run that copies. Tests must not change it."""

    def train(folder: Path) -> None:
        command = ("train", "smoke", "--out", folder, *TINY)
        ((code, err),) = finish(launch(*command, program="algorithms", cache=cache))
        assert code == 0, err

    return made_once(tmp_path_factory, "algorithms-run", train)


@pytest.fixture
def copy_of(copied, tmp_path) -> Path:
    """A copy of the run, which a test may change."""
    return Path(shutil.copytree(copied, tmp_path / "copy"))


def test_killed_and_started_again_it_ends_with_the_same_bits(copied, cache, tmp_path):
    check_a_kill_changes_nothing(
        *("train", "smoke", "--out", tmp_path / "run", *TINY),
        out=tmp_path / "run",
        undisturbed=copied,
        cache=cache,
        program="algorithms",
    )


def test_the_log_counts_sequences(copied):
    lines = record(copied)
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert [line["sequences"] for line in lines] == [4 * n for n in range(1, 9)]
    assert "sequences_per_second" in Run.open(copied).metrics()[0]
    want = {
        f"validation/{name}"
        for name in (
            "bits_per_sequence",
            "wrong_bits_per_sequence",
            "sequences_without_error",
        )
    }
    for line in lines:
        measured = {k for k in line if k.startswith("validation/")}
        assert measured == (want if line["step"] % 4 == 0 else set())


def test_a_curriculum_grows_to_the_task_and_says_how_many_shapes_it_has(
    copied, tmp_path
):
    config = Run.open(copied).config_as(Config)
    task = AlgorithmTask(config, TaskSetup(mesh=make_mesh(1), say=print, saved=None))
    batches = task.batches(0)
    steps = [next(batches).inputs.shape[1] for _ in range(7)]
    assert steps == [3, 3, 5, 7, 9, 9, 9]  # of 1, 1, 2, 3, 4, 4, 4 vectors
    assert task.num_shapes() == 4
    later = next(task.batches(3))
    again = list(itertools.islice(task.batches(0), 4))[3]
    assert all(map(np.array_equal, later, again))


def test_an_evaluation_is_a_table_of_longer_copies(copy_of, capsys, monkeypatch):
    # Of the longer ranges two are enough: each is compiled.
    every = Copy.generalizations
    monkeypatch.setattr(
        Copy,
        "generalizations",
        lambda self: dict(list(every(self).items())[2:4]),
    )
    assert run("evaluate", copy_of, "--sequences", 5) == 0
    out, err = capsys.readouterr()
    saved = json.loads((copy_of / "evaluation.json").read_text())
    assert list(saved["ranges"]) == ["as trained", "length 10", "length 16"]
    for name, metrics in saved["ranges"].items():
        assert f"{metrics['bits_per_sequence']:.3f}" in out
        assert name in out
    # The tape of the tests has seven rows.
    assert "as trained: " not in err
    assert "length 10: sequences of up to 10 vectors are longer than the tape" in err


def test_an_evaluation_of_no_sequences_is_refused(copied, capsys):
    before = contents(copied)
    assert run("evaluate", copied, "--sequences", 0) == 2
    assert "error: sequences: expected at least 1, got 0" in capsys.readouterr().err
    assert contents(copied) == before


def test_a_tape_is_drawn_and_the_answer_printed(copy_of, capsys):
    assert run("watch", copy_of) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("copy: ")
    assert len(out.splitlines()) == 1 + 4 + 1  # title, four vectors, the file
    assert (copy_of / "tape.png").stat().st_size > 10_000
    assert "<svg" in (copy_of / "tape.svg").read_text()
    assert not (copy_of / "priorities.png").exists()


def test_what_cannot_be_drawn_is_refused_before_the_work(
    copy_of, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("jax.jit", lambda _: pytest.fail("it has begun"))
    (tmp_path / "file").write_text("")
    (tmp_path / "precious").write_text("years of work")
    (copy_of / "priorities.svg").symlink_to(tmp_path / "precious")
    (copy_of / "deep" / "tape.svg").mkdir(parents=True)
    for out, message in (
        (copy_of, "priorities.svg: expected a file or a folder, got a symbolic link"),
        (copy_of / "deep", "tape.svg: expected a file, got a folder"),
        (tmp_path / "file", "file: expected a folder that can be written, got: Not a"),
    ):
        assert run("watch", copy_of, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "years of work"


def test_curves_are_drawn_against_the_sequences_seen(copied, tmp_path, capsys):
    picture = tmp_path / "curves.svg"
    assert run("curves", copied, "--out", picture) == 0
    assert str(picture) in capsys.readouterr().out
    assert "<svg" in picture.read_text()
    x, y = curves._points(Run.open(copied))
    lines = [line for line in record(copied) if line["step"] % 4 == 0]
    assert x == [16, 32]
    assert y == [line["validation/bits_per_sequence"] for line in lines]


def test_curves_of_runs_with_one_name_keep_their_paths(copied, tmp_path):
    other = shutil.copytree(copied, tmp_path / copied.name)
    runs = [Run.open(copied), Run.open(other)]
    assert curves._names(runs) == [str(copied), str(other)]
    assert curves._names(runs[:1]) == [copied.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "runs: expected at least one folder of a run, got none"),
        (("--out", "curves.gif"), "path: expected a name that ends in .png or .svg"),
        (("--out", "absent/curves.png"), "out: expected a file in an existing folder"),
    ],
    ids=["no run", "suffix", "folder"],
)
def test_curves_that_cannot_be_drawn_are_one_line(
    arguments, message, copied, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run("curves", *([copied] if arguments else []), *arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ngrams_are_compared_with_the_optimum_on_their_own_validation_set():
    config = CONFIGS["ngrams-ntm-lstm"][1]
    levels = curves._levels(config)
    best = config.algorithm.optimal_bits(
        validation_set(config.algorithm, config.validation_size)
    )
    np.testing.assert_allclose(levels["optimum"], best.mean())
    np.testing.assert_allclose(levels["NTM, published"], best.mean() + 0.7)


def test_sorting_is_drawn_by_priority_and_a_network_without_a_tape_is_drawn(
    tmp_path, capsys
):
    tiny = ("--algorithm.bits", 2, "--algorithm.given", 4, "--algorithm.expected", 3)
    short = ("--steps", 1, "--validation-size", 2, "--model.hidden-dim", 3)
    one = ("--model.num-read-heads", 1, "--model.num-write-heads", 1)
    for name, options in (("sort-ntm-ff", one), ("sort-lstm", ())):
        out = tmp_path / name
        assert run("train", name, "--out", out, *tiny, *short, *options) == 0
        assert run("watch", out, "--out", tmp_path / f"{name}-pictures") == 0
    with_tape = {p.name for p in (tmp_path / "sort-ntm-ff-pictures").iterdir()}
    assert with_tape == {"tape.png", "tape.svg", "priorities.png", "priorities.svg"}
    without = {p.name for p in (tmp_path / "sort-lstm-pictures").iterdir()}
    assert without == {"tape.png", "tape.svg"}


def test_the_cost_is_the_sum_of_predicted_bits_in_bits():
    config = CONFIGS["smoke"][1]
    model, params = build_model(config)
    batch = config.algorithm.generate(np.random.default_rng(1), 3)
    logits = np.asarray(model.rebuild(params)(batch.inputs)[0], np.float64)
    costs = model.costs(params, batch)
    for b in range(3):
        want, wrong = 0.0, 0
        for t in np.nonzero(batch.mask[b])[0]:
            for x, bit in zip(logits[b, t], batch.targets[b, t], strict=True):
                p = oracles.sigma(x)
                want -= np.log2(p if bit else 1 - p)
                wrong += int((x > 0) != (bit == 1))
        np.testing.assert_allclose(costs.nats[b] * BITS_PER_NAT, want, rtol=1e-5)
        assert int(costs.wrong[b]) == wrong
    total = model.loss(params, batch)
    np.testing.assert_allclose(total.total, costs.nats.sum(), rtol=1e-6)
    assert total.num_tokens == 3.0  # a mean over sequences


def test_evaluation_pads_the_last_batch_and_counts_each_sequence_once(copied):
    loaded = load_run(copied)
    evaluator = Evaluator(loaded.model, loaded.mesh)
    drawn = validation_set(loaded.config.algorithm, 131)
    costs = evaluator(loaded.params, drawn)
    assert costs.bits.shape == (131,)
    alone = evaluator(loaded.params, Sequences(*(x[130:] for x in drawn)))
    np.testing.assert_allclose(costs.bits[130:], alone.bits, rtol=1e-5)


def test_validation_is_the_same_for_every_seed_and_apart_from_training():
    task = Copy()
    np.testing.assert_array_equal(
        validation_set(task, 4).inputs, validation_set(task, 4).inputs
    )
    assert (validation_set(task, 4).inputs != validation_set(task, 4, 1).inputs).any()


def test_published_sizes_are_the_tables():
    """Heads, controller widths and learning rates of tables 1 to 3."""
    want = {
        "copy": (1, 100, 1, 100, 256),
        "repeat-copy": (1, 100, 1, 100, 512),
        "recall": (4, 256, 1, 100, 256),
        "ngrams": (1, 100, 1, 100, 128),
        "sort": (8, 512, 5, 100, 128),
    }
    for task in PUBLISHED:
        ff, lstm, baseline = (
            CONFIGS[f"{task}-{kind}-paper"][1].model
            for kind in ("ntm-ff", "ntm-lstm", "lstm")
        )
        sizes = (ff.num_read_heads, ff.hidden_dim, lstm.num_write_heads)
        assert (*sizes, lstm.hidden_dim, baseline.hidden_dim) == want[task]
        assert (ff.tape_size, ff.tape_width, baseline.num_layers) == (128, 20, 3)
        rule = CONFIGS[f"{task}-ntm-ff-paper"][1].optimizer
        assert (rule.name, rule.max_grad_value, rule.max_grad_norm) == (
            "rmsprop",
            10.0,
            None,
        )


BAD = {
    "batch": (("--batch-size", 3), "batch_size: expected a multiple of 2"),
    "range": (("--algorithm.min-length", 9), "min_length, max_length: expected 1 <="),
    "tape": (("--model.tape-size", 0), "model.tape_size: expected at least 1, got 0"),
    "layers": (("--model.num-layers", 0), "model.num_layers: expected at least 1"),
    "decay": (
        ("--optimizer.name", "rmsprop", "--optimizer.weight-decay", 0.1),
        "weight_decay: expected 0 with rmsprop",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_one_line_and_leave_no_folder(name, tmp_path, capsys):
    options, message = BAD[name]
    out = tmp_path / "run"
    assert run("train", "smoke", "--out", out, *TINY, *options) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_of_something_else_is_refused(tmp_path, capsys):
    assert run("watch", tmp_path) == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_a_seed_that_no_sequence_has_is_refused(copied, capsys):
    before = contents(copied)
    assert run("watch", copied, "--seed", -1) == 2
    assert "seed: expected at least 0, got -1" in capsys.readouterr().err
    assert contents(copied) == before


def test_a_folder_that_cannot_be_written_is_named(copied, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    before = contents(copied)
    assert run("watch", copied, "--out", tmp_path / "file" / "pictures") == 2
    assert "expected a folder that can be written" in capsys.readouterr().err
    assert contents(copied) == before


def test_sequences_longer_than_the_tape_are_said(tmp_path, capsys):
    short = ("--steps", 1, "--model.tape-size", 3)
    assert run("train", "smoke", "--out", tmp_path / "run", *short) == 0
    assert "warning: sequences of up to 4 vectors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("used", "shown"),
    [
        ([3, 4], [2, 3, 4, 5]),
        ([0, 11, 10], [9, 10, 11, 0, 1]),  # the tape wraps around
        ([0, 3, 6, 9], list(range(12))),
        ([], list(range(12))),
    ],
)
def test_pictures_show_the_rows_that_heads_attend_to(used, shown):
    weights = np.zeros((5, 1, 12))
    weights[0, 0, used] = 0.5
    heads = SimpleNamespace(write_weights=weights, read_weights=np.zeros((5, 2, 12)))
    rows, name = watching.used_rows(heads)
    assert rows.tolist() == shown
    whole = name == "all rows"
    assert whole == (len(shown) == 12)


@pytest.mark.parametrize(
    ("written", "rows", "fit"),
    [
        ([9, 7, 5, 3], [9, 7, 5, 3], 1.0),
        ([10, 11, 0, 1], [-2, -1, 0, 1], 1.0),  # the tape wraps around
        ([4, 4, 4, 4], [4, 4, 4, 4], 0.0),
        ([4, 6, 6, 4], [4, 6, 6, 4], 0.0),
    ],
)
def test_rows_are_fitted_to_priorities_across_the_end_of_the_tape(written, rows, fit):
    weights = np.eye(12)[written]
    found, measured = watching.rows_by_priority(weights, np.array([1, 2, 3, 4]))
    assert found.tolist() == rows
    np.testing.assert_allclose(measured, fit, atol=1e-12)
