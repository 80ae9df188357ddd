"""Decoding from the real command line: a line for every line, or none at all."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attnjax.align import format_pharaoh, read_pharaoh
from experiments.datasets.tokenizers.sentences import UNK, WordVocabulary
from experiments.runs.folder import Run
from experiments.translate.data import read_splits
from experiments.translate.loading import load_run
from tests.experiments.commands import contents, finish, launch, run
from tests.experiments.stepping import stepper

LINES = ["3 May", "", "1 0 : 3 0 PM", " \t ", "an unheard-of phrase"]


@pytest.fixture
def decode(smoke_run, monkeypatch, capsysbinary):
    """Runs `decode` on bytes: exit code, stdout, stderr."""

    def call(text: bytes, *arguments: object, folder: Path = smoke_run):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        code = run("decode", folder, "--length-penalty", 0, *arguments)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


def test_every_line_in_gives_a_line_out(decode):
    text = "\n".join(LINES).encode()
    code, out, err = decode(text, "--beam-size", 2)
    assert code == 0, err
    lines = out.split("\n")
    assert lines.pop() == ""  # the last line ends too
    assert len(lines) == len(LINES)
    assert [bool(line) for line in lines] == [True, False, True, False, True]
    same = "\ufeff" + "\r\n".join(LINES) + "\r\n"
    assert decode(same.encode(), "--beam-size", 2)[1] == out


def test_nothing_in_gives_nothing_out(decode):
    assert decode(b"")[:2] == (0, "")
    assert decode(b"\n\n")[:2] == (0, "\n\n")


def test_n_best_lists_have_moses_form_and_the_models_own_scores(decode, smoke_run):
    code, out, err = decode(b"3 May\n\n1 km", "--n-best", 3, "--beam-size", 2)
    assert code == 0, err
    fields = [line.split(" ||| ") for line in out.splitlines()]
    assert [int(number) for number, *_ in fields] == [0, 0, 0, 1, 2, 2, 2]
    assert fields[3] == ["1", "", "0.0000"]
    step_through = stepper(load_run(smoke_run))
    for start, source in ((0, "3 May"), (4, "1 km")):
        texts = [text for _, text, _ in fields[start : start + 3]]
        scores = [float(score) for *_, score in fields[start : start + 3]]
        assert len(set(texts)) == 3
        assert scores == sorted(scores, reverse=True)
        assert str(UNK) not in texts
        for text, score in zip(texts, scores, strict=True):
            log_probs, _ = step_through(source, text)
            np.testing.assert_allclose(score, log_probs.sum(), atol=2e-3)


def test_alignments_link_words_of_the_line_to_words_written(decode, tmp_path):
    file = tmp_path / "links"
    text = "\n".join(LINES).encode()
    code, out, err = decode(text, "--alignments", file, "--beam-size", 2)
    assert code == 0, err
    pairs = zip(LINES, out.split("\n"), strict=False)
    lengths = [(len(line.split()), len(written.split())) for line, written in pairs]
    found = read_pharaoh(file, lengths=lengths)  # which checks the positions
    assert [bool(links.sure) for links in found][1::2] == [False, False]
    assert any(links.sure for links in found)
    for links in found:  # one link a word at most
        targets = [j for _, j in links.sure]
        assert len(targets) == len(set(targets))
    assert format_pharaoh(found[0]) in file.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["links"]


def test_pictures_are_named_by_their_lines(decode, tmp_path):
    text = "\n".join(LINES).encode()
    code, _, err = decode(text, "--plot", tmp_path / "new" / "plots", "--beam-size", 2)
    assert code == 0, err
    pictures = contents(tmp_path / "new" / "plots")
    assert sorted(pictures) == ["1.png", "3.png", "5.png"]
    assert all(data.startswith(b"\x89PNG") for data in pictures.values())


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Files that must not be touched, and a run to be damaged."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    (tmp_path / "old").write_text("0-0\n")
    return tmp_path


BAD = {
    "encoding": (
        b"3 May\nM\xe4rz\n",
        (),
        "stdin: expected UTF-8, got byte 0xe4 in line 2, at byte 7 of the text",
    ),
    "long": (
        b"3 May\n\n1 2 3 4 5\n",
        ("--max-source-length", 4),
        "line 3: expected at most 4 tokens, got 5 (split the sentence, or raise",
    ),
    "n-best": (b"3 May", ("--n-best", 0), "n_best: expected at least 1, got 0"),
    "many n-best": (
        b"3 May",
        ("--n-best", 100_000),
        "n_best: expected at most",
    ),
    "no permission": (
        b"3 May",
        ("--alignments", "/proc/links"),
        "alignments: expected a folder that can be written, got /proc/links",
    ),
    "beam": (b"3 May", ("--beam-size", 0), "beam_size: expected at least 1, got 0"),
    "wide": (b"3 May", ("--beam-size", 99999), "beam_size: expected at most"),
    "penalty": (
        b"3 May",
        ("--length-penalty", -0.5),
        "length_penalty: expected at least 0, got -0.5",
    ),
    "limit": (
        b"3 May",
        ("--max-source-length", 0),
        "max_source_length: expected at least 1",
    ),
    "full folder": (b"3 May", ("--plot", "full"), "plot: expected a new or empty"),
    "plot file": (b"3 May", ("--plot", "old"), "plot: expected a folder, got the file"),
    "no folder": (
        b"3 May",
        ("--alignments", "absent/links"),
        "alignments: expected a file in an existing folder, got absent/links",
    ),
    "a folder": (
        b"3 May",
        ("--alignments", "full"),
        "alignments: expected a file, got",
    ),
}


@pytest.mark.parametrize(("text", "arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named_and_nothing_is_written(
    text, arguments, message, decode, places, monkeypatch
):
    monkeypatch.chdir(places)
    before = contents(places)
    if "--alignments" not in arguments:
        arguments = (*arguments, "--alignments", "old")
    code, out, err = decode(text, *arguments)
    assert (code, out) == (2, "")
    assert f"error: {message}" in err
    assert contents(places) == before


def test_what_is_no_run_is_named(decode, places):
    code, out, err = decode(b"3 May", folder=places / "nothing")
    assert (code, out) == (2, "")
    assert "nothing: expected the folder of a run, got no folder" in err
    code, out, err = decode(b"3 May", folder=places / "full")
    assert (code, out) == (2, "")
    assert "full: expected the folder of a run, got one without config.json" in err


@pytest.fixture
def copy(smoke_run, tmp_path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(smoke_run, tmp_path / "run"))


def test_a_checkpoint_cut_short_is_left_out_and_named(decode, copy):
    path = Run.open(copy).checkpoints.path(8)
    largest = max(path.rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    os.truncate(largest, largest.stat().st_size // 2)
    before = contents(copy)
    code, _, err = decode(b"3 May", "--checkpoint", "last", folder=copy)
    assert code == 0
    assert "00000008 is damaged (" in err
    assert "using the checkpoint of step 6 instead" in err
    assert contents(copy) == before


def test_a_checkpoint_of_another_config_is_named(decode, copy):
    config = copy / "config.json"
    config.write_text(config.read_text().replace('"hidden_dim": 7', '"hidden_dim": 8'))
    code, out, err = decode(b"3 May", folder=copy)
    assert (code, out) == (2, "")
    assert "got another: model.hidden_dim: 7 saved, 8 now" in err


def test_a_run_without_its_parts_is_named(decode, copy):
    (copy / "target.json").unlink()
    code, out, err = decode(b"3 May", folder=copy)
    assert (code, out) == (2, "")
    assert "target.json is missing (copy it back)" in err
    shutil.rmtree(copy / "checkpoints")
    code, out, err = decode(b"3 May", folder=copy)
    assert (code, out) == (2, "")
    assert "expected the run's tokenisers" in err
    shutil.copy(copy / "source.json", copy / "target.json")
    code, out, err = decode(b"3 May", folder=copy)
    assert (code, out) == (2, "")
    assert "expected a checkpoint in this run, got none" in err


def test_a_run_of_another_experiment_is_named(decode, tmp_path):
    Run.create(tmp_path / "other", {"class": "Reversal", "steps": 5})
    code, _, err = decode(b"3 May", folder=tmp_path / "other")
    assert code == 2
    assert "config: expected Config, got Reversal" in err


def test_a_reader_that_goes_away_ends_it_quietly(smoke_run, cache, tmp_path):
    process = launch(
        *("decode", smoke_run, "--beam-size", 2, "--alignments", tmp_path / "links"),
        cache=cache,
        stdin=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdout = None
    process.stdin.write(b"3 May\n" * 50)
    ((code, err),) = finish(process)
    assert (code, err) == (141, "")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tokenized(monkeypatch) -> list[str]:
    """What the tokenisers of sentences are given, in order."""
    seen: list[str] = []
    tokenize = WordVocabulary.tokenize

    def spy(self, text: str) -> list[int]:
        seen.append(text)
        return tokenize(self, text)

    monkeypatch.setattr(WordVocabulary, "tokenize", spy)
    return seen


def test_every_line_is_tokenized_once(decode, tokenized):
    code, _, err = decode("\n".join(LINES).encode(), "--beam-size", 2)
    assert code == 0, err
    assert tokenized == LINES


def test_evaluating_tokenizes_every_sentence_once(smoke_run, tokenized, tmp_path):
    folder = shutil.copytree(smoke_run, tmp_path / "run")
    loaded = load_run(folder)
    pairs = read_splits(loaded.config.data, ["test"])["test"]
    assert run("evaluate", folder, "--splits", "test", "--beam-size", 1) == 0
    assert sorted(tokenized) == sorted(text for pair in pairs for text in pair[:2])


def test_a_closed_stdin_is_named(smoke_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert run("decode", smoke_run) == 2
    assert "error: stdin: expected lines of text, got a closed" in (
        capsys.readouterr().err
    )
