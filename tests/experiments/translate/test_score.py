"""Scoring given translations, and what is written for unknown words."""

import io
import sys

import numpy as np
import pytest

from experiments.datasets.tokenizers.sentences import WordVocabulary
from experiments.translate.loading import load_run
from tests.experiments.commands import run

SOURCES = ["3 May", "1 0 : 3 0 PM", "an unheard-of phrase"]


@pytest.fixture
def decoded(smoke_run, monkeypatch, capsysbinary):
    """Translations of the sources, with their log-probabilities."""
    text = "\n".join(SOURCES).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    search = ("--n-best", 2, "--length-penalty", 0, "--suppress-unk")
    assert run("decode", smoke_run, *search) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    fields = [line.split(" ||| ") for line in lines]
    return [(SOURCES[int(n)], text, float(score)) for n, text, score in fields]


@pytest.fixture
def score(smoke_run, capsysbinary):
    """Runs `score`; exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsysbinary.readouterr()
        code = run("score", smoke_run, *arguments)
        return code, *(text.decode() for text in capsysbinary.readouterr())

    return call


def test_what_is_decoded_scores_what_decoding_said(decoded, score, tmp_path):
    decoded = [found for found in decoded if found[1]]
    columns, source, target = (tmp_path / name for name in ("columns", "a", "b"))
    columns.write_text("".join(f"{s}\t{t}\n" for s, t, _ in decoded))
    source.write_text("".join(f"{s}\n" for s, _, _ in decoded))
    target.write_text("".join(f"{t}\n" for _, t, _ in decoded))
    code, out, err = score(columns)
    assert code == 0, err
    want = [score for *_, score in decoded]
    np.testing.assert_allclose([float(x) for x in out.split()], want, atol=2e-3)
    assert score(source, target)[1] == out

    code, detailed, err = score(columns, "--pieces", "--per-token")
    assert code == 0, err
    for line, (_, text, total) in zip(detailed.splitlines(), decoded, strict=True):
        mean, pieces = line.split("\t")
        names, gains = zip(*(p.rsplit(":", 1) for p in pieces.split()), strict=True)
        assert names == (*text.split(), "</s>")
        gains = [float(gain) for gain in gains]
        np.testing.assert_allclose(np.sum(gains), total, atol=2e-3)
        np.testing.assert_allclose(np.mean(gains), float(mean), atol=2e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3 May\t3 mai\n1 km\n", "expected source, tab, target, got no tab in line 2"),
        ("3 May\t3 mai\n1 km\t\n", "got 1 empty (line 2; fix the files)"),
        ("", "expected lines of text, got an empty file"),
        ("1 " * 99 + "\tx\n", "line 1: expected at most 90 tokens, got 99"),
    ],
)
def test_bad_pairs_are_named(score, tmp_path, text, message):
    (tmp_path / "pairs").write_text(text)
    code, out, err = score(tmp_path / "pairs", "--max-source-length", 90)
    assert (code, out) == (2, "")
    assert message in err


def test_the_number_of_files_is_checked(score, tmp_path):
    code, out, err = score(*[tmp_path / "x"] * 3)
    assert (code, out) == (2, "")
    assert "expected two line-aligned files or one" in err


def test_an_unknown_word_becomes_what_it_reads(smoke_run, tmp_path, monkeypatch):
    """Made certain: a model that writes unknown words only."""
    dictionary = tmp_path / "words"
    dictionary.write_text("3\ttrois\nMay\tmai\n")
    loaded = load_run(smoke_run)
    bias = loaded.params["deep_output"]["b_output"]
    loaded.params["deep_output"]["b_output"] = bias.at[3].add(50.0)
    texts = {}
    for name, settings in {
        "as written": {},
        "copied": {"replace_unk": True},
        "translated": {"dictionary": dictionary},
    }.items():
        translator = loaded.build_translator(beam_size=1, **settings)
        ((found,),) = translator.translate(loaded.params, ["3 May"])
        reads = found.weights[:-1, :2].argmax(axis=1)
        texts[name] = found.text.split()
    assert set(texts["as written"]) == {"⁇"}
    assert texts["copied"] == [["3", "May"][i] for i in reads]
    assert texts["translated"] == [["trois", "mai"][i] for i in reads]


def test_pieces_are_utf_8_where_the_terminal_is_not(smoke_run, tmp_path, monkeypatch):
    """As what `decode` writes."""
    (tmp_path / "pairs").write_text("3 May\t3 日\n")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    monkeypatch.setattr(WordVocabulary, "ids_to_tokens", lambda self, ids: ["日"] * 3)
    assert run("score", smoke_run, tmp_path / "pairs", "--pieces") == 0
    sys.stdout.flush()
    assert written.getvalue().decode().count("日:-") == 3


def test_the_source_column_can_be_chosen(score, tmp_path):
    (tmp_path / "a").write_text("3 May\t3 mai\n")
    (tmp_path / "b").write_text("x\t3 mai\t3 May\n")
    code, out, _ = score(tmp_path / "a")
    chosen = ("--source-column", 3, "--target-column", 2)
    assert (code, out) == score(tmp_path / "b", *chosen)[:2]
