"""Handwriting from the real command line: trained, evaluated, written."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from attnjax.parallel import make_mesh
from attnjax.train import WeightPosterior, weight_complexity
from experiments.datasets.pen_traces.pen_traces_builder import PenTraces
from experiments.datasets.strokes.lines import Line, Statistics
from experiments.handwriting import evaluator as evaluators
from experiments.handwriting.baselines import fit_mixture, nats
from experiments.handwriting.configs import CONFIGS, IAM_PREDICTION
from experiments.handwriting.evaluator import Evaluator, LineScores, metrics
from experiments.handwriting.loading import load_run
from experiments.handwriting.model import build_model
from experiments.handwriting.prime import line_to_json, read_prime
from experiments.handwriting.task import HandwritingTask
from experiments.handwriting.writing import save_pictures, write_lines
from experiments.training.task import TaskSetup
from experiments.training.weight_noise import WeightNoiseConfig
from tests.experiments import commands
from tests.experiments.commands import contents, finish, launch, record
from tests.experiments.disturbed import check_a_kill_changes_nothing
from tests.sharing import made_once

run = partial(commands.run, program="handwriting")
TINY = ("--steps", 8, "--log-every", 1, "--save-every", 2, "--eval-every", 4)


@pytest.fixture(scope="session")
def written(tmp_path_factory, data_dir, cache) -> Path:
    """The folder of an undisturbed run that writes. Tests must not change it."""

    def train(folder: Path) -> None:
        command = (
            "train",
            "smoke",
            "--out",
            folder,
            "--data.data-dir",
            data_dir,
            *TINY,
        )
        ((code, err),) = finish(launch(*command, program="handwriting", cache=cache))
        assert code == 0, err

    return made_once(tmp_path_factory, "handwriting-run", train)


@pytest.fixture
def copy_of(written, tmp_path) -> Path:
    """A copy of the run, which a test may change."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


@pytest.fixture(scope="session")
def loaded(written):
    return load_run(written)


@pytest.fixture(scope="session")
def predicting(tmp_path_factory, data_dir, cache) -> Path:
    """A run without a text, with adaptive weight noise. Tests must not change it."""

    def train(folder: Path) -> None:
        command = ("train", "smoke", "--out", folder, "--data.data-dir", data_dir)
        command += ("--no-with-text", "--steps", 2, "--eval-every", 0)
        command += ("--weight-noise.kind", "adaptive")
        ((code, err),) = finish(launch(*command, program="handwriting", cache=cache))
        assert code == 0, err

    return made_once(tmp_path_factory, "prediction-run", train)


def test_killed_and_started_again_it_ends_with_the_same_bits(
    written, data_dir, cache, tmp_path
):
    command = ("train", "smoke", "--out", tmp_path / "run", "--data.data-dir", data_dir)
    check_a_kill_changes_nothing(
        *(*command, *TINY),
        out=tmp_path / "run",
        undisturbed=written,
        cache=cache,
        program="handwriting",
    )


def test_the_log_counts_lines_and_follows_the_window(written):
    lines = record(written)
    assert [line["lines"] for line in lines] == [4 * n for n in range(1, 9)]
    validated = [line for line in lines if "validation/nats_per_line" in line]
    assert [line["step"] for line in validated] == [4, 8]
    assert 0 <= validated[0]["validation/window_agreement"] <= 1


def test_an_evaluation_stands_beside_two_baselines(copy_of, capsys):
    assert run("evaluate", copy_of, "--splits", "test") == 0
    out = capsys.readouterr().out
    saved = json.loads((copy_of / "evaluation.json").read_text())
    assert list(saved["splits"]) == ["test"]
    for split, found in saved["splits"].items():
        assert list(found) == ["trained", "untrained", "unconditional"]
        for kind, values in found.items():
            assert f"{split}, {kind}" in out
            assert f"{values['nats_per_line']:.3f}" in out
    assert saved["lines"] == {"test": 4}
    scale = saved["nats_per_point_of_the_scale"]
    deviations = json.loads((copy_of / "offsets.json").read_text())["std"]
    assert scale == pytest.approx(np.log(deviations).sum())
    printed = " ".join(out.split())  # a title may be on two lines
    assert f"in the units of the data a point costs {scale:+.3f} nats" in printed


def test_a_run_without_a_text_is_evaluated_and_draws(predicting, tmp_path, capsys):
    folder = Path(shutil.copytree(predicting, tmp_path / "copy"))
    assert isinstance(load_run(folder).params, WeightPosterior)
    assert run("evaluate", folder) == 0
    assert "window" not in capsys.readouterr().out
    out = tmp_path / "drawn.png"
    assert run("write", folder, "--out", out, "--max-points", 9, "--seed", 1) == 0
    assert out.stat().st_size > 1000
    saved = json.loads(out.with_suffix(".json").read_text())
    assert sum(len(stroke) for stroke in saved[0]["strokes"]) == 10
    assert run("write", folder, "text", "--out", out) == 2
    assert "text: expected none for a network" in capsys.readouterr().err


def test_microbatches_pay_for_the_weights_what_their_batch_pays(data_dir):
    smoke = CONFIGS["smoke"][1]
    config = dataclasses.replace(
        smoke,
        data=dataclasses.replace(smoke.data, data_dir=data_dir),
        weight_noise=WeightNoiseConfig(kind="adaptive"),
    )
    setup = TaskSetup(make_mesh(1), None, lambda text: None)
    whole = HandwritingTask(config, setup)
    parts = HandwritingTask(dataclasses.replace(config, accumulation_steps=2), setup)
    params, batch = whole.init_params(), next(whole.batches(0))
    loss = jax.jit(lambda task, batch: task.loss(params, batch, None), static_argnums=0)
    halves = [jax.tree.map(lambda x, n=n: x[n::2], batch) for n in range(2)]
    want, found = loss(whole, batch), [loss(parts, half) for half in halves]
    np.testing.assert_allclose(sum(x.total for x in found), want.total, rtol=1e-5)
    cost = want.total - whole.writer.loss(params, batch, None).total
    steps = smoke.data.train // smoke.batch_size  # an epoch, of one shape
    np.testing.assert_allclose(cost * steps, weight_complexity(params), rtol=1e-3)


# --- metrics --------------------------------------------------------------------


def test_metrics_are_those_of_loops():
    text, characters = "ab", np.array([0, 0, 0, 1, 1], np.int32)
    lines = [Line(text, np.zeros((5, 3), np.float32), characters)]
    under = [0, 1, 0, 1]  # of the points after the first: right, wrong, wrong, right
    weights = np.full((4, 3), 0.1)
    weights[np.arange(4), under] = 0.5
    scores = [LineScores(np.array([1.0, 2, 3, -2]), np.array([4.0, 0, 0, 2]), weights)]
    assert metrics(lines, scores) == pytest.approx(
        {
            "nats_per_line": 4,
            "nats_per_point": 1,
            "squared_error": 1.5,
            "window_monotone": 2 / 3,
            "window_agreement": 0.5,
        }
    )


def test_lines_cost_the_same_in_any_batch(loaded, monkeypatch):
    held_out = loaded.config.data.load("validation")
    whole = Evaluator(loaded.model, loaded.mesh)(loaded.params, held_out)
    monkeypatch.setattr(evaluators, "ROWS", 2)
    parts = Evaluator(loaded.model, loaded.mesh)(loaded.params, held_out[::-1])
    for one, other in zip(whole, parts[::-1], strict=True):
        np.testing.assert_allclose(one.nats, other.nats, rtol=1e-4, atol=1e-4)
        assert one.weights.shape == other.weights.shape


def test_the_unconditional_density_finds_the_mixture_that_made_the_points():
    rng = np.random.default_rng(0)
    n = 4000
    near, far = rng.normal([0, 0], [0.1, 0.3], (n, 2)), rng.normal([3, -2], 0.5, (n, 2))
    offsets = np.concatenate([near, far])
    points = np.column_stack([offsets, rng.random(2 * n) < 0.1]).astype(np.float32)
    mixture = fit_mixture(points, 2)
    order = np.argsort(np.asarray(mixture.means)[:, 0])
    np.testing.assert_allclose(mixture.means[order], [[0, 0], [3, -2]], atol=0.05)
    scales = np.exp(np.asarray(mixture.log_scales))[order]
    np.testing.assert_allclose(scales, [[0.1, 0.3], [0.5, 0.5]], rtol=0.05)
    np.testing.assert_allclose(jax.nn.sigmoid(mixture.end_logit), 0.1, atol=0.02)
    entropies = [np.log(2 * np.pi * np.e * a * b) for a, b in ((0.1, 0.3), (0.5, 0.5))]
    end = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    want = np.mean(entropies) + np.log(2) + end
    np.testing.assert_allclose(nats(mixture, points) / len(points), want, rtol=0.02)


# --- write ----------------------------------------------------------------------


def test_texts_are_written_as_pictures_strokes_and_a_moving_pen(written, tmp_path):
    out = tmp_path / "new" / "line.svg"
    command = ("write", written, "a cat", "No!", "--samples", 2, "--out", out)
    assert run(*command, "--max-points", 17, "--animate", "--bias", 0.5) == 0
    assert imread(out.with_suffix(".png")).std() > 0.01  # not blank
    assert "<svg" in out.read_text()
    root = ElementTree.parse(out.with_name("line-animated.svg")).getroot()
    paths = root.findall(".//{http://www.w3.org/2000/svg}path")
    saved = json.loads(out.with_suffix(".json").read_text())
    assert [line["text"] for line in saved] == ["a cat", "a cat", "No!", "No!"]
    assert len(paths) == sum(len(line["strokes"]) for line in saved)
    assert saved[0]["strokes"] != saved[1]["strokes"]


def test_a_seed_repeats_a_line(loaded):
    one, other, third = (
        write_lines(loaded, ["ab"], seed=seed, max_points=9)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.line.points, other.line.points)
    assert (one.line.points.shape != third.line.points.shape) or (
        one.line.points != third.line.points
    ).any()


def test_a_line_is_in_the_units_of_the_training_data(loaded):
    found = write_lines(loaded, ["abc"], seed=3, max_points=200)[0]
    normal = loaded.model.statistics.normalise(found.line.points)[1:]
    # An untrained network draws about the normalised density.
    assert 0.3 < normal[:, :2].std() < 3


def test_a_prime_is_one_sequence_with_the_new_text(loaded, tmp_path):
    """The window stands behind the prime's text when the new text begins."""
    data = loaded.config.data
    prime = data.load("validation")[0]
    path = tmp_path / "prime.json"
    path.write_text(json.dumps(line_to_json(prime)))
    read = read_prime(path, None)
    np.testing.assert_allclose(read.points, prime.points, atol=2e-4)
    (one,) = write_lines(loaded, ["xyz"], prime=read, max_points=5)
    assert one.picture.text == f"{prime.text} xyz"
    assert one.picture.prime == len(prime.points)
    np.testing.assert_array_equal(one.picture.points[: len(prime.points)], read.points)
    assert one.picture.weights.shape[0] == len(one.picture.points)
    # The same as teacher forcing through the whole line.
    whole = Line(one.picture.text, np.asarray(one.picture.points), prime.characters)
    (scores,) = Evaluator(loaded.model, loaded.mesh)(loaded.params, [whole])
    got = np.asarray(one.picture.weights)[1:]
    np.testing.assert_allclose(got, scores.weights, rtol=1e-3, atol=1e-4)


def test_a_written_line_primes_another_from_the_command_line(written, tmp_path):
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    assert run("write", written, "one", "--out", first, "--max-points", 9) == 0
    command = ("write", written, "two", "--prime", first.with_suffix(".json"))
    assert run(*command, "--out", second, "--max-points", 9) == 0
    assert second.with_suffix(".png").stat().st_size > 1000


def test_a_primed_line_is_saved_without_the_jump_from_its_prime(loaded):
    prime = loaded.config.data.load("validation")[0]
    (one,) = write_lines(loaded, ["xyz"], prime=prime, max_points=30)
    new = one.picture.points[len(prime.points) :]
    found = one.line.points
    assert found.shape == new.shape
    assert found[0].tolist() == [0, 0, new[0, 2]]  # a line begins without a jump
    np.testing.assert_array_equal(found[1:], new[1:])
    lengths = np.diff(np.flatnonzero(new[:, 2]), prepend=-1)
    assert len(lengths) > 1  # or this shows nothing
    strokes = line_to_json(one.line)["strokes"]
    assert [len(stroke) for stroke in strokes] == lengths.tolist()


def ending_at_once(loaded):
    """An untrained network whose window is behind the text "a" at its first step."""
    sizes = dataclasses.replace(loaded.config.model, points_per_character=0.5)
    config = dataclasses.replace(loaded.config, model=sizes)
    given = loaded.model.statistics, loaded.model.alphabet
    model, params = build_model(config, *given)
    return dataclasses.replace(loaded, model=model, params=params)


def test_a_line_that_ends_at_its_first_step_is_drawn(loaded, tmp_path):
    (one,) = write_lines(ending_at_once(loaded), ["a"])
    assert one.finished
    assert one.line.points.tolist() == [[0, 0, 0]]
    np.testing.assert_array_equal(one.picture.weights, np.zeros((1, 2)))
    save_pictures([one], tmp_path / "a.svg", animate=True, say=lambda text: None)
    saved = json.loads((tmp_path / "a.json").read_text())
    assert saved == [{"text": "a", "strokes": [[[0, 0]]]}]


def test_a_line_of_which_only_the_prime_is_drawn_has_no_strokes(loaded):
    prime = loaded.config.data.load("validation")[0]
    empty = Line("a", prime.points[:0], prime.characters[:0])
    assert line_to_json(empty) == {"text": "a", "strokes": []}


def test_a_line_without_a_text_primes_another(predicting, tmp_path, capsys):
    own, out = tmp_path / "own.svg", tmp_path / "next.svg"
    assert run("write", predicting, "--out", own, "--max-points", 9) == 0
    saved = json.loads(own.with_suffix(".json").read_text())
    assert saved[0]["text"] == ""
    command = ("write", predicting, "--prime", own.with_suffix(".json"), "--out", out)
    assert run(*command, "--max-points", 9) == 0, capsys.readouterr().err
    (line,) = json.loads(out.with_suffix(".json").read_text())
    assert sum(len(stroke) for stroke in line["strokes"]) == 9


def test_a_bias_makes_a_line_tidier(written, tmp_path):
    """Offsets spread less: a bias of b divides the deviations by exp(b)."""
    spreads = []
    for bias in (0, 3):
        out = tmp_path / f"{bias}.svg"
        command = ("write", written, "abc", "--bias", bias, "--seed", 3, "--out", out)
        assert run(*command, "--max-points", 200) == 0
        (line,) = json.loads(out.with_suffix(".json").read_text())
        offsets = np.diff(np.concatenate(line["strokes"]), axis=0)
        assert len(offsets) > 50
        spreads.append(offsets.std(axis=0))
    assert (spreads[1] < 0.3 * spreads[0]).all()


STROKES = '"strokes": [[[0, 0], [1, 2]]]'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "text: expected a text to write, got none"),
        (("",), "text: expected characters to write, got ''"),
        (("naïve",), "text: expected characters of the training data"),
        (("a", "--bias", "-1"), "bias: expected 0 or more, got -1.0"),
        (("a", "--bias", "nan"), "bias: expected 0 or more, got nan"),
        (("a", "--seed", "-1"), "seed: expected at least 0, got -1"),
        (("a", "--seed", str(2**64)), "seed: expected at most"),
        (("a", "--samples", "0"), "samples: expected at least 1, got 0"),
        (("a", "--max-points", "0"), "max_points: expected at least 1, got 0"),
        (("a", "--out", "line.gif"), "out: expected a name that ends in .svg or .png"),
        (("a", "--out", "/dev/null/a.svg"), "out: expected a folder that can be writ"),
        (("a", "--prime-text", "b"), "prime_text: expected none without --prime"),
        (("a", "--prime", "missing.json"), "missing.json: expected a file, got"),
    ],
)
def test_what_cannot_be_written_is_refused(
    written, arguments, words, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("write", written, *arguments) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{" + STROKES + "}", "prime: expected strokes with their text, got no text"),
        ('{"text": " ", ' + STROKES + "}", "prime: expected strokes with their text"),
        ("no json", "expected JSON such as"),
        ("[" * 10**5, "expected JSON such as"),
        ('{"text": "a"}', "expected JSON such as"),
        ("[" * 10**5, "got: nested too deeply"),
        ('{"text": "a", "strokes": [[[0, 0], [1e999, 1], [1e999, 2]]]}', "finite num"),
        ('{"text": "a", "strokes": [[[-1e308, 0], [1e308, 1]]]}', "finite numbers"),
        ("[{}, {}]", "got: 2 lines, where one is wanted"),
        ('{"text": "a", "strokes": [[1, 2]]}', "expected JSON such as"),
        ('{"text": "a", "strokes": [[[0, 0]]]}', "expected two points or more"),
        ('{"text": "a", "strokes": [[[0, 0], [NaN, 1]]]}', "expected finite numbers"),
        ('{"text": "a", "strokes": [[[0, 0], [1e99, 1]]]}', "expected finite numbers"),
        (
            '{"text": "ß", ' + STROKES + "}",
            "prime: expected characters of the training",
        ),
    ],
)
def test_an_invalid_prime_is_refused(written, tmp_path, content, words, capsys):
    path = tmp_path / "prime.json"
    path.write_text(content)
    assert run("write", written, "a", "--prime", path, "--out", tmp_path / "a.svg") == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


# --- settings -------------------------------------------------------------------


def test_the_published_optimiser_and_networks():
    """RMSProp of eqs. 38 to 45; three layers of 400; 20 Gaussians, a window of ten."""
    tx = IAM_PREDICTION.optimizer
    assert (tx.name, tx.learning_rate, tx.max_grad_norm) == ("rmsprop", 1e-4, None)
    for name in ("iam-prediction", "iam-synthesis"):
        model = CONFIGS[name][1].model
        sizes = (model.num_layers, model.hidden_dim, model.mixture_components)
        assert (*sizes, model.window_gaussians) == (3, 400, 20, 10)
        assert (model.output_gradient_limit, model.cell_gradient_limit) == (100, 10)
        assert model.cell == "peephole_lstm"


def test_a_text_is_wanted_where_there_is_none(tmp_path, capsys):
    from tests.experiments.datasets.test_strokes import write_omniglot

    write_omniglot(tmp_path, [np.array([[0, 0, 0], [3, 4, 1]])] * 4)
    command = ("train", "omniglot-prediction", "--out", tmp_path / "run")
    command += ("--data.raw-dir", tmp_path, "--data.data-dir", tmp_path / "built")
    assert run(*command, "--with-text") == 2
    assert "with_text: expected False for strokes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--data.max-text-length", 0, "data.max_text_length: expected at least 1"),
        ("--model.mixture-components", 0, "mixture_components: expected at least 1"),
        ("--model.points-per-character", 0, "points_per_character: expected more than"),
        ("--weight-noise.stddev", 0, "weight_noise.stddev: expected more than 0"),
        ("--batch-size", 18, "batch_size: expected at most the 16 training lines"),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path, data_dir, flag, value, words, capsys
):
    command = ("train", "smoke", "--out", tmp_path / "run", "--data.data-dir", data_dir)
    assert run(*command, flag, value) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_whose_statistics_are_lost_says_so(copy_of, capsys):
    (copy_of / "offsets.json").unlink()
    assert run("evaluate", copy_of) == 2
    assert "offsets.json is missing (copy it back)" in capsys.readouterr().err


def test_held_out_texts_of_other_characters_are_found_before_training(
    tmp_path, data_dir, capsys, monkeypatch
):
    monkeypatch.setattr(PenTraces, "characters", lambda self, lines: " abc")
    command = ("train", "smoke", "--out", tmp_path / "run", "--data.data-dir", data_dir)
    assert run(*command) == 2
    assert "expected characters of the training data" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_set_of_lines_is_not_resumed(copy_of, data_dir, capsys):
    before = contents(copy_of)
    command = ("train", "smoke", "--out", copy_of, "--data.data-dir", data_dir)
    assert run(*command, *TINY, "--resume", "--data.seed", 1) == 2
    assert "seed" in capsys.readouterr().err
    assert contents(copy_of) == before


def test_statistics_are_those_of_the_training_lines(loaded):
    want = Statistics.of(loaded.config.data.load("train"))
    np.testing.assert_allclose(loaded.model.statistics.mean, want.mean)
    np.testing.assert_allclose(loaded.model.statistics.std, want.std)
