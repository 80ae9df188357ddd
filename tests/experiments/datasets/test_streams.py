"""A text as a stream: columns, segments, resets; and texts that are read as bytes."""

import itertools

import numpy as np
import pytest

from experiments.datasets.text.datasets import PennTreebank
from experiments.datasets.text.enwik8 import ByteText, Enwik8
from experiments.datasets.text.streams import TokenStream
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import IGNORE_INDEX
from experiments.datasets.tokenizers.text import TextTokenizerConfig
from experiments.errors import UserError

TOKENS = np.arange(100, 123, dtype=np.uint16)  # N = 23


def predicted(stream, columns):
    """The pairs (token before, token) that an epoch predicts, column after column."""
    rows = [[] for _ in range(columns)]
    for number in range(stream.segments):
        ids, _ = stream.segment(number)
        for row, line in zip(rows, ids, strict=False):
            row += [
                (int(a), int(b))
                for a, b in itertools.pairwise(line)
                if b != IGNORE_INDEX
            ]
    return list(itertools.chain.from_iterable(rows))


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 23])
@pytest.mark.parametrize("length", [1, 4, 5, 50])
def test_every_token_is_predicted_once_from_the_one_before_it(columns, length):
    stream = TokenStream(TOKENS, first=9, columns=columns, length=length)
    want = list(zip([9, *TOKENS[:-1].tolist()], TOKENS.tolist(), strict=True))
    assert predicted(stream, columns) == want
    shapes = {stream.segment(n).ids.shape for n in range(stream.segments)}
    assert shapes == {(columns, length + 1)}  # also that of the last, shorter one


def test_a_column_is_read_on_where_it_stopped_and_the_text_again_and_again():
    stream = TokenStream(TOKENS, first=9, columns=2, length=5)
    assert (stream.column_length, stream.segments) == (12, 3)
    for number in range(2):
        last, now = stream.segment(number).ids, stream.segment(number + 1).ids
        np.testing.assert_array_equal(last[:, -1], now[:, 0])
    for part in range(2):
        first, again = stream.segment(1)[part], stream.segment(4)[part]
        np.testing.assert_array_equal(first, again)


def test_the_state_is_reset_where_the_text_begins_and_every_so_many_segments():
    resets = [
        TokenStream(TOKENS, first=9, columns=1, length=4, reset_every=every)
        for every in (None, 2)
    ]
    found = [[bool(s.segment(n).resets[0]) for n in range(8)] for s in resets]
    assert found[0] == [n in (0, 6) for n in range(8)]
    assert found[1] == [n in (0, 2, 4, 6) for n in range(8)]


def test_processes_read_their_own_rows_and_empty_rows_hold_nothing():
    stream = TokenStream(TOKENS, first=9, columns=3, length=5, rows=4)
    whole = stream.segment(1)
    assert (whole.ids[3] == IGNORE_INDEX).all()
    parts = [
        next(stream.iterate(1, process_index=i, process_count=2)) for i in range(2)
    ]
    for field in range(2):
        both = np.concatenate([part[field] for part in parts])
        np.testing.assert_array_equal(both, whole[field])


def test_fewer_tokens_than_columns_are_named():
    with pytest.raises(UserError, match="at least 24 tokens, one a column, got 23"):
        TokenStream(TOKENS, first=9, columns=24, length=5)


def enwik(folder, content):
    (folder / "enwik8").write_bytes(content)
    return Enwik8(raw_dir=folder).splits()


def test_bytes_stay_what_they_are_even_where_a_cut_divides_a_character(
    tmp_path, data_dir
):
    """96 bytes of 100 are training text; the cut is within the euro sign's three."""
    content = b"a\r\nb\n" + b"x" * 89 + "€".encode() + b"\xffyz"
    content = content[:100].ljust(100, b"q")
    splits = enwik(tmp_path, content)
    assert [text.length for text in splits.values()] == [96, 4]
    for kind in ("bytes", "known-bytes"):
        tokenizer = TextTokenizerConfig(kind=kind).train(splits)
        ids = [
            read_tokens(text, tokenizer, name=name, data_dir=data_dir)
            for name, text in splits.items()
        ]
        assert [len(x) for x in ids] == [96, 4]
        values = np.concatenate(ids)
        if kind == "known-bytes":
            values = np.array(sorted(set(content)))[values]
        assert bytes(values.tolist()) == content


def test_the_known_bytes_of_a_text_are_saved_with_it(tmp_path):
    config = TextTokenizerConfig(kind="known-bytes")
    tokenizer = config.train({"train": ["né\n"], "validation": ["n\n"]})
    assert tokenizer.vocab_size == 4
    assert config.load(tmp_path) is None
    tokenizer.save(tmp_path)
    again = config.load(tmp_path)
    ids = again.tokenize("né\n")
    assert ids == tokenizer.tokenize("né\n") == [1, 2, 3, 0] or ids == [1, 3, 2, 0]
    assert again.detokenize(ids) == "né\n" == "".join(again.stream(ids))
    with pytest.raises(UserError, match=r"expected the 4 bytes of .*, got 0x78"):
        again.tokenize("x")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match="raw_dir: expected the folder of enwik8"):
        Enwik8().splits()
    (tmp_path / "enwik8.zip").write_bytes(b"zip")
    with pytest.raises(UserError, match=r"raw_dir: expected enwik8 .*, got no such"):
        Enwik8(raw_dir=tmp_path).splits()


def test_penn_treebank_by_characters_has_no_blanks_at_the_ends_of_lines(tmp_path):
    for name in ("train", "valid", "test"):
        (tmp_path / f"ptb.{name}.txt").write_text(" the cat \n <unk> N \n")
    splits = PennTreebank(raw_dir=tmp_path).splits()
    assert list(splits["test"]) == ["the cat\n", "<unk> N\n"]
    assert splits["test"].length == 16


def test_the_characters_of_the_penn_treebank_are_the_papers_49(shared):
    """And the newline; counts without it are those of Mikolov's ptb.char files."""
    splits = PennTreebank(raw_dir=shared / "data" / "ptb").splits()
    text = "".join(splits["test"])
    assert len(text) - text.count("\n") == 438_662
    tokenizer = TextTokenizerConfig(kind="characters").train(splits)
    assert tokenizer.vocab_size == 49 + 1


def test_byte_texts_are_cut_at_their_range(tmp_path):
    path = tmp_path / "enwik8"
    path.write_bytes(b"ab\ncd\nef")
    assert list(ByteText((path,), 1, 7)) == ["b\n", "cd\n", "e"]
    assert list(ByteText((path,), 6)) == ["ef"]
