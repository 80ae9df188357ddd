"""Parallel text of one's own, with a Transformer that has learned few positions."""

import dataclasses
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.parallel_text.parallel_text_builder import ParallelText
from experiments.datasets.text_files import require_file
from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.translate.batch_shapes import enough_buckets, plan_batches
from experiments.translate.configs import CONFIGS, TEXT_TRANSFORMER
from experiments.translate.data import relocate
from experiments.translate.loading import load_run
from tests.experiments.commands import contents, run

POSITIONS = 9
TINY = (
    *("--tokenizer.kind", "words", "--tokenizer.source-vocab-size", 60),
    *("--model.block.position-embedding", "learned", "--model.max-length", POSITIONS),
    *(
        "--model.block.d-model",
        8,
        "--model.block.num-heads",
        2,
        "--model.block.d-ff",
        9,
    ),
    *("--model.encoder-layers", 1, "--model.decoder-layers", 1),
    *("--batch-tokens", 128, "--steps", 2, "--log-every", 1, "--search.beam-size", 2),
)


def lines(count: int, words: int) -> str:
    """Lines of English, tab, German, with up to so many words."""
    sides = ("e", "d")
    text = (
        "\t".join(
            " ".join(f"{side}{(n + i) % 7}" for i in range(1 + n % words))
            for side in sides
        )
        for n in range(count)
    )
    return "".join(f"{line}\n" for line in text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir) -> tuple[Path, str]:
    """A run from German to English, in a folder with a blank, and its stderr."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "deu-eng.tsv").write_text(lines(64, POSITIONS - 1))
    err, sys.stderr = sys.stderr, io.StringIO()
    try:
        code = run(
            *("train", "text-transformer", "--out", folder / "my run", *TINY),
            *("--data.train", folder / "deu-eng.tsv", "--data.source-column", 2),
            *("--data.held-out-validation", 8, "--data.data-dir", data_dir),
        )
        said = sys.stderr.getvalue()
    finally:
        sys.stderr = err
    assert code == 0, said
    return folder / "my run", said


@pytest.fixture
def decode(trained, monkeypatch, capsysbinary):
    """Runs `decode` on a text: exit code, stdout, stderr."""

    def call(text: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = run("decode", trained[0], *arguments)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


def test_it_validates_sources_that_fill_all_positions(trained):
    """Padded to a usual length they would need more positions than there are."""
    folder, said = trained
    (line,) = [x for x in Run.open(folder).metrics() if "validation/bleu" in x]
    assert line["step"] == 2
    assert "64 pairs" not in said  # some are held out
    assert "1 shapes" in said or "in 1 shape" in said


def test_the_next_command_is_quoted_for_the_shell(trained):
    folder, said = trained
    assert said.rstrip().endswith(
        f"next: python -m experiments.translate evaluate '{folder}'"
    )


def test_the_source_is_the_column_that_was_chosen(trained):
    tokenizers = load_run(trained[0]).model.tokenizers
    config = json.loads((trained[0] / "config.json").read_text())
    assert config["data"]["source_column"] == 2
    assert "d0" in tokenizers.source.ids_to_tokens(range(4, 18))


def test_what_has_no_positions_is_refused_and_what_has_is_decoded(decode):
    longest = " ".join("d1" for _ in range(POSITIONS - 1))
    code, out, err = decode(f"{longest}\n")
    assert code == 0, err
    assert len(out.split()) < POSITIONS + 1
    code, out, err = decode(f"d1\n{longest} d1\n")
    assert (code, out) == (2, "")
    assert (
        "error: line 2: expected at most 8 tokens, got 9 (split the sentence: the "
        "model has learned 9 positions)" in err
    )


def test_long_references_are_refused_before_anything_is_translated(
    trained, tmp_path, capsys
):
    (tmp_path / "pairs.tsv").write_text("d1\t" + "e1 " * POSITIONS + "\n")
    assert run("score", trained[0], tmp_path / "pairs.tsv") == 2
    assert "line 1: expected at most 8 tokens in the target, got 9" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        (
            lines(64, POSITIONS),
            lines(4, 3),
            f"model.max_length: expected at least {POSITIONS + 1} learned positions "
            "(the longest training pair and EOS), got 9 (raise it, or lower max_length",
        ),
        (
            lines(64, 3),
            lines(POSITIONS, POSITIONS),
            "validation: line 9: expected at most 8 tokens, got 9 (split the sentence",
        ),
    ],
    ids=["training", "validation"],
)
def test_lengths_are_held_against_the_positions_before_the_first_step(
    train, validation, message, tmp_path, data_dir, capsys
):
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "validation.tsv").write_text(validation)
    before = contents(tmp_path)
    code = run(
        *("train", "text-transformer", "--out", tmp_path / "run", *TINY),
        *("--data.train", tmp_path / "train.tsv", "--data.data-dir", data_dir),
        *("--data.validation", tmp_path / "validation.tsv"),
    )
    assert code == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("own", "captions"),
    [
        ("text-transformer", "multi30k-transformer"),
        ("text-transformer-rope", "multi30k-transformer-rope"),
        ("text-rnnsearch", "multi30k-rnnsearch"),
    ],
)
def test_your_own_text_is_trained_as_the_captions_are(own, captions):
    assert CONFIGS[own][1].model == CONFIGS[captions][1].model
    assert CONFIGS[own][1].optimizer == CONFIGS[captions][1].optimizer


@pytest.mark.parametrize(("count", "want"), [(20, 1), (400, 1), (700, 2), (29_000, 8)])
def test_few_data_have_few_shapes(count, want):
    """12 tokens with EOS, of 1,024 in a batch: a shape for every 4 batches."""
    lengths = np.full((count, 2), 11)
    lengths[::2] = 9, 11  # lengths differ, so that several shapes could pay
    examples = TokenizedPairs(*([[9] * n for n in side] for side in lengths.T))
    assert enough_buckets(TEXT_TRANSFORMER, examples) == want
    batches = plan_batches(TEXT_TRANSFORMER, examples, devices=1)
    assert len(batches.shapes) <= want


def test_files_are_found_in_another_folder_unless_two_would_be_one(tmp_path):
    def at(*folders):
        return [(Path(one, "s"), Path(one, "t")) for one in folders]

    train, test = at("a", "c")
    data = ParallelText(train=train, test=(Path("c/s2"), Path("c/t2")))
    moved = relocate(data, tmp_path)
    assert moved.train == (tmp_path / "s", tmp_path / "t")
    assert moved.test == (tmp_path / "s2", tmp_path / "t2")
    # One file in two splits is one file still.
    assert relocate(dataclasses.replace(data, validation=train), tmp_path)
    with pytest.raises(UserError, match=r"raw_dir: .* got c/s and a/s \(rename one"):
        relocate(dataclasses.replace(data, test=test), tmp_path)


def test_a_pipe_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="got a pipe, which can be read only once"):
        require_file(tmp_path / "pipe")
