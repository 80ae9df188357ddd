"""From text to ids and back: SentencePiece, or a shortlist of whole words.

Every vocabulary begins with the same four ids. `encode` gives neither BOS nor EOS:
batches add EOS, and the model's first input is BOS.
"""

import collections
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, Self

import sentencepiece

from experiments.errors import UserError
from experiments.files import write_atomic

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
SPACE = "▁"  # how SentencePiece writes the blank before a word
UNKNOWN = "⁇"  # how an unknown piece is printed


class Tokenizer(Protocol):
    """What every tokeniser does.

    Attributes:
      vocab_size: number of ids, the four special ones among them.
    """

    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """Gives the ids of a sentence, without BOS and EOS."""

    def decode(self, ids: Sequence[int]) -> str:
        """Gives the text of ids up to the first EOS; PAD and BOS are dropped."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Gives one printable piece for each id, special ones included."""

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """Groups positions into words: word w of `decode(ids).split()` is at [w].

        Positions of PAD, BOS, EOS and whatever follows EOS are in no group.
        """

    def save(self, folder: Path, name: str) -> None:
        """Writes the tokeniser into a folder, whole or not at all."""


class SentencePiece:
    """Subword pieces, found in the training text by SentencePiece.

    The text is not normalised, except that every run of blanks, of whatever kind,
    becomes one plain blank, so that words are what `str.split` says.
    Source: Kudo & Richardson 2018 (arXiv:1808.06226).
    """

    def __init__(self, model: bytes) -> None:
        """Takes a serialised model.

        Raises:
          UserError: if the bytes are no such model, or one with other special ids.
        """
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise UserError("not a SentencePiece model, or one cut short") from error
        self._proto = model
        self.vocab_size: int = self._model.vocab_size()
        m = self._model
        ids = (m.pad_id(), m.bos_id(), m.eos_id(), m.unk_id())
        if ids != (PAD, BOS, EOS, UNK):
            raise UserError(
                f"expected a SentencePiece model with pad, bos, eos, unk = 0, 1, 2, 3, "
                f"got {ids}"
            )

    @classmethod
    def train(
        cls,
        sentences: Iterable[str],
        vocab_size: int,
        *,
        model: Literal["unigram", "bpe"] = "unigram",
        character_coverage: float = 1.0,
    ) -> Self:
        """Finds the pieces of a text; the same text gives the same pieces.

        Args:
          sentences: the training text.
          vocab_size: number of pieces, the four special ones among them.
          model: "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
          character_coverage: share of the characters that get a piece of their own.

        Returns:
          The tokeniser.

        Raises:
          UserError: if the text is empty, or has too few pieces or too many
            characters for the vocabulary.
        """
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(_plain_blanks, sentences),
                model_writer=written,
                vocab_size=vocab_size,
                model_type=model,
                character_coverage=character_coverage,
                normalization_rule_name="identity",
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                unk_surface=UNKNOWN,
                max_sentence_length=1 << 16,
                num_threads=2,  # fixed: it may change the sums, hence the pieces
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(_training_error(str(error), vocab_size)) from error
        return cls(written.getvalue())

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return self._model.encode(_plain_blanks(text))

    def decode(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        kept = [i for i in _until_eos(ids) if i not in (PAD, BOS)]
        return _plain_blanks(self._model.decode(kept))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """See `Tokenizer`."""
        return [self._model.id_to_piece(int(i)) for i in ids]

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """See `Tokenizer`: a piece that begins with a blank begins a word."""
        groups: list[list[int]] = []
        blank = True  # whether the last group has no text yet
        for i, piece in _positions(self, ids):
            if not groups or (piece.startswith(SPACE) and not blank):
                groups.append([])
                blank = True
            groups[-1].append(i)
            blank = blank and not piece.strip(SPACE)
        if groups and blank:  # blanks at the end belong to the word before them
            last = groups.pop()
            if groups:
                groups[-1].extend(last)
        return groups

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.model` into a folder, whole or not at all."""
        _write(folder, name, ".model", self._proto)


class WordVocabulary:
    """The most frequent words of a text; every other word is unknown.

    Words are what stands between blanks: the text should be tokenised already.
    Bahdanau, Cho & Bengio 2015, section 4.1, has 30,000 words a language.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Takes the words, the most frequent first; they get the ids from 4 on."""
        self._words = [*SPECIALS, *words]
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIALS))}
        self.vocab_size = len(self._words)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 30_000) -> Self:
        """Counts the words of a text; of equally frequent ones the lesser goes first.

        Args:
          sentences: the training text, tokenised.
          vocab_size: most ids to give out, the four special ones among them.

        Returns:
          The tokeniser; it has fewer ids where the text has fewer words.

        Raises:
          UserError: if the text has no words, or no ids are left for them.
        """
        if vocab_size <= len(SPECIALS):
            raise UserError(
                f"vocab_size: expected more than {len(SPECIALS)} (so many ids are "
                f"special), got {vocab_size}"
            )
        counts = collections.Counter(
            word for text in sentences for word in text.split()
        )
        if not counts:
            raise UserError("expected text to take words from, got none")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: vocab_size - len(SPECIALS)])

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return [self._ids.get(word, UNK) for word in text.split()]

    def decode(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        kept = [int(i) for i in _until_eos(ids) if i not in (PAD, BOS)]
        return " ".join(UNKNOWN if i == UNK else self._words[i] for i in kept)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """See `Tokenizer`."""
        return [self._words[int(i)] for i in ids]

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """See `Tokenizer`: every position is a word."""
        return [[i] for i, _ in _positions(self, ids)]

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` into a folder, whole or not at all."""
        words = self._words[len(SPECIALS) :]
        text = json.dumps({"words": words}, ensure_ascii=False, indent=0)
        _write(folder, name, ".json", text.encode())


def load_tokenizer(folder: Path, name: str) -> Tokenizer:
    """Reads a tokeniser that was saved under a name.

    Raises:
      UserError: if the folder has none of that name, or its file is damaged.
    """
    pieces, words = folder / f"{name}.model", folder / f"{name}.json"
    try:
        if pieces.is_file():
            return SentencePiece(pieces.read_bytes())
        if words.is_file():
            return WordVocabulary(json.loads(words.read_bytes())["words"])
    except (UserError, ValueError, KeyError, TypeError) as error:
        file = pieces if pieces.is_file() else words
        raise UserError(f"{file}: expected a tokeniser, got {error}") from error
    raise UserError(f"{folder}: expected {pieces.name} or {words.name}, got neither")


def _plain_blanks(text: str) -> str:
    """Makes runs of blanks one blank, and SentencePiece's sign for it plain text."""
    return " ".join(text.replace(SPACE, "_").split())


def _until_eos(ids: Sequence[int]) -> list[int]:
    ids = [int(i) for i in ids]
    return ids[: ids.index(EOS)] if EOS in ids else ids


def _positions(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[int, str]]:
    """Positions before EOS that are not PAD or BOS, with their pieces."""
    kept = _until_eos(ids)
    pieces = tokenizer.pieces(kept)
    return [(i, pieces[i]) for i in range(len(kept)) if kept[i] not in (PAD, BOS)]


def _write(folder: Path, name: str, suffix: str, content: bytes) -> None:
    """Writes a tokeniser's file, and deletes that of another kind with its name."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}{suffix}", content)
    other = {".model": ".json", ".json": ".model"}[suffix]
    (folder / f"{name}{other}").unlink(missing_ok=True)


def _training_error(message: str, vocab_size: int) -> str:
    """Says what SentencePiece's message means to who chose the vocabulary's size."""
    if most := re.search(r"too high .* value <= (\d+)", message):
        return f"vocab_size: expected at most {most[1]} for this text, got {vocab_size}"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size: expected at least {least[1]} (one for each character), got "
            f"{vocab_size}"
        )
    if "sentences_.empty()" in message:
        return "expected text to take pieces from, got none"
    return f"SentencePiece: {message}"
