"""The tokenisers of Marian models in Hugging Face's format.

SentencePiece cuts a sentence into pieces; vocab.json numbers them. Here they get the
numbers of every other tokeniser of sentences: PAD, BOS, EOS, UNK, then the rest.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece

from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
    SentencePiece,
)
from experiments.errors import UserError

UNKNOWN_PIECE = "<unk>"


class SpecialIds(NamedTuple):
    """The ids of a model's special tokens."""

    pad: int
    start: int  # the decoder's first input, which may be that of padding
    eos: int
    unk: int


def vocabulary_order(size: int, special: SpecialIds) -> list[int]:
    """Returns the model's id of each id here: PAD, BOS, EOS, UNK, then the others.

    Where the decoder starts with the id of padding, that id occurs twice, as PAD and
    as BOS, so that there is one id more than in the model.

    Args:
      size: number of the model's ids.
      special: its special ids.

    Raises:
      UserError: if an id is outside the vocabulary, or two that must differ do not.

    Example:
      >>> vocabulary_order(6, SpecialIds(pad=5, start=5, eos=0, unk=1))
      [5, 5, 0, 1, 2, 3, 4]
    """
    for name, id_ in special._asdict().items():
        if not 0 <= id_ < size:
            raise UserError(
                f"{name}: expected an id below {size} (the vocabulary), got {id_}"
            )
    if len({special.pad, special.eos, special.unk, special.start}) < 3 + (
        special.start != special.pad
    ):
        raise UserError(
            f"special tokens: expected different ids (the decoder may start with that "
            f"of padding), got {special}"
        )
    return [*special, *(i for i in range(size) if i not in special)]


class MarianTokenizer(SentencePiece):
    """A `Tokenizer` of one language: SentencePiece's pieces, with ids of a vocabulary.

    A code such as `>>deu<<`, which some models need before the source to name the
    target's language, is one token.
    """

    def __init__(
        self, model: bytes, vocabulary: Mapping[str, int], order: Sequence[int]
    ) -> None:
        """Loads the tokeniser.

        Args:
          model: a serialised SentencePiece model.
          vocabulary: piece to the model's id.
          order: from `vocabulary_order`.

        Raises:
          UserError: if the bytes are no such model.
        """
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise UserError(
                f"{len(model)} bytes that are no whole SentencePiece model"
            ) from error
        self.vocab_size = len(order)
        pieces = {id_: piece for piece, id_ in vocabulary.items()}
        self._pieces = [pieces.get(id_, UNKNOWN_PIECE) for id_ in order]
        self._ids = {piece: i for i, piece in enumerate(self._pieces) if i >= UNK}

    def tokenize(self, text: str) -> list[int]:
        """See `Tokenizer`: pieces that are not in the vocabulary become UNK."""
        code = re.match(r">>.*?<<", text)
        start = [] if code is None else [code[0]]
        rest = text if code is None else text[code.end() :]
        pieces = [*start, *self._model.encode(rest, out_type=str)]
        return [self._ids.get(piece, UNK) for piece in pieces]

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `Tokenizer`."""
        ids = [int(i) for i in ids]
        before = ids[: ids.index(EOS)] if EOS in ids else ids
        kept = [i for i in before if i not in (PAD, BOS)]
        return " ".join(self._model.decode_pieces(self.ids_to_tokens(kept)).split())

    def ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """See `Tokenizer`."""
        return [self._pieces[int(i)] for i in ids]

    def save(self, folder: Path, name: str) -> None:
        """Refuses: a run has its own tokenisers, with other special ids.

        Raises:
          UserError: always.
        """
        raise UserError(
            f"{folder / name}: expected a tokeniser of a run, got a Marian model's"
        )
