"""Formats phrases in one locale, as spans labelled with their fields.

Patterns, names and numbers are Babel's, so the concatenated spans are what Babel
prints; `tests/experiments/datasets/test_cldr.py` compares the two. A phrase is a
`Spec`: a family, a style and values, the same for every locale.
"""

import datetime
import functools
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from babel import dates, numbers, units

from experiments.datasets.cldr.locales import open_locale
from experiments.datasets.cldr.patterns import (
    ROLES,
    date_pattern,
    datetime_pattern,
    fill_placeholders,
    first_difference,
    interval_formats,
    interval_pattern,
    list_pattern,
    parse_fields,
    split_placeholders,
    tag_end,
    tag_item,
    time_pattern,
    uses_24_hours,
)
from experiments.datasets.cldr.pretokenization import Span

# Families and their styles. Where two styles of a family print the same text, the first
# one is used (`canonicalization`), so that a source has one translation only.
STYLES: dict[str, tuple[str, ...]] = {
    "date": ("full", "long", "medium", "yMMMEd", "yMEd", "yMd"),
    "month": ("yMMMM", "yMMM", "yM"),
    "day": ("MMMMd", "MMMd", "Md"),
    "quarter": ("yQQQQ", "yQQQ"),
    "time": ("short", "medium"),
    "datetime": ("full", "long", "medium"),
    "dates": ("full", "yMMMEd", "yMMMd", "yMd"),
    "months": ("yMMMM", "yMMM"),
    "times": ("hm",),
    "datetimes": ("full", "long", "medium"),
    "number": ("decimal", "percent"),
    "unit": ("long", "short"),
    "price": ("name", "standard"),
    "name": ("territory", "language", "month", "weekday"),
    "locale": ("language",),
    "list": ("standard", "or", "unit"),
}


class Spec(NamedTuple):
    """A phrase before it is formatted in a language.

    Attributes:
      family: a key of `STYLES`.
      style: one of the family's styles.
      values: dates, times, numbers or codes; in a list, the specs of its items.
    """

    family: str
    style: str
    values: tuple[Any, ...]


class Formatter:
    """Formats specs in one locale."""

    def __init__(self, name: str):
        self.locale = open_locale(name)
        # Phrases are formatted several times: to measure, to compare styles, to store.
        # Single items recur throughout a data set; a list is soon forgotten.
        self._printed: dict[tuple[str, Any], Span] = {}
        self._item = functools.lru_cache(maxsize=100_000)(self._format)
        self._list = functools.lru_cache(maxsize=16)(self._join)

    def spans(self, spec: Spec) -> tuple[Span, ...]:
        """Formats a spec; the concatenated texts of the spans are the phrase."""
        if spec.family == "list":
            return self._list(spec.style, spec.values)
        return self._item(spec)

    def _format(self, spec: Spec) -> tuple[Span, ...]:
        # One method per family of STYLES: _date, _month, ..., _locale.
        return tuple(getattr(self, f"_{spec.family}")(spec.style, *spec.values))

    def list_styles(self) -> tuple[str, ...]:
        """Returns the list styles for which Babel has all patterns of this locale."""
        return tuple(style for style in STYLES["list"] if self._has_list(style))

    def name_of(self, style: str, code: Any) -> str | None:
        """Returns the stand-alone name of a territory, language, month or weekday."""
        if style == "territory":
            return self.locale.territories.get(code)
        if style == "language":
            return self.locale.languages.get(code)
        if style == "month":
            return dates.get_month_names("wide", "stand-alone", self.locale)[code]
        return dates.get_day_names("wide", "stand-alone", self.locale)[code]

    # Dates and times.

    def _date(self, style: str, day: datetime.date) -> list[Span]:
        return self._fill(date_pattern(self.locale, style), day)

    _month = _day = _quarter = _date

    def _time(self, style: str, time: datetime.time) -> list[Span]:
        return self._fill(time_pattern(self.locale, style), time)

    def _datetime(self, style: str, when: datetime.datetime) -> list[Span]:
        date = self._date(style, when.date())
        time = self._time("short", when.time())
        return fill_placeholders(datetime_pattern(self.locale, style), time, date)

    def _dates(self, style: str, start: Any, end: Any) -> list[Span]:
        same_year = start.year == end.year
        same_month = same_year and start.month == end.month
        shared = {"year"} if same_year else set()
        shared |= {"month"} if same_month else set()
        if style in STYLES["date"][:3]:
            # CLDR has interval patterns for skeletons only, not for "full" etc.
            return self._interval(
                self._date(style, start), self._date(style, end), shared
            )
        field = "d" if same_month else "M" if same_year else "y"
        halves = interval_formats(self.locale, style).get(field)
        return self._ends(halves, date_pattern(self.locale, style), start, end, shared)

    _months = _dates

    def _times(self, _: str, start: datetime.time, end: datetime.time) -> list[Span]:
        # Times of one half of the day share its period: "3:30 – 5:05 PM".
        half = "period" if (start.hour < 12) == (end.hour < 12) else ""
        shared = {half, "hour" if start.hour == end.hour else ""} - {""}
        skeleton = "Hm" if uses_24_hours(self.locale) else "hm"
        letters = "ahm" if skeleton == "hm" else "Hm"
        field = first_difference(letters, start, end)
        halves = interval_formats(self.locale, skeleton).get(field)
        return self._ends(
            halves, time_pattern(self.locale, "short"), start, end, shared
        )

    def _ends(
        self,
        halves: tuple[str, str] | None,
        whole: str,
        start: Any,
        end: Any,
        shared: set[str],
    ) -> list[Span]:
        """Formats both ends, by the halves of an interval or by the whole pattern."""
        first, second = halves or (whole, whole)
        one, two = self._fill(first, start), self._fill(second, end)
        return self._interval(one, two, shared, joined=halves is not None)

    def _datetimes(self, style: str, start: Any, end: Any) -> list[Span]:
        one, two = self._datetime(style, start), self._datetime(style, end)
        return self._interval(one, two, {"year"} if start.year == end.year else set())

    def _interval(
        self,
        start: list[Span],
        end: list[Span],
        shared: set[str],
        *,
        joined: bool = False,
    ) -> list[Span]:
        """Tags the fields of each end with "start" or "end", except shared ones."""
        common = frozenset(shared)
        one, two = (
            [tag_end(span, side, common) for span in spans]
            for side, spans in (("start", start), ("end", end))
        )
        if joined:  # the first half's pattern ends with the separator
            return one + two
        return fill_placeholders(interval_pattern(self.locale), one, two)

    def _fill(self, pattern: str, value: Any) -> list[Span]:
        """Formats a date or time by a pattern, with a cache of the printed fields."""
        spans = []
        for letters, part in parse_fields(pattern):
            if part is None:
                spans.append(Span(letters))
                continue
            key = letters, part(value)
            if key not in self._printed:
                text = dates.DateTimeFormat(value, self.locale)[letters]
                role = ROLES[letters[0]]
                # AM or PM belongs to the hour: 3 PM is 15 on the other side.
                field = "hour" if role == "period" else role
                self._printed[key] = Span(text, (field,), role)
            spans.append(self._printed[key])
        return spans

    # Numbers.

    def _number(self, style: str, value: Decimal) -> list[Span]:
        if style == "decimal":
            text = numbers.format_decimal(value, locale=self.locale)
        else:
            text = numbers.format_percent(
                value / 100, locale=self.locale, decimal_quantization=False
            )
        return _around_number(text, "percent")

    def _price(self, style: Any, currency: str, value: Decimal) -> list[Span]:
        text = numbers.format_currency(
            value, currency, locale=self.locale, format_type=style
        )
        return _around_number(text, "currency")

    def _unit(self, length: str, unit: str, value: Decimal) -> list[Span]:
        text = self._measure(length, unit, value)
        if length == "long" and _lacks_name(text, unit):
            # In CLDR the long form falls back to the short one; Babel does not do that.
            text = self._measure("short", unit, value)
        return _around_number(text, "unit")

    def has_unit(self, unit: str) -> bool:
        """Tells whether Babel has the unit's names in this locale."""
        return not any(
            _lacks_name(self._measure(length, unit, Decimal(n)), unit)
            for length in ("short", "long")[: 2 if "/" in unit else 1]
            for n in (1, 2, 5)
        )

    def _measure(self, length: Any, unit: str, value: Decimal) -> str:
        one, _, per = unit.partition("/")
        try:
            if per:
                text = units.format_compound_unit(
                    value, one, denominator_unit=per, length=length, locale=self.locale
                )
                return text or unit
            return units.format_unit(value, one, length, locale=self.locale)
        except units.UnknownUnitError:
            return unit

    # Names and lists.

    def _name(self, style: str, code: Any) -> list[Span]:
        return [Span(self.name_of(style, code) or str(code), (style,), style)]

    def _locale(self, _: str, language: str, territory: str) -> list[Span]:
        """Formats a locale like `Locale.get_display_name`: "French (Canada)"."""
        one, two = self._name("language", language), self._name("territory", territory)
        return [*one, Span(" ("), *two, Span(")")]

    def _join(self, style: str, specs: Sequence[Spec]) -> tuple[Span, ...]:
        spans: list[Span] = []
        for text in split_placeholders(list_pattern(self.locale, style, len(specs))):
            if isinstance(text, str):
                spans.append(Span(text))
                continue
            spans += [tag_item(span, text) for span in self._item(specs[text])]
        return tuple(spans)

    def _has_list(self, style: str) -> bool:
        try:
            return bool(list_pattern(self.locale, style, 3))
        except KeyError:  # Babel follows some aliases of CLDR's lists only in part
            return False


_NUMBER = re.compile(r"\d(?:.*\d)?")


def _around_number(text: str, role: str) -> list[Span]:
    """Splits a text at its number; the text around it gets the given role."""
    match = _NUMBER.search(text)
    if match is None:
        return [Span(text, (role,), role)]
    before, after = text[: match.start()], text[match.end() :]
    spans = [Span(before, (role,), role), Span(match[0], ("number",), "number")]
    return [span for span in [*spans, Span(after, (role,), role)] if span.text]


def _lacks_name(text: str, unit: str) -> bool:
    """Tells whether Babel printed a unit's identifier because it has no name."""
    return any(code in text for code in unit.split("/"))
