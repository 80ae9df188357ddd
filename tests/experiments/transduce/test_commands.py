"""Training, evaluating and decoding from the real command line."""

import dataclasses
import io
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models.ctc import CTCConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transducer import TransducerConfig
from attnjax.parallel import make_mesh
from experiments.datasets.readings.datasets import Entry
from experiments.datasets.readings.made_up_words import MadeUpWords
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
    WordVocabulary,
)
from experiments.runs.folder import Run
from experiments.transduce.config import SearchConfig
from experiments.transduce.configs import CONFIGS
from experiments.transduce.loading import load_run
from experiments.transduce.model import Alphabets, build_model
from experiments.transduce.reading import BatchReader
from tests.experiments.commands import contents, record, run
from tests.experiments.transduce.conftest import train

WORDS = MadeUpWords(train=400, validation=11, test=13)


@pytest.fixture
def decode(monkeypatch, capsysbinary):
    """Decodes text; returns exit code, lines of stdout, stderr."""

    def call(folder, text, *options):
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = run("decode", folder, *options, program="transduce")
        out, err = capsysbinary.readouterr()
        return code, out.decode().split("\n")[:-1], err.decode()

    return call


def test_a_transducer_learns_rules_of_spelling(transducer, tmp_path, capsys):
    """A uniform guess has a PER near 1; these 120 steps reach 0.35 with room."""
    shutil.copytree(transducer, tmp_path / "run")
    assert run("evaluate", tmp_path / "run", program="transduce") == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())["splits"]
    assert list(found) == ["validation", "test"]
    assert found["test"]["words"] == 13
    assert found["test"]["per"] < 0.35
    row = capsys.readouterr().out.splitlines()[-1].split()
    test = found["test"]
    rates = [f"{100 * test[name]:.2f}" for name in ("wer", "per")]
    assert row == ["test", "13", *rates]


def test_what_decode_prints_is_what_evaluate_scores(transducer, decode):
    entries = WORDS.load("test")
    text = "\n".join("".join(e.symbols) for e in entries).upper()
    code, lines, _ = decode(transducer, text)
    assert code == 0
    loaded = load_run(transducer)
    reader = BatchReader(loaded.model, loaded.config.search, loaded.mesh)
    wrong = sum(
        tuple(line.split()) not in entry.readings
        for line, entry in zip(lines, entries, strict=True)
    )
    rates = reader.error_rates(loaded.params, entries)
    assert rates.wer == wrong / len(entries)


def test_a_word_is_read_alike_alone_and_in_any_company(transducer, decode):
    some = ["kate", "x", "shathupokeph", "a"]
    alone = [decode(transducer, word)[1][0] for word in some]
    assert decode(transducer, "\n".join(some))[1] == alone


def test_empty_lines_stay_empty(transducer, decode):
    code, lines, _ = decode(transducer, "kat\n\n \nkat\n")
    assert code == 0
    assert lines[1:3] == ["", ""]
    assert lines[0] == lines[3] != ""


def test_n_best_are_distinct_and_sorted(transducer, decode):
    code, lines, _ = decode(transducer, "kate", "--n-best", 4)
    assert code == 0
    cells = [line.split("\t") for line in lines]
    assert {word for word, _, _ in cells} == {"kate"}
    assert len({phones for _, phones, _ in cells}) == len(cells) == 4
    scores = [float(score) for *_, score in cells]
    assert scores == sorted(scores, reverse=True)
    assert np.exp(scores).sum() <= 1.0001


@pytest.mark.parametrize(
    ("sizes", "beam_size"),
    [
        (TransducerConfig(embed_dim=3, hidden_dim=5, joint_dim=4), 1),
        (TransducerConfig(embed_dim=3, hidden_dim=5, joint_dim=4), 3),
        (CTCConfig(embed_dim=3, hidden_dim=5), 1),
    ],
    ids=["greedy", "beam", "ctc"],
)
def test_special_tokens_are_no_labels(sizes, beam_size):
    """Not even of a model that wants nothing else."""
    config = dataclasses.replace(CONFIGS["smoke"][1], model=sizes)
    alphabets = Alphabets(WordVocabulary(("a", "b")), WordVocabulary(("X", "Y")))
    reader, params = build_model(config, alphabets)
    params["b_output"] = params["b_output"].at[jnp.array([UNK, BOS, EOS])].set(9.0)
    search = SearchConfig(beam_size=beam_size)
    found = reader.read(params, np.array([[4, 5, 4]]), search=search)
    assert set(np.unique(found.tokens)) <= {PAD, 4, 5}
    assert np.isfinite(found.log_probs).all()


@pytest.mark.parametrize(
    ("sizes", "beam_size", "length"),
    [
        (TransducerConfig(embed_dim=3, hidden_dim=5, joint_dim=4), 1, 10),
        (TransducerConfig(embed_dim=3, hidden_dim=5, joint_dim=4), 3, 10),
        (RNNSearchConfig(embed_dim=3, hidden_dim=5, align_dim=4, readout_dim=3), 1, 9),
    ],
    ids=["greedy", "beam", "rnnsearch"],
)
def test_a_runaway_is_cut_alike_in_any_batch(sizes, beam_size, length):
    """Two letters and the end: 3 * 2 + 4 outputs, of which RNNSearch's EOS is one."""
    config = dataclasses.replace(CONFIGS["smoke"][1], model=sizes)
    alphabets = Alphabets(WordVocabulary(("a", "b")), WordVocabulary(("X", "Y")))
    model, params = build_model(config, alphabets)
    output = params["deep_output"] if model.kind == "rnnsearch" else params
    output["b_output"] = output["b_output"].at[4].set(9.0)
    search = SearchConfig(beam_size=beam_size, max_per_frame=9, max_length_ratio=2)
    reader = BatchReader(model, search, make_mesh())
    alone, company = (
        reader.read(params, words)[0] for words in (["ab"], ["ab", "ab" * 10])
    )
    assert alone[0][0] == [4] * length
    assert [ids for ids, _ in alone] == [ids for ids, _ in company]
    scores = [[x for _, x in found] for found in (alone, company)]
    np.testing.assert_allclose(*scores, rtol=1e-5)


def test_the_beam_adds_up_paths_so_it_has_more_than_greedy(transducer):
    loaded = load_run(transducer)
    words = [entry.symbols for entry in WORDS.load("test")]
    greedy, beam = (
        BatchReader(loaded.model, SearchConfig(beam_size=k), loaded.mesh).read(
            loaded.params, words
        )
        for k in (1, 5)
    )
    for one, several in zip(greedy, beam, strict=True):
        assert several[0][1] >= one[0][1] - 1e-4


@pytest.mark.parametrize("kind", ["transducer", "rnnsearch"])
def test_paths_lie_in_the_word(kind, request, decode):
    folder = request.getfixturevalue(kind)
    code, lines, _ = decode(folder, "kate\nx", "--paths")
    assert code == 0
    plain = decode(folder, "kate\nx")[1]
    for line, other, length in zip(lines, plain, (4, 1), strict=True):
        places = [int(cell.partition("@")[2]) for cell in line.split()]
        assert [cell.partition("@")[0] for cell in line.split()] == other.split()
        assert all(1 <= at <= length + 1 for at in places)  # the end is one more
        if kind == "transducer":
            assert places == sorted(places)


def test_rnnsearch_reads_too(rnnsearch, tmp_path):
    shutil.copytree(rnnsearch, tmp_path / "run")
    assert run("evaluate", tmp_path / "run", program="transduce") == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert 0 < found["splits"]["validation"]["per"] < 10


@pytest.mark.parametrize("option", ["--beam-size", "--n-best"])
def test_a_beam_beyond_the_vocabulary_of_rnnsearch_is_named(rnnsearch, decode, option):
    size = load_run(rnnsearch).model.alphabets.target.vocab_size
    code, lines, err = decode(rnnsearch, "kat\n", option, 99)
    assert (code, lines) == (2, [])
    name = option[2:].replace("-", "_")
    expected = f"{name}: expected at most {size} (the target vocabulary), got 99"
    assert expected in err
    assert len(err.splitlines()) == 1


def test_evaluate_names_a_beam_beyond_the_vocabulary_too(rnnsearch, capsys):
    before = contents(rnnsearch)
    assert run("evaluate", rnnsearch, "--beam-size", 99, program="transduce") == 2
    assert "beam_size: expected at most" in capsys.readouterr().err
    assert contents(rnnsearch) == before


def test_a_word_with_a_letter_not_seen_counts_as_wrong(
    transducer, tmp_path, monkeypatch, capsys
):
    """With an empty output: 1 more word, and 2 edits of 2 phones, the shortest's."""
    shutil.copytree(transducer, tmp_path / "run")
    load = MadeUpWords.load
    odd = Entry(("k", "ñ"), (("K", "EY", "T"), ("K", "T")))

    def evaluate(*more):
        monkeypatch.setattr(MadeUpWords, "load", lambda *x: [*more, *load(*x)])
        options = ("--splits", "test")
        assert run("evaluate", tmp_path / "run", *options, program="transduce") == 0
        saved = json.loads((tmp_path / "run" / "evaluation.json").read_text())
        return saved["splits"]["test"], capsys.readouterr().out.splitlines()[-1]

    (plain, row), (found, line) = evaluate(), evaluate(odd)
    assert (plain["unreadable"], found["unreadable"]) == (0, 1)
    assert (plain["words"], found["words"]) == (13, 14)
    np.testing.assert_allclose(14 * found["wer"], 13 * plain["wer"] + 1)
    # e / n becomes (e + 2) / (n + 2): the share of right phones shrinks by n / (n + 2).
    phones = sum(len(e.readings[0]) for e in load(WORDS, "test"))
    kept = (1 - found["per"]) / (1 - plain["per"])
    np.testing.assert_allclose(kept, phones / (phones + 2))
    assert row.startswith("test ")
    assert line == (
        "test: words with a letter that no training word has, which count as wrong: 1"
    )


def test_stopped_and_resumed_it_ends_with_the_same_bits(tmp_path):
    for folder, steps in (("whole", 6), ("parts", 4), ("parts", 6)):
        code = train(
            *("words-transducer", tmp_path / folder, "--steps", steps),
            *("--log-every", 1, "--resume", "--model.dropout", 0.2),
        )
        assert code == 0
    whole, parts = (load_run(tmp_path / name, "last") for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    assert record(tmp_path / "whole")[-1] == record(tmp_path / "parts")[-1]
    assert len(Run.open(tmp_path / "parts").metrics()) >= 6


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("kat\nka7e\n", (), "line 2: expected letters of the training words, got '7'"),
        (b"k\xff\n", (), "stdin: expected UTF-8, got byte 0xff in line 1"),
        ("kat\n", ("--beam-size", 0), "beam_size: expected at least 1, got 0"),
        ("kat\n", ("--max-per-frame", 0), "max_per_frame: expected at least 1, got 0"),
        ("kat\n", ("--n-best", 0), "n_best: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_named_before_any_output(
    transducer, decode, text, options, message
):
    before = contents(transducer)
    code, lines, err = decode(transducer, text, *options)
    assert (code, lines) == (2, [])
    assert message in err
    assert len(err.splitlines()) == 1
    assert contents(transducer) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--splits", "dev"), "splits: expected some of train, validation, test, got"),
        (("--raw-dir", "x"), "raw_dir: expected none (this run's words are made up)"),
    ],
)
def test_bad_options_of_evaluate_are_named(transducer, capsys, options, message):
    assert run("evaluate", transducer, *options, program="transduce") == 2
    assert message in capsys.readouterr().err


def test_bad_data_are_named_before_a_folder_is_made(tmp_path, capsys):
    for options, message in (
        (("cmudict-transducer",), "raw_dir: expected the folder of cmudict.dict"),
        (("smoke", "--data.train", 0), "data: expected 1 to 20,000 made-up words"),
        (("smoke", "--model.joint-dim", 0), "model.joint_dim: expected at least 1"),
    ):
        out = tmp_path / "run"
        assert run("train", *options, "--out", out, program="transduce") == 2
        assert message in capsys.readouterr().err
        assert not out.exists()
