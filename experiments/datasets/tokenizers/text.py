"""Tokenisers of running text: bytes, characters, or the tokens of each line.

Unlike the tokenisers of sentences (`sentences`) these keep newlines: the ids of a text
are the concatenated ids of its lines.
"""

import codecs
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from experiments.datasets.tokenizers.saved import Bytes, Characters
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
    SentencePiece,
    Tokenizer,
    WordVocabulary,
    load_tokenizer,
)
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.json_file import read_saved

NAME = "tokenizer"  # stem of its file in a run's folder


class TextTokenizer(Protocol):
    """The interface of a tokeniser of running text.

    Attributes:
      vocab_size: number of ids.
      newline: the id that ends a line; a text may begin after it.
      unknown: the id of unknown tokens; None if nothing is unknown.
      unused: ids that occur in no text.
    """

    vocab_size: int
    newline: int
    unknown: int | None
    unused: tuple[int, ...]

    def tokenize(self, text: str) -> list[int]:
        """Returns the ids of a text: any number of lines, the last may be unfinished.

        Raises:
          UserError: if the text holds what has no id.
        """

    def detokenize(self, ids: Sequence[int]) -> str:
        """Returns the text of ids."""

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yields the text of each id as it comes; concatenated, as `detokenize`."""

    def save(self, folder: Path) -> None:
        """Writes the tokeniser into a folder, atomically."""


class ByteTokenizer:
    """The 256 bytes of UTF-8, which cover any text."""

    vocab_size = 256
    newline = ord("\n")
    unknown: int | None = None
    unused: tuple[int, ...] = ()

    def tokenize(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        return list(text.encode(errors="surrogateescape"))

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`: invalid UTF-8 becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`: a character comes with its last byte."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id_ in ids:
            yield decoder.decode(bytes([id_]))
        yield decoder.decode(b"", final=True)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`: there is nothing to save."""


class KnownByteTokenizer:
    """The bytes of UTF-8 that occur in a text, in order; the newline is one of them."""

    unknown: int | None = None
    unused: tuple[int, ...] = ()

    def __init__(self, values: Iterable[int]) -> None:
        self._values = bytes(sorted({ord("\n"), *values}))
        self._ids = {value: i for i, value in enumerate(self._values)}
        self._bytes = ByteTokenizer()
        self.vocab_size = len(self._values)
        self.newline = self._ids[ord("\n")]

    def tokenize(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        try:
            return [self._ids[value] for value in self._bytes.tokenize(text)]
        except KeyError as error:
            raise UserError(
                f"expected the {self.vocab_size} bytes of the training data, got "
                f"0x{error.args[0]:02x}"
            ) from None

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `ByteTokenizer`."""
        return self._bytes.detokenize([self._values[i] for i in ids])

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `ByteTokenizer`."""
        return self._bytes.stream(self._values[i] for i in ids)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        plain = {"bytes": list(self._values)}
        write_atomic(folder / f"{NAME}.json", json.dumps(plain) + "\n")


class CharacterTokenizer:
    """The characters that occur in a text, sorted by code point."""

    unknown: int | None = None
    unused: tuple[int, ...] = ()

    def __init__(self, characters: Iterable[str]) -> None:
        """Numbers the characters of a text; the newline is always one of them."""
        self._characters = sorted({"\n", *characters})
        if any("\ud800" <= c <= "\udfff" for c in self._characters):
            raise UserError("tokenizer: expected UTF-8, got other bytes (known-bytes?)")
        self._ids = {c: i for i, c in enumerate(self._characters)}
        self.vocab_size = len(self._characters)
        self.newline = self._ids["\n"]

    def tokenize(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            (c,) = error.args
            raise UserError(
                f"expected the {self.vocab_size} characters of the training data, got "
                f"{c!r} (U+{ord(c):04X})"
            ) from None

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`."""
        return "".join(self._characters[i] for i in ids)

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`."""
        return (self._characters[i] for i in ids)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        plain = {"characters": "".join(self._characters)}
        write_atomic(folder / f"{NAME}.json", json.dumps(plain) + "\n")


class LineTokenizer:
    """A tokeniser of sentences, applied to each line; EOS stands for the newline.

    Runs of whitespace become one space, and lines are stripped.
    """

    newline = EOS
    unknown: int | None = UNK
    unused: tuple[int, ...] = (PAD, BOS)

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wraps a tokeniser of sentences."""
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    def tokenize(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        # Only what a newline ends gets EOS; the rest is an unfinished line, or "".
        *lines, rest = text.split("\n")
        whole = ([*self._tokenizer.tokenize(line), EOS] for line in lines)
        return [*itertools.chain.from_iterable(whole), *self._tokenizer.tokenize(rest)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`."""
        lines, line = [], []
        for id_ in [*ids, EOS]:  # EOS ends the last line; join adds no newline after it
            line.append(int(id_))
            if id_ == EOS:
                lines.append(self._tokenizer.detokenize(line))
                line = []
        return "\n".join(lines)

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`."""
        line: list[int] = []
        written = ""
        for id_ in ids:
            if id_ == EOS:
                yield "\n"
                line, written = [], ""
            else:
                line.append(int(id_))
                # Detokenise the whole line each time: a token's text depends on those
                # before it (a space is written except at the beginning of a line).
                text = self._tokenizer.detokenize(line)
                yield text.removeprefix(written)
                written = text

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        self._tokenizer.save(folder, NAME)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokenizerConfig:
    """How running text becomes token ids."""

    kind: Literal["bytes", "known-bytes", "characters", "unigram", "bpe", "words"] = (
        "characters"
    )
    """Kind of token: all 256 bytes, or those of the data (known-bytes), characters,
    subwords (unigram or bpe), or whole words."""
    vocab_size: int = 8_000
    """Size of the vocabulary for unigram and bpe; its largest size for words."""
    max_lines: int = 1_000_000
    """Largest number of lines, evenly spread, from which subwords are learnt."""

    def train(
        self,
        splits: Mapping[str, Iterable[str]],
        say: Callable[[str], None] = lambda text: None,
    ) -> TextTokenizer:
        """Learns the tokeniser of a text.

        Characters and known bytes are those of all splits; every other vocabulary is
        learnt from the first one only.

        Args:
          splits: the lines of each split, which are iterated more than once.
          say: reports which lines are left out.

        Raises:
          UserError: if the text is invalid, or too small for the vocabulary.
        """
        if self.kind == "bytes":
            return ByteTokenizer()
        lines = itertools.chain.from_iterable(splits.values())
        if self.kind == "known-bytes":
            each = map(ByteTokenizer().tokenize, lines)
            return KnownByteTokenizer(set[int]().union(*each))
        if self.kind == "characters":
            return CharacterTokenizer(set().union(*map(set, lines)))
        text = next(iter(splits.values()))
        try:
            if self.kind == "words":
                return LineTokenizer(WordVocabulary.train(text, self.vocab_size))
            # SentencePiece holds all its training lines in memory.
            count, characters = 0, set[str]()
            for line in text:
                count += 1
                characters.update(line)
            every = max(1, -(-count // self.max_lines))
            if every > 1:
                say(
                    f"learning subwords from one of {every} lines, of {count:,} "
                    f"(tokenizer.max_lines is {self.max_lines:,})"
                )
            some = itertools.islice(text, 0, None, every)
            model = SentencePiece.train(
                some, self.vocab_size, model=self.kind, characters=characters
            )
            return LineTokenizer(model)
        except UserError as error:
            raise UserError(f"tokenizer: {error}") from error

    def load(self, folder: Path) -> TextTokenizer | None:
        """Loads the tokeniser of a run; None if there is none yet.

        Raises:
          UserError: if its file is damaged.
        """
        if self.kind == "bytes":
            return ByteTokenizer()
        if not any(folder.glob(f"{NAME}.*")):
            return None
        if self.kind not in ("characters", "known-bytes"):
            return LineTokenizer(load_tokenizer(folder, NAME))
        path = folder / f"{NAME}.json"
        if self.kind == "known-bytes":
            return read_saved(path, Bytes, lambda x: KnownByteTokenizer(*x.values()))
        return read_saved(path, Characters, lambda x: CharacterTokenizer(*x.values()))
