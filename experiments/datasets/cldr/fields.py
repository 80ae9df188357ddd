"""One locale's phrases as pieces that know their fields.

Patterns, names and numbers are Babel's, so the text of the pieces together is what
Babel prints; `tests/experiments/test_cldr.py` compares the two. A phrase is a
`Spec`: a family, a style, and values, the same for every locale.
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
    at_end,
    compiled,
    counts_to_24,
    date_pattern,
    datetime_pattern,
    difference,
    in_item,
    insert,
    interval_formats,
    interval_pattern,
    list_pattern,
    split_slots,
    time_pattern,
)
from experiments.datasets.cldr.segment import Piece

# Families and their styles. Where two styles of a family print a value alike, the
# first speaks for both, so that a source has one translation only.
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
    """A phrase before it is put into a language.

    Attributes:
      family: a key of `STYLES`.
      style: one of the family's styles.
      values: what is said: dates, times, numbers, codes, or the specs of a list.
    """

    family: str
    style: str
    values: tuple[Any, ...]


class Formatter:
    """Formats specs in one locale."""

    def __init__(self, name: str):
        self.locale = open_locale(name)
        self._printed: dict[tuple[str, Any], Piece] = {}
        self._item = functools.lru_cache(maxsize=100_000)(self._format)
        self._list = functools.lru_cache(maxsize=16)(self._join)

    def pieces(self, spec: Spec) -> tuple[Piece, ...]:
        """Formats a spec to pieces; their text together is the phrase."""
        if spec.family == "list":
            return self._list(spec.style, spec.values)
        return self._item(spec)

    def _format(self, spec: Spec) -> tuple[Piece, ...]:
        return tuple(getattr(self, f"_{spec.family}")(spec.style, *spec.values))

    def list_styles(self) -> tuple[str, ...]:
        """The styles of lists that Babel has whole for this locale."""
        return tuple(style for style in STYLES["list"] if self._has_list(style))

    def name_of(self, style: str, code: Any) -> str | None:
        """A territory's, language's, month's or weekday's name, by itself."""
        if style == "territory":
            return self.locale.territories.get(code)
        if style == "language":
            return self.locale.languages.get(code)
        if style == "month":
            return dates.get_month_names("wide", "stand-alone", self.locale)[code]
        return dates.get_day_names("wide", "stand-alone", self.locale)[code]

    # Dates and times.

    def _date(self, style: str, day: datetime.date) -> list[Piece]:
        return self._fill(date_pattern(self.locale, style), day)

    _month = _day = _quarter = _date

    def _time(self, style: str, time: datetime.time) -> list[Piece]:
        return self._fill(time_pattern(self.locale, style), time)

    def _datetime(self, style: str, when: datetime.datetime) -> list[Piece]:
        date = self._date(style, when.date())
        time = self._time("short", when.time())
        return insert(datetime_pattern(self.locale, style), time, date)

    def _dates(self, style: str, start: Any, end: Any) -> list[Piece]:
        same_year = start.year == end.year
        same_month = same_year and start.month == end.month
        shared = {"year"} if same_year else set()
        shared |= {"month"} if same_month else set()
        if style in STYLES["date"][:3]:
            return self._interval(
                self._date(style, start), self._date(style, end), shared
            )
        field = "d" if same_month else "M" if same_year else "y"
        halves = interval_formats(self.locale, style).get(field)
        return self._ends(halves, date_pattern(self.locale, style), start, end, shared)

    _months = _dates

    def _times(self, _: str, start: datetime.time, end: datetime.time) -> list[Piece]:
        half = "period" if (start.hour < 12) == (end.hour < 12) else ""
        shared = {half, "hour" if start.hour == end.hour else ""} - {""}
        skeleton = "Hm" if counts_to_24(self.locale) else "hm"
        letters = "ahm" if skeleton == "hm" else "Hm"
        field = difference(letters, start, end)
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
    ) -> list[Piece]:
        """Fills the halves of an interval, or the whole pattern for both its ends."""
        first, second = halves or (whole, whole)
        one, two = self._fill(first, start), self._fill(second, end)
        return self._interval(one, two, shared, joined=halves is not None)

    def _datetimes(self, style: str, start: Any, end: Any) -> list[Piece]:
        one, two = self._datetime(style, start), self._datetime(style, end)
        return self._interval(one, two, {"year"} if start.year == end.year else set())

    def _interval(
        self,
        start: list[Piece],
        end: list[Piece],
        shared: set[str],
        *,
        joined: bool = False,
    ) -> list[Piece]:
        """Names the fields of the two ends apart, save those that they share."""
        common = frozenset(shared)
        one, two = (
            [at_end(piece, side, common) for piece in pieces]
            for side, pieces in (("start", start), ("end", end))
        )
        if joined:
            return one + two
        return insert(interval_pattern(self.locale), one, two)

    def _fill(self, pattern: str, value: Any) -> list[Piece]:
        """Prints a date or time by a pattern; what a field prints is kept."""
        pieces = []
        for letters, part in compiled(pattern):
            if part is None:
                pieces.append(Piece(letters))
                continue
            key = letters, part(value)
            if key not in self._printed:
                text = dates.DateTimeFormat(value, self.locale)[letters]
                role = ROLES[letters[0]]
                field = "hour" if role == "period" else role
                self._printed[key] = Piece(text, (field,), role)
            pieces.append(self._printed[key])
        return pieces

    # Numbers.

    def _number(self, style: str, value: Decimal) -> list[Piece]:
        if style == "decimal":
            text = numbers.format_decimal(value, locale=self.locale)
        else:
            text = numbers.format_percent(
                value / 100, locale=self.locale, decimal_quantization=False
            )
        return _around_number(text, "percent")

    def _price(self, style: Any, currency: str, value: Decimal) -> list[Piece]:
        text = numbers.format_currency(
            value, currency, locale=self.locale, format_type=style
        )
        return _around_number(text, "currency")

    def _unit(self, length: str, unit: str, value: Decimal) -> list[Piece]:
        text = self._measure(length, unit, value)
        if length == "long" and _is_raw(text, unit):
            # CLDR lets the long form be the short one; Babel leaves that out.
            text = self._measure("short", unit, value)
        return _around_number(text, "unit")

    def has_unit(self, unit: str) -> bool:
        """Whether Babel has the unit's name in this locale."""
        return not any(
            _is_raw(self._measure(length, unit, Decimal(n)), unit)
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

    def _name(self, style: str, code: Any) -> list[Piece]:
        return [Piece(self.name_of(style, code) or str(code), (style,), style)]

    def _locale(self, _: str, language: str, territory: str) -> list[Piece]:
        """As `Locale.get_display_name`: "French (Canada)"."""
        one, two = self._name("language", language), self._name("territory", territory)
        return [*one, Piece(" ("), *two, Piece(")")]

    def _join(self, style: str, specs: Sequence[Spec]) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        for text in split_slots(list_pattern(self.locale, style, len(specs))):
            if isinstance(text, str):
                pieces.append(Piece(text))
                continue
            pieces += [in_item(piece, text) for piece in self._item(specs[text])]
        return tuple(pieces)

    def _has_list(self, style: str) -> bool:
        try:
            return bool(list_pattern(self.locale, style, 3))
        except KeyError:  # Babel resolves some aliases of CLDR's lists in part only
            return False


_NUMBER = re.compile(r"\d(?:.*\d)?")


def _around_number(text: str, role: str) -> list[Piece]:
    """Splits a text at the number in it; what is around it has a role of its own."""
    match = _NUMBER.search(text)
    if match is None:
        return [Piece(text, (role,), role)]
    before, after = text[: match.start()], text[match.end() :]
    pieces = [Piece(before, (role,), role), Piece(match[0], ("number",), "number")]
    return [piece for piece in [*pieces, Piece(after, (role,), role)] if piece.text]


def _is_raw(text: str, unit: str) -> bool:
    """Whether Babel, for want of a name, has put the unit's identifier in the text."""
    return any(code in text for code in unit.split("/"))
