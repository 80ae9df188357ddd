"""Rescoring n-best lists: their format, what is added, and how it ranks."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.translate.config import SearchConfig
from experiments.translate.decoding import decode_stream
from experiments.translate.loading import load_run
from experiments.translate.nbest import format_entry, read_nbest
from experiments.translate.rescoring import write_rescored
from experiments.translate.translator import Translation
from tests.experiments.commands import run

SOURCES = ["3 May", "1 0 : 3 0 PM", "an unheard-of phrase", "1 km"]
# Out of order, without source 2, with values, alignments and stray blanks.
MOSES = """\
3 ||| 1 km ||| LM0= -10.5 TM= -1 -2.5  ||| -7.25 ||| 0-0 1-1
0 ||| 3 mai ||| LM0= -8 TM= -1 -2 ||| -4.5
0 |||  ||| LM0= -1 TM= 0 0 ||| -9
 1 |||  10:30 ||| LM0= -3 TM= -3 -1 ||| -2e0
0 ||| mai 3 ||| LM0= -8 TM= -1 -2 ||| -4.25
"""


@pytest.fixture
def rescore(smoke_run, tmp_path, capsysbinary):
    """Runs `rescore`; exit code, lines of the output, stderr."""
    (tmp_path / "source").write_text("".join(f"{s}\n" for s in SOURCES))
    out = tmp_path / "out"

    def call(text, *options):
        (tmp_path / "nbest").write_bytes(text.encode("utf-8", "surrogateescape"))
        files = ("--source", tmp_path / "source", "--nbest", tmp_path / "nbest")
        code = run("rescore", smoke_run, *files, "--out", out, *options)
        lines = out.read_text().splitlines() if out.exists() else None
        return code, lines, capsysbinary.readouterr().err.decode()

    return call


@pytest.fixture
def score(smoke_run, tmp_path, capsysbinary):
    """What `score` prints for pairs."""

    def call(pairs):
        (tmp_path / "pairs").write_text("".join(f"{s}\t{t}\n" for s, t in pairs))
        capsysbinary.readouterr()
        assert run("score", smoke_run, tmp_path / "pairs") == 0
        return [float(x) for x in capsysbinary.readouterr().out.split()]

    return call


def features(line):
    return line.split(" ||| ")[2]


def added(line):
    return float(features(line).partition("attnjax= ")[2])


def test_the_feature_is_what_score_says_and_all_else_is_kept(rescore, score):
    code, lines, err = rescore(MOSES)
    assert code == 0, err
    assert "wrote 3 lists of 4 sources" in err
    for line, given in zip(lines, MOSES.splitlines(), strict=True):
        fields, before = ([f.strip() for f in x.split("|||")] for x in (line, given))
        kept = features(line).partition(" attnjax= ")[0]
        assert [*fields[:2], kept, *fields[3:]] == before
    filled = [0, 1, 3, 4]
    entries = [MOSES.splitlines()[i].split("|||") for i in filled]
    want = score([(SOURCES[int(n)], text.strip()) for n, text, *_ in entries])
    np.testing.assert_allclose([added(lines[i]) for i in filled], want, atol=2e-4)


def test_an_empty_hypothesis_scores_its_end(rescore, smoke_run):
    _, lines, _ = rescore(MOSES)
    loaded = load_run(smoke_run)
    tokenizers = loaded.model.tokenizers
    source = np.array([[*tokenizers.source.tokenize(SOURCES[0]), 2]], np.int32)
    model = loaded.model.rebuild(loaded.params)
    logits, _ = model(source, source != 0, np.array([[1]], np.int32))
    logits = np.asarray(logits, np.float64)[0, 0]
    want = logits[2] - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(added(lines[2]), want, atol=2e-4)


def test_lists_that_decode_writes_have_the_score_of_the_search(
    rescore, smoke_run, monkeypatch, capsysbinary
):
    text = "\n".join(SOURCES).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    search = ("--n-best", 2, "--length-penalty", 0, "--suppress-unk")
    assert run("decode", smoke_run, *search) == 0
    decoded = capsysbinary.readouterr().out.decode()
    code, lines, err = rescore(decoded, "--weight", 0.5)
    assert code == 0, err
    for line, given in zip(lines, decoded.splitlines(), strict=True):
        number, hypothesis, found = given.split(" ||| ")
        assert line.split(" ||| ")[:2] == [number, hypothesis]
        np.testing.assert_allclose(added(line), float(found), atol=2e-3)
        np.testing.assert_allclose(
            float(line.split(" ||| ")[3]), added(line), atol=2e-3
        )


class Parrot:
    """A translator that writes each line twice, as it is."""

    model = SimpleNamespace(
        tokenizers=SimpleNamespace(target=SimpleNamespace(vocab_size=7))
    )
    search = SearchConfig()

    def tokenize_sources(self, lines):
        return [[] for _ in lines]

    def translate(self, params, lines, **_):
        scores = [-1.0, -2.0]
        return [
            [Translation([], [], line, score, score, np.empty(0)) for score in scores]
            for line in lines
        ]


BARS = "&#124;&#124;&#124;"
HYPOTHESES = [
    *("a ||| b", "|||", "||| |||", "||| 1 ||| -3", "a|||b ||||", "| a"),
    *(
        "&#124;",
        BARS,
        f"x {BARS} ||| y",
        f"&amp;{BARS[1:]}",
        f"a{BARS}",
        "&amp; &apos;",
    ),
]


def test_any_hypothesis_comes_back_from_a_list_of_decode_and_from_a_rescored(tmp_path):
    text, written = "\n".join(HYPOTHESES).encode(), io.BytesIO()
    decode_stream(Parrot(), None, io.BytesIO(text), written, n_best=2)
    path, out, best = (tmp_path / name for name in ("list", "out", "best"))
    path.write_bytes(written.getvalue())
    count = len(HYPOTHESES)
    for feature in ("f", "g"):  # the list of `decode`, then that of `rescore`
        entries = read_nbest(path, sources=count)
        texts = [(entry.id, entry.text) for entry in entries]
        assert texts == [(n, h) for n, h in enumerate(HYPOTHESES) for _ in range(2)]
        assert [float(entry.score) for entry in entries] == [-1, -2] * count
        how = {"sources": count, "feature": feature, "out": out, "best_out": best}
        write_rescored(entries, [0.0] * len(entries), **how)
        assert best.read_text().splitlines() == HYPOTHESES
        path = out


def test_words_that_other_systems_escape_stay_as_they_are(tmp_path):
    """Their `|||` too is the word of three bars, and is written as it was."""
    words = "&#124; a&#124;b &amp; &apos;s &quot; &#91; &lt; &bar; 1|2"
    lines = [f"0 ||| {words} ||| LM= -1 ||| -1", f"0 ||| {BARS} ||| LM= -1 ||| -2"]
    path = tmp_path / "list"
    path.write_text("".join(f"{line}\n" for line in lines))
    entries = read_nbest(path, sources=1)
    assert [entry.text for entry in entries] == [words, "|||"]
    assert list(map(format_entry, entries)) == lines


@pytest.mark.parametrize("weight", [0.25, 1])
def test_a_weight_ranks_the_lists_anew(rescore, tmp_path, weight):
    _, plain, _ = rescore(MOSES)
    best = tmp_path / "best"
    code, lines, err = rescore(MOSES, "--weight", weight, "--best-out", best)
    assert code == 0, err
    model = {tuple(line.split(" ||| ")[:2]): added(line) for line in plain}
    given = {tuple(x.split(" ||| ")[:2]): x.split(" ||| ")[3] for x in plain}
    ids = [int(line.split(" ||| ")[0]) for line in lines]
    scores = [float(line.split(" ||| ")[3]) for line in lines]
    assert ids == [0, 0, 0, 1, 3]
    assert scores[:3] == sorted(scores[:3], reverse=True)
    for line, found in zip(lines, scores, strict=True):
        entry = tuple(line.split(" ||| ")[:2])
        want = weight * model[entry] + (1 - weight) * float(given[entry])
        np.testing.assert_allclose(found, want, atol=1e-3)
    texts = best.read_text().split("\n")
    assert texts == [lines[0].split(" ||| ")[1], "10:30", "", "1 km", ""]


def test_lists_without_scores_can_be_ranked_by_the_model_alone(rescore):
    bare = "0 ||| 3 mai\n0 ||| mai 3 ||| LM0= -1\n"
    code, lines, err = rescore(bare)
    assert code == 0, err
    assert [len(line.split(" ||| ")) for line in lines] == [3, 3]
    assert features(lines[1]).startswith("LM0= -1 attnjax= ")
    code, _, err = rescore(bare, "--weight", 0.5)
    assert code == 2
    assert "expected a score in the fourth field, got none in line 1" in err
    code, lines, _ = rescore(bare, "--weight", 1)
    assert code == 0
    assert added(lines[0]) >= added(lines[1])


BAD = {
    "0 ||| a ||| ||| -1\n4 ||| b ||| ||| -1\n": "expected ids from 0 to 3, one for",
    "0 ||| a\n\n": "with an id from 0, got '' in line 2",
    "1" * 5000 + " ||| a\n": "with an id from 0, got '1111",
    "a line of text\n": "expected 'id ||| hypothesis ||| features ||| score'",
    "-1 ||| a ||| ||| -1\n": "got '-1 ||| a ||| ||| -1' in line 1",
    "0 ||| a ||| LM= 1 ||| good\n": "expected a finite score in the fourth field",
    "0 ||| a ||| LM= 1 ||| nan\n": "got 'nan' in line 1",
    "0 ||| a ||| attnjax= 1 ||| 1\n": "expected no feature named attnjax, got one in",
    "": "expected lines of text, got an empty file",
    "0 ||| \udcff ||| ||| 1\n": "expected UTF-8, got byte 0xff in line 1",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lists_are_named(rescore, text):
    code, lines, err = rescore(text)
    assert (code, lines) == (2, None)
    assert BAD[text] in err


def test_bad_options_are_named_before_anything_is_read(rescore, smoke_run, tmp_path):
    nbest, out = tmp_path / "nbest", tmp_path / "out"
    for options, message in (
        (("--weight", 1.5), "weight: expected a share from 0 to 1, got 1.5"),
        (("--weight", "nan"), "weight: expected a share from 0 to 1, got nan"),
        (("--feature", "a=b"), "feature: expected a name without blanks"),
        (("--out", nbest), f"out: expected another file than the input {nbest}"),
        (("--best-out", out), f"best_out: expected another file than out, got {out}"),
        (("--out", tmp_path / "no" / "x"), "out: expected a file in an existing fol"),
    ):
        code, lines, err = rescore(MOSES, *options)
        assert (code, lines) == (2, None)
        assert message in err
        assert nbest.read_text() == MOSES


def test_sentences_that_are_too_long_are_named(rescore):
    code, _, err = rescore(MOSES, "--max-source-length", 5)
    assert code == 2
    assert "source: line 2: expected at most 5 tokens, got 6" in err
