"""From running text to ids and back: bytes, characters, or the pieces of lines.

Unlike the tokenisers of sentences (`tokenizers`) these keep newlines: the ids of a
text are those of its lines, one after the other.
"""

import codecs
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from experiments.datasets.text.datasets import Text
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

NAME = "tokenizer"  # of its file in a run


class TextTokenizer(Protocol):
    """What every tokeniser of running text does.

    Attributes:
      vocab_size: number of ids.
      newline: the id that ends a line; a text may begin after it.
      unknown: the id of whatever has none; None where there is no such id.
      unused: ids that are in no text.
    """

    vocab_size: int
    newline: int
    unknown: int | None
    unused: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """Gives the ids of a text, of any number of lines or of a part of one.

        Raises:
          UserError: if the text cannot be written in these ids.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Gives the text of ids."""

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Gives the text of ids as they come; together it is what `decode` gives."""

    def save(self, folder: Path) -> None:
        """Writes the tokeniser into a folder, whole or not at all."""


class Bytes:
    """The 256 bytes of UTF-8: any text at all."""

    vocab_size = 256
    newline = ord("\n")
    unknown: int | None = None
    unused: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`: bytes that are no UTF-8 become U+FFFD."""
        return bytes(ids).decode(errors="replace")

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`: a character comes with its last byte."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id_ in ids:
            yield decoder.decode(bytes([id_]))
        yield decoder.decode(b"", final=True)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`: there is nothing to write."""


class Characters:
    """The characters that a text has, in the order of Unicode."""

    unknown: int | None = None
    unused: tuple[int, ...] = ()

    def __init__(self, characters: Iterable[str]) -> None:
        """Takes the characters of a text; the newline is always among them."""
        self._characters = sorted({"\n", *characters})
        self._ids = {c: i for i, c in enumerate(self._characters)}
        self.vocab_size = len(self._characters)
        self.newline = self._ids["\n"]

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        try:
            return [self._ids[c] for c in text]
        except KeyError as error:
            (c,) = error.args
            raise UserError(
                f"expected the {self.vocab_size} characters of the text that was "
                f"learnt from, got {c!r} (U+{ord(c):04X})"
            ) from None

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`."""
        return "".join(self._characters[i] for i in ids)

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`."""
        return (self._characters[i] for i in ids)

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        plain = {"characters": "".join(self._characters)}
        write_atomic(folder / f"{NAME}.json", json.dumps(plain) + "\n")


class Lines:
    """Pieces or words of each line, and EOS for its newline.

    Runs of blanks become one plain blank, and none is left at the ends of a line.
    """

    newline = EOS
    unknown: int | None = UNK
    unused: tuple[int, ...] = (PAD, BOS)

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Takes a tokeniser of sentences."""
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size

    def encode(self, text: str) -> list[int]:
        """See `TextTokenizer`."""
        *lines, rest = text.split("\n")
        whole = ([*self._tokenizer.encode(line), EOS] for line in lines)
        return [*itertools.chain.from_iterable(whole), *self._tokenizer.encode(rest)]

    def decode(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`."""
        lines, line = [], []
        for id_ in [*ids, EOS]:
            line.append(int(id_))
            if id_ == EOS:
                lines.append(self._tokenizer.decode(line))
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
                # Of the whole line: how a piece is written depends on those before.
                text = self._tokenizer.decode(line)
                yield text.removeprefix(written)
                written = text

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        self._tokenizer.save(folder, NAME)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTokenizerConfig:
    """How running text becomes ids."""

    kind: Literal["bytes", "characters", "unigram", "bpe", "words"] = "characters"
    """Bytes; characters; SentencePiece's pieces; the most frequent whole words."""
    size: int = 8_000
    """Ids, for unigram and bpe; most of them, for words."""
    lines: int = 1_000_000
    """Most lines of the text that pieces are found in, evenly spread."""

    def train(self, splits: Mapping[str, Text]) -> TextTokenizer:
        """Makes the tokeniser of a text.

        Characters are those of all its splits, all else is found in the first.

        Raises:
          UserError: if the text is at fault, or supports no vocabulary of this size.
        """
        if self.kind == "bytes":
            return Bytes()
        if self.kind == "characters":
            lines = itertools.chain.from_iterable(splits.values())
            return Characters(set().union(*map(set, lines)))
        text = next(iter(splits.values()))
        try:
            if self.kind == "words":
                return Lines(WordVocabulary.train(text, self.size))
            every = -(-sum(1 for _ in text) // self.lines)
            some = itertools.islice(text, 0, None, max(1, every))
            return Lines(SentencePiece.train(some, self.size, model=self.kind))
        except UserError as error:
            raise UserError(f"tokenizer: {error}") from error

    def load(self, folder: Path) -> TextTokenizer | None:
        """Reads the tokeniser of a run; None where there is none yet.

        Raises:
          UserError: if its file is damaged.
        """
        if self.kind == "bytes":
            return Bytes()
        if not any(folder.glob(f"{NAME}.*")):
            return None
        if self.kind != "characters":
            return Lines(load_tokenizer(folder, NAME))
        path = folder / f"{NAME}.json"
        try:
            return Characters(json.loads(path.read_bytes())["characters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: expected characters, got {error!r}") from error
