"""Training of SentencePiece models on the whole of a text, whatever is in it.

SentencePiece's trainer skips lines that are too long or hold a character that it
reserves, says so nowhere, and forgets characters that are rare. Here lines are cut into
parts, reserved characters are replaced, and every character is required.
"""

import io
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import sentencepiece

from experiments.datasets.tokenizers.specials import BOS, EOS, PAD, UNK, UNKNOWN
from experiments.errors import UserError

SPACE = "▁"  # SentencePiece's symbol for the space before a word

# The trainer skips a line with U+2585, its own sign for UNK, and gives no id to NUL.
# Two characters of the last private-use plane stand for them in the model.
_RESERVED = {"\u2585": "\U0010fffc", "\0": "\U0010fffd"}
_REPLACE = str.maketrans(_RESERVED | {SPACE: "_"})
_RESTORE = str.maketrans({new: old for old, new in _RESERVED.items()})
_MAX_BYTES = 1 << 16  # of a line; the trainer skips longer ones
# Of characters without a blank in a line that is cut. Of 120,000 characters in one line
# unigram finds 500 pieces in parts of 50, 244 in parts of 1,000, 29 in parts of 16,000.
_MAX_WORD = 64


def normalize(text: str) -> str:
    """Replaces runs of whitespace by one space, and the characters that are reserved.

    SentencePiece's symbol of a space in the text itself would be detokenised as a
    space, so it becomes "_".
    """
    return " ".join(text.translate(_REPLACE).split())


def restore(text: str) -> str:
    """Puts back the reserved characters that `normalize` replaced, but for "_"."""
    return text.translate(_RESTORE)


def train_model(
    sentences: Iterable[str],
    vocab_size: int,
    *,
    model: Literal["unigram", "bpe"],
    character_coverage: float,
    characters: Iterable[str],
) -> bytes:
    """Trains a model; arguments and errors are those of `SentencePiece.train`.

    Returns:
      The serialised model.
    """
    lines = list(map(normalize, sentences))
    required: set[str] = set()
    if character_coverage == 1:
        # The trainer stops at a coverage of 1, which it computes in float32, and does
        # not count the characters of "<s>" and of the other special tokens. It takes
        # required ones first; SPACE is none of them, so the coverage is below 1 then.
        required = set(normalize("".join(characters))).union(*lines) - {" "}
    # A text of so many characters has no more pieces of up to 16. The trainer allocates
    # what it is asked for before it finds out.
    most = 16 * sum(map(len, lines)) + len(required) + 5
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain.from_iterable(map(_parts, lines)),
            model_writer=written,
            vocab_size=min(vocab_size, most),
            model_type=model,
            character_coverage=character_coverage,
            required_chars="".join(sorted(required)),
            normalization_rule_name="identity",
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            unk_surface=UNKNOWN,
            max_sentence_length=_MAX_BYTES,
            num_threads=2,  # fixed: the order of sums may change the vocabulary
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_training_error(str(error), vocab_size)) from error
    return written.getvalue()


def _parts(line: str) -> Iterator[str]:
    """Cuts a line into parts that the trainer takes: between words if there are any."""
    if len(line.encode()) <= _MAX_BYTES:
        yield line
        return
    part: list[str] = []
    for word in line.split(" "):
        if len(word) > _MAX_WORD:  # no words are separated here
            yield from (
                word[start : start + _MAX_WORD]
                for start in range(0, len(word), _MAX_WORD)
            )
            continue
        part.append(word)
        if len(part) * _MAX_WORD * 4 > _MAX_BYTES // 2:  # a character has 1 to 4 bytes
            yield " ".join(part)
            part = []
    yield " ".join(part)


def _training_error(message: str, vocab_size: int) -> str:
    """Translates SentencePiece's messages about the vocabulary's size."""
    if most := re.search(r"too high .* value <= (\d+)", message):
        return f"vocab_size: expected at most {most[1]} for this text, got {vocab_size}"
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size: expected at least {least[1]} (one for each character), got "
            f"{vocab_size}"
        )
    if "sentences_.empty()" in message:
        return "expected training text with words, got none"
    return f"SentencePiece: {message}"
