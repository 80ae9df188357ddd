"""Evaluating runs from the real command line: every question once, beside the paper."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.babi.evaluation import combine, print_report
from experiments.babi.loading import load_run
from tests import oracle_memory
from tests.experiments import commands
from tests.experiments.commands import contents
from tests.models.test_memory_networks import papers_matrices

run = partial(commands.run, program="babi")


@pytest.fixture
def copied(soft_run, tmp_path) -> Path:
    return Path(shutil.copytree(soft_run, tmp_path / "run"))


def test_errors_are_those_of_a_loop_over_questions(copied, capsys):
    assert run("evaluate", copied, "--checkpoint", "last") == 0
    found = json.loads((copied / "evaluation.json").read_text())
    loaded = load_run(copied, "last", mesh=make_mesh(1))
    words, config = loaded.model.vocabulary, loaded.model.config
    matrices = papers_matrices(loaded.params, "adjacent", config.num_hops)
    wrong: dict[int, list[bool]] = {1: [], 2: []}
    for task, story in loaded.config.data.load("test"):
        facts = [words.encode(fact) for fact in story.facts]
        for question in story.questions:
            logits, _ = oracle_memory.end_to_end(
                matrices,
                facts[: question.num_facts],
                words.encode(question.text),
                hops=config.num_hops,
                tying="adjacent",
            )
            wrong[task].append(words.word(int(np.argmax(logits))) != question.answer)
    for task in (1, 2):
        assert len(wrong[task]) == 14
        got = found["tasks"][str(task)]["error"]
        np.testing.assert_allclose(got, np.mean(wrong[task]), atol=1e-9)
    np.testing.assert_allclose(
        found["mean_error"], np.mean([np.mean(w) for w in wrong.values()])
    )
    assert found["failed"] == sum(np.mean(w) > 0.05 for w in wrong.values())
    assert found["paper"] == {}
    out, err = capsys.readouterr()
    assert "evaluating test: 28 questions" in err
    table = [line.split() for line in out.splitlines()]
    assert table[2][:2] == ["1", "single-supporting-fact"]
    assert table[-2][0] == "mean"
    assert table[-1][:4] == ["tasks", "over", "5", "%"]


def test_runs_of_the_same_tasks_are_listed_and_training_error_chooses(
    copied, hard_run, tmp_path, capsys
):
    other = Path(shutil.copytree(hard_run, tmp_path / "hard"))
    assert run("evaluate", copied, other) == 0
    out = capsys.readouterr().out
    assert "every seed; the lowest training error chooses" in out
    assert "median" in out
    records = [
        json.loads((folder / "evaluation.json").read_text())
        for folder in (copied, other)
    ]
    (best,) = combine(records)
    assert best["training_error"] == min(r["training_error"] for r in records)


def record(tasks, training, test, seed=0, paper=()):
    return {
        "step": 5, "parameters": 7, "seed": seed, "size": "1k", "paper": dict(paper),
        "training_error": training, "mean_error": test, "failed": 0,
        "tasks": {str(t): {"error": test, "training_error": training} for t in tasks},
    }  # fmt: skip


def test_test_errors_choose_nothing():
    """The worse of two by test error, if its training error is the lower one."""
    one, two = record([1, 2], 0.2, 0.01), record([1, 2], 0.1, 0.4, seed=1)
    assert combine([one, two]) == [two]
    per_task = [record([3], 0.0, 0.1), record([1], 0.0, 0.2), record([1], 0.1, 0.0)]
    assert combine(per_task) == [per_task[1], per_task[0]]


def test_the_table_stands_beside_the_papers_row(capsys):
    paper = {"1": 0.0, "2": 11.4}
    print_report([record([1, 2], 0.0, 0.051, paper=paper.items())])
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[3] == ["2", "two-supporting-facts", "5.1", "11.4"]
    assert table[4] == ["mean", "5.1", "5.7"]
    assert table[5] == ["tasks", "over", "5", "%", "2", "1"]


BAD = {
    "none": ((), "runs: expected at least one folder of a run, got none"),
    "absent": (("absent",), "absent: expected the folder of a run, got no folder"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_what_is_no_run_is_named(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", *arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_moved_data_are_named(copied, raw, tmp_path, capsys):
    before = contents(copied)
    assert run("evaluate", copied, "--raw-dir", tmp_path / "nothing") == 2
    assert (
        "raw_dir: expected a folder, got nothing of that name"
        in capsys.readouterr().err
    )
    assert contents(copied) == before
    moved = Path(shutil.copytree(raw, tmp_path / "moved"))
    assert run("evaluate", copied, "--raw-dir", moved) == 0
