"""CLDR's patterns: looked up once per locale, parsed, and filled with spans."""

import datetime
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from babel import Locale, dates, lists

from experiments.datasets.cldr.pretokenization import Span

ROLES = {
    "y": "year", "Y": "year", "u": "year", "G": "era", "Q": "quarter", "q": "quarter",
    "M": "month", "L": "month", "d": "day", "E": "weekday", "e": "weekday",
    "c": "weekday", "a": "period", "b": "period", "B": "period", "h": "hour",
    "H": "hour", "k": "hour", "K": "hour", "m": "minute", "s": "second",
}  # fmt: skip


@functools.cache
def date_pattern(locale: Locale, style: Any) -> str:
    """Returns the pattern of a length ("full"), or of the skeleton nearest a style."""
    if style in ("full", "long", "medium"):
        return dates.get_date_format(style, locale=locale).pattern
    skeletons = locale.datetime_skeletons
    if style not in skeletons:
        style = dates.match_skeleton(style, skeletons) or style
    return skeletons[style].pattern


@functools.cache
def time_pattern(locale: Locale, style: Any) -> str:
    """Returns the pattern of "short" (with minutes) or "medium" (with seconds)."""
    return dates.get_time_format(style, locale=locale).pattern


@functools.cache
def uses_24_hours(locale: Locale) -> bool:
    """Tells whether the locale uses the 24-hour clock."""
    tokens = dates.tokenize_pattern(time_pattern(locale, "short"))
    return any(kind == "field" and value[0] in "Hk" for kind, value in tokens)


@functools.cache
def datetime_pattern(locale: Locale, style: Any) -> str:
    """Returns a pattern such as "{1}, {0}": the time is 0, the date 1."""
    return str(dates.get_datetime_format(style, locale=locale)).replace("'", "")


@functools.cache
def interval_pattern(locale: Locale) -> str:
    """Returns the fallback pattern of intervals, such as "{0} – {1}"."""
    return locale.interval_formats.get(None, "{0}-{1}")


@functools.cache
def interval_formats(locale: Locale, skeleton: str) -> dict[str, tuple[str, str]]:
    """Returns an interval's two halves by the first field in which its ends differ."""
    formats = locale.interval_formats
    if skeleton not in formats:
        skeleton = dates.match_skeleton(skeleton, formats) or skeleton
    parts = {
        field: [getattr(part, "pattern", part) for part in halves]
        for field, halves in formats[skeleton].items()
    }
    # Babel splits at the first repeated field, which fails in Persian and Yoruba.
    return {f: (p[0], p[1]) for f, p in parts.items() if len(p) == 2}


@functools.cache
def list_pattern(locale: Locale, style: Any, length: int) -> str:
    """Returns a pattern such as "{0}, {1} and {2}".

    Raises:
      KeyError: if Babel has the style only in part (an alias that it does not follow).
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
def parse_fields(pattern: str) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """Splits a pattern; pairs each field with the getter of the part that it prints."""
    found: list[tuple[str, Callable[[Any], Any] | None]] = []
    for kind, token in dates.tokenize_pattern(pattern):
        if kind == "chars":
            found.append((str(token), None))
        else:
            letters = token[0] * int(token[1])
            found.append((letters, _PARTS[ROLES[letters[0]]]))
    return found


def first_difference(letters: str, start: datetime.time, end: datetime.time) -> str:
    """Returns the first of the letters a, h, H, m at which two times differ."""
    parts = {
        "a": lambda time: time.hour < 12,
        "h": lambda time: time.hour % 12,
        "H": lambda time: time.hour,
        "m": lambda time: time.minute,
    }
    return next(x for x in letters if parts[x](start) != parts[x](end))


@functools.lru_cache(maxsize=100_000)
def tag_end(span: Span, side: str, shared: frozenset[str]) -> Span:
    """Tags a span's fields with one end of an interval, unless both ends share them."""
    # An untagged field belongs to both ends.
    if not span.fields or span.role in shared - {"period"}:
        return span
    if "hour" in shared and span.role == "period":
        return span
    # One AM or PM for two hours.
    if "period" in shared and span.role == "period":
        return span._replace(fields=("start hour", "end hour"))
    return span._replace(fields=tuple(f"{side} {field}" for field in span.fields))


@functools.lru_cache(maxsize=100_000)
def tag_item(span: Span, item: int) -> Span:
    """Tags a span's fields with the index of an item of a list."""
    fields = tuple(f"{item} {field}" for field in span.fields)
    return Span(span.text, fields, span.role)


def fill_placeholders(pattern: str, *values: Iterable[Span]) -> list[Span]:
    """Replaces the placeholders of a pattern such as "{0} - {1}" by spans."""
    spans: list[Span] = []
    for part in split_placeholders(pattern):
        spans += [Span(part)] if isinstance(part, str) else values[part]
    return spans


@functools.cache
def split_placeholders(pattern: str) -> list[str | int]:
    """Splits "{0} - {1}" to [0, " - ", 1]."""
    # A captured group makes every second part a placeholder's number.
    parts = re.split(r"\{(\d+)\}", pattern)
    return [int(p) if i % 2 else p for i, p in enumerate(parts) if p]
