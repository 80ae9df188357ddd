"""Pre-tokenisation and its inverse: the tokens that the gold alignments count.

A token is one digit, a run of letters (with the accents, apostrophes, hyphens and
abbreviation points inside it), or any other single character. Tokens are stored with
one space between them. The original text is restored by a rule for what stands between
two tokens: nothing between digits, around a slash, or beside a letter of a script
without spaces; otherwise a space. Where the text differs from the rule, a visible mark
says so, like the joiner of OpenNMT. Marks are attached to words and punctuation rather
than to digits, so that there are only ten digit tokens:

    3:30<U+202F>PM      3 : 3 0 ⎵PM
    1,234 km            1 ,￭ 2 3 4 km
    2024年5月3日(金)    2 0 2 4 年 5 月 3 日 ( 金 )
"""

import functools
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

JOINER = "￭"  # what OpenNMT's tokenizer calls a joiner
MARKS = {"": JOINER, " ": "␣", "\u00a0": "⍽", "\u202f": "⎵", "\u2009": "⏝"}
_OTHER_SPACES = "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u200a"
# Rare spaces are marked by private-use characters, which CLDR does not print.
MARKS |= {c: chr(0xE000 + i) for i, c in enumerate(_OTHER_SPACES + "\u205f\u3000")}
SPACES = {mark: space for space, mark in MARKS.items()}

# Scripts without spaces that Unicode does not call wide: Thai, Lao, Burmese, Khmer.
_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
# No space stands before the first kind of character, or after the second.
_CLOSING, _OPENING = set(",.;:)/、。%²³"), set("(/:°")
_INSIDE_WORDS = "'’.-·"


class Span(NamedTuple):
    """A span of a formatted phrase, labelled with where it comes from.

    Attributes:
      text: the text of the span.
      fields: the fields that it belongs to, such as ("start hour",); () for literal
        text of the pattern.
      role: which part of its field it prints ("hour", "period", "unit", ...).
    """

    text: str
    fields: tuple[str, ...] = ()
    role: str = ""


class Tokens(NamedTuple):
    """The whitespace-separated tokens of a stored text.

    Attributes:
      texts: the tokens, with their marks.
      spans: the index of the span that each token comes from.
    """

    texts: list[str]
    spans: list[int]


def join_text(spans: Iterable[Span]) -> str:
    """Returns the phrase as CLDR prints it."""
    return "".join(span.text for span in spans)


def pretokenize(spans: Iterable[Span]) -> Tokens:
    """Splits a phrase into tokens.

    Args:
      spans: the spans of the phrase, in order.

    Returns:
      The tokens with their marks, each with the index of its span.
    """
    texts: list[str] = []
    owners: list[int] = []
    # The last token without marks, the whitespace since then, and the latter's span.
    left, gap, gap_span = "", "", 0
    for p, span in enumerate(spans):
        cores, trailing = _cut(span.text)
        for before, core in cores:
            gap += before
            if left and gap != _usual_gap(left, core):
                mark = "".join(map(MARKS.__getitem__, gap)) or JOINER
                side = _marked_side(left, core)
                if side == "left":
                    texts[-1] += mark
                elif side == "between":
                    texts.append(mark)
                    owners.append(p if before else gap_span)
                texts.append(mark + core if side == "right" else core)
            else:
                texts.append(core)
            owners.append(p)
            left, gap = core, ""
        if trailing:
            gap, gap_span = gap + trailing, p
    return Tokens(texts, owners)


def count_tokens(spans: Iterable[Span]) -> int:
    """Counts the tokens of a phrase, except marks that are tokens of their own."""
    return sum(len(_cut(span.text)[0]) for span in spans)


def detokenize(text: str) -> str:
    """Restores the original text from tokens separated by spaces.

    Args:
      text: tokens as in the data set, or any output of a model.

    Returns:
      The text as CLDR prints it.

    Example:
      >>> detokenize("1 ,￭ 2 3 4 km , 3 : 3 0 PM ( $ 5 )")
      '1,234 km, 3:30 PM ($5)'
    """
    out, left, gap = [], "", None  # gap: what marks say; None leaves it to the rule
    for token in text.split():
        core = token.lstrip(_ALL_MARKS)
        before = token[: len(token) - len(core)]
        gap = _spaces(before) if before else gap
        if not core:
            continue
        inner = core.rstrip(_ALL_MARKS)
        if left:  # nothing stands before the first token
            out.append(_usual_gap(left, inner) if gap is None else gap)
        out.append(inner)
        left, gap = inner, _spaces(core[len(inner) :]) if core != inner else None
    return "".join(out)


def strip_marks(token: str) -> str:
    """Returns the token without its marks; "" for a token that is only a mark."""
    return token.strip(_ALL_MARKS)


_ALL_MARKS = "".join(SPACES)


def _spaces(marks: str) -> str:
    return "".join(SPACES[mark] for mark in marks)


@functools.lru_cache(maxsize=100_000)
def _cut(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """Splits into (whitespace before, token) pairs and the whitespace at the end."""
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
    """Tells whether a character that is no letter belongs to the word before it."""
    return char == "." or (char in _INSIDE_WORDS and _is_letter(follows))


@functools.lru_cache(maxsize=10_000)
def _is_letter(char: str) -> bool:
    """Tells whether it is a letter, accent, vowel sign or invisible direction mark."""
    return bool(char) and (
        unicodedata.category(char)[0] in "LM" or unicodedata.category(char) == "Cf"
    )


@functools.lru_cache(maxsize=100_000)
def _usual_gap(left: str, right: str) -> str:
    """Returns what the rule puts between two tokens."""
    ends, begins = left[-1], right[0]
    if ends.isdigit() and begins.isdigit():
        return ""
    if right in _CLOSING or left in _OPENING or (left == "." and begins.isdigit()):
        return ""
    # Currency signs: "$5" and "US$", but "5 $".
    kinds = {unicodedata.category(ends), unicodedata.category(begins)}
    if "Sc" in kinds and not ends.isdigit():
        return ""
    return "" if _is_unspaced(ends) or _is_unspaced(begins) else " "


@functools.lru_cache(maxsize=100_000)
def _marked_side(left: str, right: str) -> str:
    """Chooses the token that gets a mark: punctuation before words, never a digit."""
    if left.isdigit() and right.isdigit():
        return "between"
    if right.isdigit() or not (_is_letter(left[0]) or left.isdigit()):
        return "left"
    return "right"


def _is_unspaced(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" or any(
        ord(char) in script for script in _UNSPACED
    )
