"""`align` on the real command line, against stepping through the translations."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attnjax.align import (
    alignment,
    alignment_error_rate,
    read_pharaoh,
    symmetrise,
    write_pharaoh,
)
from attnjax.models.rnn_encdec import RNNEncoderDecoderConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.datasets.tokenizers.sentences import SentencePiece
from experiments.errors import UserError
from experiments.translate.alignments import (
    Extraction,
    flip,
    word_links,
    word_weights,
)
from experiments.translate.config import GuidedAlignmentConfig, check_aligns
from experiments.translate.data import read_splits
from experiments.translate.loading import load_run
from tests.experiments.commands import contents, run
from tests.experiments.stepping import stepper


@pytest.fixture(scope="module")
def loaded(smoke_run):
    return load_run(smoke_run)


@pytest.fixture(scope="module")
def pairs(loaded):
    return read_splits(loaded.config.data)["test"]


@pytest.fixture(scope="module")
def rows(loaded, pairs):
    """The weights that predict each word, and EOS: [T + 1, S + 1]."""
    through = stepper(loaded)
    return [through(pair.source, pair.target)[1] for pair in pairs]


@pytest.fixture
def files(pairs, tmp_path):
    sides = {"source": "source", "target": "target", "gold": "alignment"}
    for name, field in sides.items():
        lines = "".join(f"{getattr(pair, field)}\n" for pair in pairs)
        (tmp_path / name).write_text(lines, encoding="utf-8")
    return tmp_path


@pytest.fixture
def align(smoke_run, files, capsys):
    """Runs the command; returns exit code, stdout and stderr."""

    def call(*arguments, source="source", target="target"):
        sides = ("--source", files / source, "--target", files / target)
        code = run("align", smoke_run, *sides, *arguments)
        return code, *capsys.readouterr()

    return call


def best(rows, *, drop_end):
    """Links of the largest weight of each row but EOS's."""
    links = []
    for t, row in enumerate(rows):
        s = int(np.argmax(row[:-1] if drop_end else row))
        if s < len(row) - 1:
            links.append((s, t))
    return alignment(links)


# With a row for each word, "before" and "after" differ by one; EOS is never fed.
CASES = {
    "by default": ((), lambda rows: best(rows[:-1], drop_end=False)),
    "after": (("--row", "after"), lambda rows: best(rows[1:], drop_end=False)),
    "next best": (
        ("--on-end", "next-best"),
        lambda rows: best(rows[:-1], drop_end=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_links_are_those_of_stepping(align, files, rows, name):
    options, expected = CASES[name]
    code, out, _ = align(*options)
    assert code == 0
    (files / "got").write_text(out)
    got, want = read_pharaoh(files / "got"), list(map(expected, rows))
    # Weights of equal size may tie otherwise: a link or two.
    assert alignment_error_rate(got, want).aer < 0.02
    assert sum(len(one.sure) for one in want) > 30


def test_gold_links_give_aer_on_stderr_beside_the_links(align, files, rows, pairs):
    code, out, err = align("--gold", files / "gold")
    assert (code, len(out.splitlines())) == (0, len(pairs))
    (files / "got").write_text(out)
    want = alignment_error_rate(
        read_pharaoh(files / "got"), read_pharaoh(files / "gold")
    )
    cells = err.splitlines()[-1].split()
    assert cells == ["forward", *(f"{x:.3f}" for x in want[:3]), str(want.links)]


def test_two_runs_are_symmetrised(align, files, smoke_run):
    """The run stands for its own reverse: only which way links point is tested."""
    code, _, _ = align("--out", files / "forward")
    assert code == 0
    swapped = run(
        *("align", smoke_run, "--source", files / "target"),
        *("--target", files / "source", "--out", files / "swapped"),
    )
    assert swapped == 0
    forward = read_pharaoh(files / "forward")
    reverse = [flip(one) for one in read_pharaoh(files / "swapped")]
    for method in ("intersection", "union", "grow-diag-final"):
        out = files / f"links.{method}.gz"
        options = ("--reverse", smoke_run, "--symmetrize", method, "--out", out)
        assert align(*options)[0] == 0
        want = [
            symmetrise(*both, method=method)
            for both in zip(forward, reverse, strict=True)
        ]
        assert read_pharaoh(out) == want


def test_soft_weights_are_written_line_by_line(align, files, rows):
    assert align("--weights-out", files / "soft.npz")[0] == 0
    with np.load(files / "soft.npz", allow_pickle=False) as soft:
        assert len(soft.files) == len(rows)
        for n, want in enumerate(rows, start=1):
            np.testing.assert_allclose(soft[f"line_{n}"], want, rtol=1e-4, atol=1e-6)


def test_the_run_stays_as_it_is(align, smoke_run):
    before = contents(smoke_run)
    assert align()[0] == 0
    assert contents(smoke_run) == before


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("a\nb\n", "a\n", (), "files: expected equally many lines, got 2 in "),
        ("a\n\n", "a\nb\n", (), "source: expected a sentence in every line, got 1"),
        ("a\n", "\n", (), "target: expected a sentence in every line, got 1 empty"),
        ("a " * 9, "b", ("--max-source-length", 8), "line 1: expected at most 8 token"),
        ("a", "b", ("--layer", 0), "layer: expected none, got 0 (only a Transformer"),
        ("a", "b", ("--heads", 1), "heads: expected none, got 1 (only a Transformer"),
        ("a", "b", ("--gold", "absent"), "absent: expected a file, got nothing of"),
        ("a", "b", ("--out", "no/where"), "out: expected a file in an existing folder"),
        ("a", "b", ("--reverse", "no-run"), "no-run: expected the folder of a run"),
    ],
)
def test_bad_input_is_named_in_one_line(
    align, files, monkeypatch, source, target, options, message
):
    monkeypatch.chdir(files)
    (files / "source").write_text(source)
    (files / "target").write_text(target)
    code, out, err = align(*options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        ("0-0\n", "gold: "),
        ("99-0\n" * 11, "gold: "),
        ("0:0\n" * 11, "expected links like 3-4 (sure) or 3p4 (possible), got '0:0'"),
    ],
)
def test_gold_that_does_not_fit_is_named(align, files, gold, message):
    (files / "gold").write_text(gold)
    code, out, err = align("--gold", files / "gold")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_guided_run_is_read_as_it_was_trained(loaded):
    guided = GuidedAlignmentConfig(
        links=Path("links"), layer=1, heads=(2, 3), row="after"
    )
    config = dataclasses.replace(loaded.config, guided_alignment=guided)
    assert Extraction().of_run(config) == (1, (2, 3), "after", "unlinked")
    given = Extraction(0, (1,), "before", "next-best")
    assert given.of_run(config) == given
    unused = dataclasses.replace(guided, links=None)
    config = dataclasses.replace(loaded.config, guided_alignment=unused)
    assert Extraction().of_run(config) == (None, (), "before", "unlinked")


def test_a_model_without_attention_has_no_alignment():
    with pytest.raises(UserError, match="expected one with attention, got the fixed"):
        check_aligns(RNNEncoderDecoderConfig())
    check_aligns(RNNSearchConfig())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layer": 6}, "layer: expected 0 to 5, got 6"),
        ({"layer": -1}, "layer: expected 0 to 5, got -1"),
        ({"heads": (0, 8)}, "heads: expected 0 to 7, got 8"),
    ],
)
def test_a_transformer_names_the_layers_and_heads_it_has(choice, message):
    check_aligns(TransformerConfig(), 5, (0, 7))
    with pytest.raises(UserError, match=message):
        check_aligns(TransformerConfig(), **choice)


def test_pieces_are_merged_to_the_words_of_the_text():
    """Three words in one, two and three pieces; "after" takes the rows after them."""
    text = ["the cat sat", "a cattle cat", "the cat at a cattle sat"] * 9
    tokenizer = SentencePiece.train(text, 15)
    source, target = "cattle the", "sat cattle"
    sides = [(tokenizer, tokenizer.tokenize(one)) for one in (source, target)]
    S, T = (len(ids) + 1 for _, ids in sides)
    assert min(S, T) > 4  # words are in pieces
    weights = np.random.default_rng(0).dirichlet(np.ones(S), size=T)
    for row, shift in (("before", 0), ("after", 1)):
        got = word_weights(weights, *sides, row=row)
        assert got.shape == (3, 3)
        at = 0
        for v, pieces in enumerate(tokenizer.words(sides[1][1])):
            assert pieces == list(range(at, at + len(pieces)))
            at += len(pieces)
            rows = [p + shift for p in pieces]
            of = tokenizer.words(sides[0][1])
            want = [weights[rows][:, columns].sum(1).mean() for columns in of]
            np.testing.assert_allclose(got[v, :-1], want)
        np.testing.assert_allclose(got[:2].sum(axis=1), 1)


def test_a_word_on_eos_is_unlinked_or_takes_the_next_best():
    weights = np.array([[0.1, 0.3, 0.6], [0.5, 0.4, 0.1], [0.0, 0.0, 1.0]])
    assert word_links(weights) == alignment([(0, 1)])
    assert word_links(weights, on_end="next-best") == alignment([(1, 0), (0, 1)])


def test_flipping_twice_changes_nothing(tmp_path):
    links = alignment([(0, 3)], [(2, 1)])
    assert flip(links) == alignment([(3, 0)], [(1, 2)])
    assert flip(flip(links)) == links
    write_pharaoh(tmp_path / "links", [flip(links)])
    assert (tmp_path / "links").read_text() == "1p2 3-0\n"
