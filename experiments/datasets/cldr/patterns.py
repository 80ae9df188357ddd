"""CLDR's patterns: found once per locale, taken apart, and filled with pieces."""

import datetime
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from babel import Locale, dates, lists

from experiments.datasets.cldr.segment import Piece

ROLES = {
    "y": "year", "Y": "year", "u": "year", "G": "era", "Q": "quarter", "q": "quarter",
    "M": "month", "L": "month", "d": "day", "E": "weekday", "e": "weekday",
    "c": "weekday", "a": "period", "b": "period", "B": "period", "h": "hour",
    "H": "hour", "k": "hour", "K": "hour", "m": "minute", "s": "second",
}  # fmt: skip


@functools.cache
def date_pattern(locale: Locale, style: Any) -> str:
    """The pattern of a length ("full") or of the skeleton nearest to a style."""
    if style in ("full", "long", "medium"):
        return dates.get_date_format(style, locale=locale).pattern
    skeletons = locale.datetime_skeletons
    if style not in skeletons:
        style = dates.match_skeleton(style, skeletons) or style
    return skeletons[style].pattern


@functools.cache
def time_pattern(locale: Locale, style: Any) -> str:
    """The pattern of "short", with minutes, or "medium", with seconds."""
    return dates.get_time_format(style, locale=locale).pattern


@functools.cache
def counts_to_24(locale: Locale) -> bool:
    """Whether the locale counts hours to 24, not to 12."""
    tokens = dates.tokenize_pattern(time_pattern(locale, "short"))
    return any(kind == "field" and value[0] in "Hk" for kind, value in tokens)


@functools.cache
def datetime_pattern(locale: Locale, style: Any) -> str:
    """A pattern such as "{1}, {0}": the time is 0, the date 1."""
    return str(dates.get_datetime_format(style, locale=locale)).replace("'", "")


@functools.cache
def interval_pattern(locale: Locale) -> str:
    """A pattern such as "{0} – {1}", where the locale has none for the fields."""
    return locale.interval_formats.get(None, "{0}-{1}")


@functools.cache
def interval_formats(locale: Locale, skeleton: str) -> dict[str, tuple[str, str]]:
    """The two halves of an interval, by the first field in which its ends differ."""
    formats = locale.interval_formats
    if skeleton not in formats:
        skeleton = dates.match_skeleton(skeleton, formats) or skeleton
    parts = {
        field: [getattr(part, "pattern", part) for part in halves]
        for field, halves in formats[skeleton].items()
    }
    # Babel's cut at the first field that comes again fails in Persian and Yoruba.
    return {f: (p[0], p[1]) for f, p in parts.items() if len(p) == 2}


@functools.cache
def list_pattern(locale: Locale, style: Any, length: int) -> str:
    """A pattern such as "{0}, {1} and {2}".

    Raises:
      KeyError: if Babel has the style in part only, an alias not followed.
    """
    return lists.format_list([f"{{{i}}}" for i in range(length)], style, locale)


_PARTS: dict[str, Callable[[Any], Any]] = {
    "year": lambda value: value.year,
    "era": lambda value: value.year > 0,
    "quarter": lambda value: (value.month - 1) // 3,
    "month": lambda value: value.month,
    "day": lambda value: value.day,
    "weekday": lambda value: value.weekday(),
    "hour": lambda value: value.hour,
    "period": lambda value: (value.hour, value.minute),
    "minute": lambda value: value.minute,
    "second": lambda value: value.second,
}


@functools.cache
def compiled(pattern: str) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Pairs each field of a pattern with the part of a value that it prints."""
    found: list[tuple[str, Callable[[Any], Any] | None]] = []
    for kind, token in dates.tokenize_pattern(pattern):
        if kind == "chars":
            found.append((str(token), None))
        else:
            letters = token[0] * int(token[1])
            found.append((letters, _PARTS[ROLES[letters[0]]]))
    return found


def difference(letters: str, start: datetime.time, end: datetime.time) -> str:
    """The first of the letters a, h, H, m at which two times differ."""
    parts = {
        "a": lambda time: time.hour < 12,
        "h": lambda time: time.hour % 12,
        "H": lambda time: time.hour,
        "m": lambda time: time.minute,
    }
    return next(x for x in letters if parts[x](start) != parts[x](end))


@functools.lru_cache(maxsize=100_000)
def at_end(piece: Piece, side: str, shared: frozenset[str]) -> Piece:
    """Names a piece's field as the start's or the end's, or as both ends'."""
    if not piece.fields or piece.role in shared - {"period"}:
        return piece
    if "hour" in shared and piece.role == "period":
        return piece
    if "period" in shared and piece.role == "period":
        return piece._replace(fields=("start hour", "end hour"))
    return piece._replace(fields=tuple(f"{side} {field}" for field in piece.fields))


@functools.lru_cache(maxsize=100_000)
def in_item(piece: Piece, item: int) -> Piece:
    """Names a piece's fields as those of an item of a list."""
    fields = tuple(f"{item} {field}" for field in piece.fields)
    return Piece(piece.text, fields, piece.role)


def insert(pattern: str, *slots: Iterable[Piece]) -> list[Piece]:
    """Puts pieces into "{0} - {1}"."""
    pieces: list[Piece] = []
    for part in split_slots(pattern):
        pieces += [Piece(part)] if isinstance(part, str) else slots[part]
    return pieces


@functools.cache
def split_slots(pattern: str) -> list[str | int]:
    """Splits "{0} - {1}" to [0, " - ", 1]."""
    parts = re.split(r"\{(\d+)\}", pattern)
    return [int(p) if i % 2 else p for i, p in enumerate(parts) if p]
