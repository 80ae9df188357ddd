"""Text to units and back: the words that the gold alignments count.

A unit is one digit, a run of letters (with the marks, apostrophes, hyphens and
abbreviation points inside it), or any other single sign. Units are written with
one blank between them. The true text is found again by a rule for what stands
between two units (nothing between digits, around a slash, beside a letter of a
script that is written without blanks; otherwise a blank), and where the text
differs from the rule a visible mark says so. Marks are put on words and signs
rather than on digits, which so keep to ten units:

    3:30<U+202F>PM      3 : 3 0 ⎵PM
    1,234 km            1 ,￭ 2 3 4 km
    2024年5月3日(金)    2 0 2 4 年 5 月 3 日 ( 金 )
"""

import functools
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

NOTHING = "￭"  # what OpenNMT's tokenizer calls a joiner
MARKS = {"": NOTHING, " ": "␣", "\u00a0": "⍽", "\u202f": "⎵", "\u2009": "⏝"}
_OTHER_BLANKS = "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u200a"
MARKS |= {c: chr(0xE000 + i) for i, c in enumerate(_OTHER_BLANKS + "\u205f\u3000")}
BLANKS = {mark: blank for blank, mark in MARKS.items()}

# Scripts without blanks that Unicode does not call wide: Thai, Lao, Burmese, Khmer.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
_CLOSING, _OPENING = set(",.;:)/、。%²³"), set("(/:°")
_INSIDE_WORDS = "'’.-·"


class Piece(NamedTuple):
    """A stretch of a formatted phrase that comes from one place.

    Attributes:
      text: what is printed.
      fields: the fields it belongs to, such as ("start hour",); () for what the
        pattern itself holds.
      role: what it says of its field ("hour", "period", "unit", ...).
    """

    text: str
    fields: tuple[str, ...] = ()
    role: str = ""


class Units(NamedTuple):
    """The whitespace words of a stored text.

    Attributes:
      texts: the units, with their marks.
      pieces: for each, the index of the piece that it came from.
    """

    texts: list[str]
    pieces: list[int]


def text_of(pieces: Iterable[Piece]) -> str:
    """The phrase as CLDR has it."""
    return "".join(piece.text for piece in pieces)


def segment(pieces: Iterable[Piece]) -> Units:
    """Cuts a phrase to units.

    Args:
      pieces: the stretches of the phrase, in order.

    Returns:
      The units with their marks, each with the index of its piece.
    """
    texts: list[str] = []
    owners: list[int] = []
    left, gap, blank = "", "", 0
    for p, piece in enumerate(pieces):
        cores, trailing = _cut(piece.text)
        for before, core in cores:
            gap += before
            if left and gap != _usual_gap(left, core):
                mark = "".join(map(MARKS.__getitem__, gap)) or NOTHING
                side = _marked_side(left, core)
                if side == "left":
                    texts[-1] += mark
                elif side == "between":
                    texts.append(mark)
                    owners.append(p if before else blank)
                texts.append(mark + core if side == "right" else core)
            else:
                texts.append(core)
            owners.append(p)
            left, gap = core, ""
        if trailing:
            gap, blank = gap + trailing, p
    return Units(texts, owners)


def count_units(pieces: Iterable[Piece]) -> int:
    """The number of units, but for marks that stand alone."""
    return sum(len(_cut(piece.text)[0]) for piece in pieces)


def detokenize(text: str) -> str:
    """Gives the true text of units written with blanks between them.

    Args:
      text: units, as in the data set; text that a model made up is as welcome.

    Returns:
      The text as CLDR prints it.

    Example:
      >>> detokenize("1 ,￭ 2 3 4 km , 3 : 3 0 PM ( $ 5 )")
      '1,234 km, 3:30 PM ($5)'
    """
    out, left, gap = [], "", None
    for unit in text.split():
        core = unit.lstrip(_ALL_MARKS)
        before = unit[: len(unit) - len(core)]
        gap = _blanks(before) if before else gap
        if not core:
            continue
        inner = core.rstrip(_ALL_MARKS)
        if left:
            out.append(_usual_gap(left, inner) if gap is None else gap)
        out.append(inner)
        left, gap = inner, _blanks(core[len(inner) :]) if core != inner else None
    return "".join(out)


def bare(unit: str) -> str:
    """The unit without its marks; "" for a unit that is only a mark."""
    return unit.strip(_ALL_MARKS)


_ALL_MARKS = "".join(BLANKS)


def _blanks(marks: str) -> str:
    return "".join(BLANKS[mark] for mark in marks)


@functools.lru_cache(maxsize=100_000)
def _cut(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Cuts to (blank before, unit) and the blank at the end."""
    cores: list[tuple[str, str]] = []
    gap, word = "", ""
    for i, char in enumerate(text):
        if _is_letter(char) or (word and _joins(char, text[i + 1 : i + 2])):
            word += char
        else:
            if word:
                cores, gap, word = [*cores, (gap, word)], "", ""
            if char.isspace():
                gap += char
            else:
                cores, gap = [*cores, (gap, char)], ""
    if word:
        cores, gap = [*cores, (gap, word)], ""
    return tuple(cores), gap


def _joins(char: str, follows: str) -> bool:
    """Whether a sign belongs to the word before it."""
    return char == "." or (char in _INSIDE_WORDS and _is_letter(follows))


@functools.lru_cache(maxsize=10_000)
def _is_letter(char: str) -> bool:
    """Letters, their accents and vowel signs, and invisible direction marks."""
    return bool(char) and (
        unicodedata.category(char)[0] in "LM" or unicodedata.category(char) == "Cf"
    )


@functools.lru_cache(maxsize=100_000)
def _usual_gap(left: str, right: str) -> str:
    """What the rule puts between two units."""
    ends, begins = left[-1], right[0]
    if ends.isdigit() and begins.isdigit():
        return ""
    if right in _CLOSING or left in _OPENING or (left == "." and begins.isdigit()):
        return ""
    kinds = {unicodedata.category(ends), unicodedata.category(begins)}
    if "Sc" in kinds and not ends.isdigit():
        return ""
    return "" if _is_unspaced(ends) or _is_unspaced(begins) else " "


@functools.lru_cache(maxsize=100_000)
def _marked_side(left: str, right: str) -> str:
    """Which unit carries a mark: signs before words, and digits never."""
    if left.isdigit() and right.isdigit():
        return "between"
    if right.isdigit() or not (_is_letter(left[0]) or left.isdigit()):
        return "left"
    return "right"


def _is_unspaced(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" or any(
        ord(char) in script for script in _UNSPACED
    )
