"""Tokenisers of single sentences: SentencePiece, or a vocabulary of whole words.

Every vocabulary begins with the same four special tokens. `tokenize` adds neither BOS
nor EOS: batches append EOS, and the decoder's first input is BOS.
"""

import collections
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol, Self

import sentencepiece

from experiments.datasets.tokenizers.saved import Words
from experiments.datasets.tokenizers.sentencepiece_training import (
    SPACE,
    normalize,
    restore,
    train_model,
)
from experiments.datasets.tokenizers.specials import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    UNK,
    UNKNOWN,
)
from experiments.errors import UserError
from experiments.files import read_regular, write_atomic
from experiments.runs.json_file import LARGEST, read_saved


class Tokenizer(Protocol):
    """The interface of a tokeniser of sentences.

    Attributes:
      vocab_size: number of ids, the four special ones included.
    """

    vocab_size: int

    def tokenize(self, text: str) -> list[int]:
        """Returns the ids of a sentence, without BOS and EOS."""

    def detokenize(self, ids: Sequence[int]) -> str:
        """Returns the text of the ids before the first EOS, without PAD and BOS."""

    def ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """Returns the token of each id as a string, special tokens included."""

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """Groups positions by word: group w is word w of `detokenize(ids).split()`.

        Positions of PAD, BOS, EOS and whatever follows EOS are in no group.
        """

    def save(self, folder: Path, name: str) -> None:
        """Writes the tokeniser into a folder, atomically."""


class SentencePiece:
    """A subword vocabulary, learnt from the training text by SentencePiece.

    The text is not normalised, except that every run of whitespace becomes one space,
    so that words are those of `str.split`. Of the training text nothing is left out:
    long lines are learnt from in parts, and each of its characters has an id.
    Source: Kudo & Richardson 2018 (arXiv:1808.06226).
    """

    def __init__(self, model: bytes) -> None:
        """Loads a serialised model.

        Raises:
          UserError: if the bytes are no such model, or its special ids differ.
        """
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise UserError(
                f"{len(model)} bytes that are no whole SentencePiece model"
            ) from error
        self._proto = model
        self.vocab_size: int = self._model.vocab_size()
        m = self._model
        ids = (m.pad_id(), m.bos_id(), m.eos_id(), m.unk_id())
        if ids != (PAD, BOS, EOS, UNK):
            raise UserError(
                f"a SentencePiece model with pad, bos, eos, unk = {ids}, not 0, 1, 2, 3"
            )

    @classmethod
    def train(
        cls,
        sentences: Iterable[str],
        vocab_size: int,
        *,
        model: Literal["unigram", "bpe"] = "unigram",
        character_coverage: float = 1.0,
        characters: Iterable[str] = (),
    ) -> Self:
        """Learns the vocabulary of a text; the same text gives the same vocabulary.

        Args:
          sentences: the training text.
          vocab_size: size of the vocabulary, the four special tokens included.
          model: "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
          character_coverage: share of the text's characters that the vocabulary
            covers; the others become UNK. With 1 no character of the text does.
          characters: further characters that the vocabulary must have.

        Returns:
          The tokeniser.

        Raises:
          UserError: if the text is empty, too small for the vocabulary, or has more
            characters than the vocabulary has tokens.
        """
        return cls(
            train_model(
                sentences,
                vocab_size,
                model=model,
                character_coverage=character_coverage,
                characters=characters,
            )
        )

    def tokenize(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return self._model.encode(normalize(text))

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        kept = [i for i in _until_eos(ids) if i not in (PAD, BOS)]
        text = normalize(self._model.decode(kept))
        return restore(text)

    def ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """See `Tokenizer`."""
        return [restore(self._model.id_to_piece(int(i))) for i in ids]

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """See `Tokenizer`: a token that begins with a space begins a word."""
        groups: list[list[int]] = []
        empty = True  # whether the last group holds only spaces so far
        for i, token in _positions(self, ids):
            # Several tokens of only spaces begin one word, not several empty ones.
            if not groups or (token.startswith(SPACE) and not empty):
                groups.append([])
                empty = True
            groups[-1].append(i)
            empty = empty and not token.strip(SPACE)
        if groups and empty:  # trailing spaces belong to the word before them
            last = groups.pop()
            if groups:
                groups[-1].extend(last)
        return groups

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.model` into a folder, atomically."""
        _write(folder, name, ".model", self._proto)


class WordVocabulary:
    """The most frequent words of a text; every other word becomes UNK.

    Words are separated by whitespace, so punctuation should be split off already.
    Bahdanau, Cho & Bengio 2015, section 4.1, use 30,000 words per language.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Numbers the words in the given order, after the special tokens."""
        self._words = [*SPECIALS, *words]
        self._ids = {word: i for i, word in enumerate(words, start=len(SPECIALS))}
        self.vocab_size = len(self._words)

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 30_000) -> Self:
        """Counts the words of a text; equally frequent words are sorted by code point.

        Args:
          sentences: the training text, words separated by whitespace.
          vocab_size: largest number of ids, the four special ones included.

        Returns:
          The tokeniser; it is smaller than `vocab_size` if the text has fewer words.

        Raises:
          UserError: if the text has no words, or `vocab_size` leaves no ids for them.
        """
        if vocab_size <= len(SPECIALS):
            raise UserError(
                f"vocab_size: expected more than {len(SPECIALS)} (so many tokens are "
                f"special), got {vocab_size}"
            )
        counts = collections.Counter(
            word for text in sentences for word in text.split()
        )
        if not counts:
            raise UserError("expected training text with words, got none")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[: vocab_size - len(SPECIALS)])

    def tokenize(self, text: str) -> list[int]:
        """See `Tokenizer`."""
        return [self._ids.get(word, UNK) for word in text.split()]

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        kept = [int(i) for i in _until_eos(ids) if i not in (PAD, BOS)]
        return " ".join(UNKNOWN if i == UNK else self._words[i] for i in kept)

    def ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """See `Tokenizer`."""
        return [self._words[int(i)] for i in ids]

    def words(self, ids: Sequence[int]) -> list[list[int]]:
        """See `Tokenizer`: every token is a word."""
        return [[i] for i, _ in _positions(self, ids)]

    def save(self, folder: Path, name: str) -> None:
        """Writes `<name>.json` into a folder, atomically."""
        words = self._words[len(SPECIALS) :]
        text = json.dumps({"words": words}, ensure_ascii=False, indent=0)
        _write(folder, name, ".json", text.encode())


def load_tokenizer(folder: Path, name: str) -> Tokenizer:
    """Loads a tokeniser that was saved under a name.

    Raises:
      UserError: if the folder holds none of that name, or two, or its file is damaged.
    """
    subwords, words = folder / f"{name}.model", folder / f"{name}.json"
    found = [path for path in (subwords, words) if os.path.lexists(path)]
    if len(found) != 1:
        got = "both (delete the one that the run was not trained with)"
        raise UserError(
            f"{folder}: expected {subwords.name} or {words.name}, got "
            f"{got if found else 'neither'}"
        )
    if found == [words]:
        return read_saved(words, Words, lambda x: WordVocabulary(x["words"]))
    try:
        return SentencePiece(read_regular(subwords, largest=LARGEST))
    except (UserError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{subwords}: expected a tokeniser, got {reason}") from error


def _until_eos(ids: Sequence[int]) -> list[int]:
    ids = [int(i) for i in ids]
    return ids[: ids.index(EOS)] if EOS in ids else ids


def _positions(tokenizer: Tokenizer, ids: Sequence[int]) -> list[tuple[int, str]]:
    """Returns the positions before EOS that are not PAD or BOS, with their tokens."""
    kept = _until_eos(ids)
    tokens = tokenizer.ids_to_tokens(kept)
    return [(i, tokens[i]) for i in range(len(kept)) if kept[i] not in (PAD, BOS)]


def _write(folder: Path, name: str, suffix: str, content: bytes) -> None:
    """Writes a tokeniser's file, and deletes one of the other kind with its name."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}{suffix}", content)
    other = {".model": ".json", ".json": ".model"}[suffix]
    (folder / f"{name}{other}").unlink(missing_ok=True)
