"""Plain text for language models: lines, splits, token ids and windows."""

import functools
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets.text import token_files
from experiments.datasets.text.datasets import (
    PennTreebank,
    SourceCode,
    Text,
    TextFiles,
    TinyShakespeare,
    WikiText2,
    download,
)
from experiments.datasets.text.token_files import read_tokens
from experiments.datasets.text.windows import (
    IGNORE_INDEX,
    TokenWindows,
    consecutive_windows,
)
from experiments.datasets.tokenizers.text import (
    ByteTokenizer,
    CharacterTokenizer,
    TextTokenizerConfig,
)
from experiments.errors import UserError

# No runs of whitespace and none at the ends of lines: subwords would lose them.
PLAIN = "".join(f"the {n} was a café: “{n * n}” — and naïve\n\n" for n in range(40))
KINDS = {
    "bytes": TextTokenizerConfig(kind="bytes"),
    "characters": TextTokenizerConfig(kind="characters"),
    "unigram": TextTokenizerConfig(kind="unigram", vocab_size=67),
    "bpe": TextTokenizerConfig(kind="bpe", vocab_size=71),
    "words": TextTokenizerConfig(kind="words", vocab_size=1000),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def text(write) -> Text:
    return Text((write("plain", PLAIN),))


@functools.cache
def trained(kind):
    return KINDS[kind].train({"train": PLAIN.splitlines(keepends=True)})


@pytest.fixture
def tokenizer(kind):
    return trained(kind)


def test_a_text_is_its_lines_whatever_newlines_the_file_has(write):
    one, two = "first\nsecond", "third, in another file\n\nfifth"
    paths = (
        write("a", "\ufeff" + one.replace("\n", "\r\n")),
        write("b.gz", gzip.compress(two.encode())),
    )
    text = Text(paths)
    assert "".join(text) == f"{one}\n{two}\n"
    assert text.length == len(one) + len(two) + 2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.999])
def test_a_split_cuts_at_a_character(share, write):
    whole = "αβγ δε\nab\n\ncdefg\nh\n"
    text = Text((write("a", whole[:7]), write("b", whole[7:])))
    first, second = text.split(share)
    cut = int(len(whole) * (1 - share))
    assert "".join(first) == whole[:cut]
    assert "".join(second) == whole[cut:]
    assert (first.length, second.length) == (cut, len(whole) - cut)


@each_kind
def test_ids_of_a_text_are_those_of_its_lines_and_restore_it(kind, tokenizer, text):
    lines = [id_ for line in text for id_ in tokenizer.tokenize(line)]
    assert tokenizer.tokenize(PLAIN) == lines
    assert tokenizer.detokenize(lines) == PLAIN
    assert lines.count(tokenizer.newline) == PLAIN.count("\n")
    assert set(lines) <= set(range(tokenizer.vocab_size)) - set(tokenizer.unused)
    assert tokenizer.unknown not in lines


@each_kind
def test_streaming_yields_the_detokenized_text_without_delay(kind, tokenizer):
    ids = tokenizer.tokenize(PLAIN[:-1])  # an unfinished line too
    given = []

    def counted():
        for number, id_ in enumerate(ids):
            given.append(number)
            yield id_

    texts = []
    for written in tokenizer.stream(counted()):
        texts.append(written)
        # No text waits for later ids, except a character for its last byte.
        assert len(tokenizer.detokenize(ids[: len(given)])) - len("".join(texts)) <= 1
    assert "".join(texts) == tokenizer.detokenize(ids) == PLAIN[:-1]


@each_kind
def test_a_loaded_tokenizer_equals_the_saved_one(kind, tokenizer, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    assert (KINDS[kind].load(folder) is None) == (kind != "bytes")
    tokenizer.save(folder)
    assert [path.name for path in folder.iterdir() if path.name[0] == "."] == []
    again = KINDS[kind].load(folder)
    assert type(again) is type(tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    assert again.tokenize(PLAIN) == tokenizer.tokenize(PLAIN)


def test_a_truncated_character_becomes_the_replacement_character():
    ids = "né".encode()
    assert (
        "".join(ByteTokenizer().stream(ids[:-1]))
        == ByteTokenizer().detokenize(ids[:-1])
        == "n\ufffd"
    )


def test_line_tokenizers_change_only_whitespace(write):
    text = Text((write("a", " some   words\t\nof  text \n"),))
    tokenizer = TextTokenizerConfig(kind="words").train({"train": text})
    ids = tokenizer.tokenize("".join(text))
    assert tokenizer.detokenize(ids) == "some words\nof text\n"
    assert tokenizer.unknown in tokenizer.tokenize("other words")


def test_characters_are_those_of_all_splits(write):
    splits = {
        "train": Text((write("a", "abba\n"),)),
        "validation": Text((write("b", "cab"),)),
    }
    tokenizer = TextTokenizerConfig().train(splits)
    assert tokenizer.tokenize("\nabc") == [0, 1, 2, 3]


def test_subwords_are_learnt_from_lines_spread_over_the_text(write):
    lines = [f"{word}\n" for word in ("one", "two", "six", "ten") for _ in range(10)]
    text = Text((write("a", "".join(lines)),))
    config = TextTokenizerConfig(kind="bpe", vocab_size=15, max_lines=4)
    tokenizer = config.train({"train": text})
    assert tokenizer.unknown not in tokenizer.tokenize("".join(lines))


def test_lines_that_are_left_out_are_counted_and_their_characters_are_known(write):
    path = write("text", "".join(f"a b {'q' if n == 1 else 'c'}\n" for n in range(7)))
    config, said = TextTokenizerConfig(kind="unigram", vocab_size=9, max_lines=4), []
    tokenizer = config.train({"train": Text((path,))}, said.append)
    (line,) = said
    assert line.startswith("learning subwords from one of 2 lines, of 7 (tokenizer.max")
    assert tokenizer.unknown not in tokenizer.tokenize("q c\n")


def test_the_error_for_an_unknown_character_names_it():
    with pytest.raises(
        UserError,
        match=r"expected the 4 characters of the training data, got 'é' "
        r"\(U\+00E9\)",
    ):
        CharacterTokenizer("abc").tokenize("bcé")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            TextTokenizerConfig(kind="unigram", vocab_size=9000),
            r"tokenizer: vocab_size: expected at most \d+ for this text, got 9000",
        ),
        (
            TextTokenizerConfig(kind="words", vocab_size=4),
            "tokenizer: vocab_size: expected more than 4",
        ),
    ],
)
def test_a_vocabulary_size_that_the_text_does_not_support_is_refused(
    config, message, text
):
    with pytest.raises(UserError, match=message):
        config.train({"train": text})


def test_bytes_that_are_no_characters_are_refused_when_they_are_learnt():
    with pytest.raises(UserError, match="tokenizer: expected UTF-8, got other bytes"):
        TextTokenizerConfig().train(
            {"train": [b"a\xff".decode(errors="surrogateescape")]}
        )


@pytest.mark.parametrize(
    "content", ['{"characters": ', '{"words": []}', '{"characters": 3}', "[]"]
)
def test_the_error_for_a_damaged_tokenizer_names_its_file(content, write):
    path = write("tokenizer.json", content)
    with pytest.raises(UserError, match=r"tokenizer\.json: cannot be read: .*copy"):
        TextTokenizerConfig().load(path.parent)


@each_kind
def test_a_text_is_tokenized_once(kind, tokenizer, text, tmp_path, monkeypatch):
    first = read_tokens(text, tokenizer, name="train", data_dir=tmp_path / "data")
    assert first.tolist() == tokenizer.tokenize(PLAIN)
    assert first.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)
    assert not first.flags.writeable
    monkeypatch.setattr(token_files, "_write", None)
    again = read_tokens(text, tokenizer, name="train", data_dir=tmp_path / "data")
    np.testing.assert_array_equal(again, first)


def test_other_content_ranges_and_tokenizers_give_other_token_files(write, tmp_path):
    def tokens(content, kind, share=0.0):
        text, _ = Text((write("a", content),)).split(share)
        tokenizer = TextTokenizerConfig(kind=kind).train({"train": text})
        return read_tokens(
            text, tokenizer, name="a", data_dir=tmp_path / "data"
        ).tolist()

    assert tokens("abc\n", "bytes") == [97, 98, 99, 10]
    assert tokens("abd\n", "bytes") == [97, 98, 100, 10]
    assert tokens("abd\n", "characters") == [1, 2, 3, 0]
    assert tokens("abe\n", "characters") == [1, 2, 3, 0]
    assert tokens("abe\n", "characters", share=0.5) == [1, 2]


def test_long_texts_are_written_in_parts(text, tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "_BUFFER", 7)
    tokens = read_tokens(text, ByteTokenizer(), name="train", data_dir=tmp_path)
    assert bytes(tokens) == PLAIN.encode()


def test_the_error_for_text_without_ids_names_the_line_and_leaves_no_file(
    write, tmp_path
):
    text = Text((write("a", "ab\nba\nac\n"),))
    with pytest.raises(UserError, match=r"train, line 3: expected the 3 characters"):
        read_tokens(
            text, CharacterTokenizer("ab"), name="train", data_dir=tmp_path / "data"
        )
    assert [p.name[0] for p in (tmp_path / "data" / "tokens").iterdir()] == ["."]
    empty = Text((write("empty.gz", gzip.compress(b"")),))
    with pytest.raises(UserError, match="train: expected text, got none"):
        read_tokens(empty, ByteTokenizer(), name="train", data_dir=tmp_path / "data")
    with pytest.raises(UserError, match="data_dir: expected a folder that can be read"):
        read_tokens(
            text, ByteTokenizer(), name="train", data_dir=write("file", "x") / "data"
        )


TOKENS = np.arange(101, dtype=np.uint8)  # each token is its position


def test_a_batch_of_windows_is_a_function_of_seed_and_step():
    windows = TokenWindows(TOKENS, rows=6, length=7, seed=3)
    batches = [windows.batch(step) for step in range(5)]
    for got, want in zip(windows.iterate(2), batches[2:], strict=False):
        np.testing.assert_array_equal(got, want)
    again = TokenWindows(TOKENS, rows=6, length=7, seed=3)
    np.testing.assert_array_equal(again.batch(4), batches[4])
    other = TokenWindows(TOKENS, rows=6, length=7, seed=4)
    assert (other.batch(4) != batches[4]).any()
    assert (batches[3] != batches[4]).any()


def test_windows_are_contiguous_and_begin_at_every_position():
    windows = TokenWindows(TOKENS, rows=64, length=7)
    batches = np.concatenate([windows.batch(step) for step in range(40)])
    assert batches.dtype == np.int32
    assert (np.diff(batches, axis=1) == 1).all()
    # 94 positions, 2,560 samples: P(some position is missing) = 1e-10.
    assert set(batches[:, 0]) == set(range(94))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_process_makes_its_rows(processes):
    windows = TokenWindows(TOKENS, rows=6, length=5, seed=1)
    parts = [windows.process_batch(9, index, processes) for index in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), windows.batch(9))
    with pytest.raises(ValueError, match="divisible by 4 processes, got 6"):
        windows.process_batch(9, 0, 4)


def test_a_process_reads_only_its_own_windows():
    read = []

    class Recorder:
        def __len__(self):
            return len(TOKENS)

        def __getitem__(self, positions):
            read.append(positions.size)
            return TOKENS[positions]

    TokenWindows(Recorder(), rows=6, length=5).process_batch(0, 1, 3)
    assert read == [2 * 6]


def test_a_text_shorter_than_a_window_is_refused():
    assert (
        TokenWindows(TOKENS[:8], rows=2, length=7).batch(0).tolist()
        == [[*range(8)]] * 2
    )
    with pytest.raises(
        UserError, match=r"expected a text of more than 7 tokens \(the context\), got 7"
    ):
        TokenWindows(TOKENS[:7], rows=2, length=7)


@pytest.mark.parametrize("count", [1, 7, 14, 15, 20, 21, 22, 101])
def test_consecutive_windows_predict_every_token_once_from_the_one_before(count):
    tokens = TOKENS[:count] + 1
    batches = list(consecutive_windows(tokens, first=0, rows=3, length=7))
    assert {batch.ids.shape for batch in batches} == {(3, 8)}
    assert len(batches) == -(-count // 21)
    read = np.concatenate([batch.ids[:, :-1].ravel() for batch in batches])
    targets = np.concatenate([batch.ids[:, 1:].ravel() for batch in batches])
    np.testing.assert_array_equal(targets[:count], tokens)
    assert (targets[count:] == IGNORE_INDEX).all()
    np.testing.assert_array_equal(read[:count], [0, *tokens[:-1]])


@pytest.mark.parametrize("context", [1, 4, 6])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 20, 101])
def test_windows_with_context_predict_every_token_once_after_at_least_as_many(
    count, context
):
    tokens = np.arange(1, count + 1)
    seen = []
    for ids, context_tokens in consecutive_windows(
        tokens, first=0, rows=3, length=7, context_tokens=context
    ):
        for row, skipped in zip(ids, context_tokens, strict=True):
            real = row[row != IGNORE_INDEX]
            np.testing.assert_array_equal(np.diff(real), 1)
            predicted = row[1:][skipped:]
            seen += predicted[predicted != IGNORE_INDEX].tolist()
            assert row[0] == 0 or skipped >= context
    assert seen == tokens.tolist()


def test_splits_come_from_the_named_files(write):
    one, two, three = (write(name, f"{name}\n" * 5) for name in "abc")
    splits = TextFiles(text=(one, two), held_out=0.2).splits()
    assert {name: text.length for name, text in splits.items()} == {
        "train": 16,
        "validation": 4,
    }
    splits = TextFiles(text=(one,), validation=(two,), test=(three,)).splits()
    assert {name: set(text) for name, text in splits.items()} == {
        "train": {"a\n"},
        "validation": {"b\n"},
        "test": {"c\n"},
    }


def test_the_librarys_source_code_is_a_data_set():
    splits = SourceCode().splits()
    assert "score" in next(iter(splits["train"]))
    assert splits["train"].length == pytest.approx(9 * splits["validation"].length, 1)


def test_a_file_is_downloaded_once_and_checked(write, tmp_path):
    origin, folder = write("input.txt", "to be\n"), tmp_path / "kept"
    sha256 = hashlib.sha256(origin.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"input\.txt: expected a file with SHA-256 00"):
        download(origin.as_uri(), "00", folder)
    assert not folder.exists()
    path = download(origin.as_uri(), sha256, folder)
    assert path.read_text() == "to be\n"
    assert [p.name for p in folder.iterdir()] == ["input.txt"]
    origin.unlink()
    assert download(origin.as_uri(), sha256, folder) == path
    path.unlink()
    with pytest.raises(
        UserError,
        match=r"raw_dir: expected to download file://.*, got URLError: .*--data\.raw",
    ):
        download(origin.as_uri(), sha256, folder)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TextFiles(), "data.text: expected training files, got none"),
        (WikiText2(), "raw_dir: expected the folder of wiki.train.tokens, wiki.valid"),
        (PennTreebank(), "raw_dir: expected the folder of ptb.train.txt, ptb.valid"),
        (
            WikiText2(raw_dir=Path(__file__).parent),
            "raw_dir: expected wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens",
        ),
        (
            TinyShakespeare(raw_dir=Path("nowhere")),
            "raw_dir: expected a folder, got nothing of that name",
        ),
        (TextFiles(text=(Path("nowhere"),)), "nowhere: expected a file, got nothing"),
    ],
)
def test_errors_for_missing_data_name_them(data, message):
    with pytest.raises(UserError) as error:
        data.splits()
    assert message in str(error.value)


def test_tiny_shakespeare_is_split_as_in_nanogpt(shared):
    data = TinyShakespeare(raw_dir=shared / "data" / "tinyshakespeare")
    splits = data.splits()
    assert [text.length for text in splits.values()] == [1_003_854, 111_540]
    assert TextTokenizerConfig().train(splits).vocab_size == 65


def test_wikitext_2_has_the_published_counts_and_no_unknown_words(shared, tmp_path):
    splits = WikiText2(raw_dir=shared / "data" / "wikitext-2").splits()
    tokenizer = TextTokenizerConfig(kind="words", vocab_size=33_281).train(splits)
    assert tokenizer.vocab_size == 33_281
    counts = {}
    for name, text in splits.items():
        tokens = read_tokens(text, tokenizer, name=name, data_dir=tmp_path)
        counts[name] = len(tokens)
        assert (tokens != tokenizer.unknown).all()
    assert counts == {"train": 2_088_628, "validation": 217_646, "test": 245_569}


def test_the_penn_treebank_has_the_published_counts_and_no_unknown_words(
    shared, tmp_path
):
    splits = PennTreebank(raw_dir=shared / "data" / "ptb").splits()
    tokenizer = TextTokenizerConfig(kind="words", vocab_size=10_003).train(splits)
    assert tokenizer.vocab_size == 9_999 + 4  # one of the four ends lines
    counts = {}
    for name, text in splits.items():
        tokens = read_tokens(text, tokenizer, name=name, data_dir=tmp_path)
        counts[name] = len(tokens)
        assert (tokens != tokenizer.unknown).all()
    assert counts == {"train": 929_589, "validation": 73_760, "test": 82_430}
