"""The format of the CMU Pronouncing Dictionary, in all of its editions.

    ;;; # comment                        whole lines, in 0.7b
    READ  R EH1 D                        two blanks, upper case, in 0.7b
    READ(1)  R IY1 D                     variants from (1) in 0.7b, from (2) later
    aalborg AO1 L B AO0 R G # place      comments at the end, in later editions

A phone of a vowel ends in its stress: 0, 1 or 2.
"""

import re
from collections.abc import Iterable

from experiments.errors import UserError

_VARIANT = re.compile(r"(.+)\(\d+\)")
_COMMENT = re.compile(r"\s#.*")  # after white space: 0.7b has a word "#HASH-MARK"
_PHONE = re.compile("[A-Z]{1,3}[0-2]?")


def decode(content: bytes) -> str:
    """Decodes an edition: UTF-8 where it is valid, else Latin-1, which 0.7b is in."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def parse_lexicon(
    lines: Iterable[str], name: str, *, stress: bool = False
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Reads the pronunciations of every word, in the order of the file.

    Args:
      lines: of the dictionary.
      name: of the file, for errors.
      stress: whether vowels keep their stress; without it pronunciations that become
        equal are one.

    Returns:
      Word in lower case -> its different pronunciations, each a tuple of phones.

    Raises:
      UserError: naming a line that is no word with phones; or if there is none at all.

    Example:
      >>> parse_lexicon(["read R EH1 D", "read(2) R IY1 D", "Read(3) R EH0 D"], "x")
      {'read': (('R', 'EH', 'D'), ('R', 'IY', 'D'))}
    """
    found: dict[str, dict[tuple[str, ...], None]] = {}
    for number, line in enumerate(lines, start=1):
        if line.startswith(";;;") or not line.strip():
            continue
        head, *phones = _COMMENT.sub("", line).split()
        wrong = [phone for phone in phones if not _PHONE.fullmatch(phone)]
        if not phones or wrong:
            got = f"{wrong[0]!r}" if wrong else "no phones"
            raise UserError(
                f"{name}:{number}: expected a word and its phones, got {got} (is it "
                "the file of the dictionary?)"
            )
        variant = _VARIANT.fullmatch(head)
        word = (variant[1] if variant else head).lower()
        kept = phones if stress else [phone.rstrip("012") for phone in phones]
        found.setdefault(word, {})[tuple(kept)] = None
    if not found:
        raise UserError(f"{name}: expected words with their phones, got none")
    return {word: tuple(readings) for word, readings in found.items()}
