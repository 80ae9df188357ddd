"""What phrases say, and which split may say it.

Every value belongs to one split, by a hash of the value: of ten buckets one is the
test's, one the validation's, eight the training's. A phrase of a split is made of
that split's values only. So no value in a test phrase occurs in training:

    date        year, month and day
    day         month and day, where no year is said
    month       year and month, where no day is said
    quarter     year and quarter
    time        hour and minute
    number      the number, whatever it counts; 0 to 9 are always the training's
    names       the codes of a list of names, in order; language and territory

The atoms are open to all: each name, each unit and currency, each digit and each
number below ten are met in training; a name alone is a phrase in training only.
"""

import datetime
import hashlib
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

T = TypeVar("T")

BUCKETS = ("test", "validation", *["train"] * 8)
YEARS = range(1600, 2400)


def split_of(family: str, value: object) -> str:
    """The split that a value belongs to, in every process and Python alike.

    Args:
      family: what kind of value it is.
      value: the value; its `str` is hashed.
    """
    digest = hashlib.blake2b(f"{family} {value}".encode(), digest_size=8).digest()
    return BUCKETS[int.from_bytes(digest, "big") % len(BUCKETS)]


class Draw:
    """Draws values of one split, a pure function of the seed.

    Only `random.Random.random` is used, which Python promises never to change.
    """

    def __init__(self, split: str, seed: object):
        self.split = split
        self._random = random.Random(f"{split} {seed}")

    def below(self, n: int) -> int:
        return int(self._random.random() * n)

    def chance(self, p: float) -> bool:
        return self._random.random() < p

    def among(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def several(self, options: Sequence[T], n: int) -> list[T]:
        """Draws n different options, in any order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(min(n, len(left)))]

    def value(self, family: str) -> Any:
        """Draws a "date", "day", "month", "quarter" or "time" of the split."""
        while True:
            value = self._time() if family == "time" else self._date(family)
            if self._owns(family, value):
                return value

    def ends(self, family: str) -> tuple[Any, Any]:
        """Draws two values of a family, the later one not long after."""
        while True:
            start, step = self.value(family), 1 + self.below(REACH[family])
            end = _later(family, start, step)
            if end > start and self._owns(family, end):
                return start, end

    def _date(self, family: str) -> datetime.date:
        """Draws a date; in a leap year if no year is said, to have all the days."""
        year = 2024 if family == "day" else YEARS[self.below(len(YEARS))]
        if family in ("month", "quarter"):
            step = 1 if family == "month" else 3
            return datetime.date(year, 1 + step * self.below(12 // step), 1)
        days = 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365
        return datetime.date(year, 1, 1) + datetime.timedelta(days=self.below(days))

    def _time(self) -> datetime.time:
        return datetime.time(self.below(24), self.below(60))

    def _owns(self, family: str, value: Any) -> bool:
        return split_of(family, said(family, value)) == self.split

    def number(self, *, decimals: int) -> Decimal:
        """Draws a number with up to five digits and none or so many decimals."""
        while True:
            digits = 1 + self.below(5 if decimals == 0 else 4)
            units = self.below(10 ** (digits + decimals))
            number = Decimal(units).scaleb(-decimals)
            if number_split(number) == self.split:
                # A number of one form, since 1.0 has another plural than 1.
                return Decimal(int(number)) if number == int(number) else number


REACH = {"date": 40, "month": 18, "time": 400}  # days, months, minutes


def number_split(number: Decimal) -> str:
    """The split of a number; 12.50 is 12.5, and the numbers below ten are atoms."""
    if number == int(number) and number < 10:
        return "train"
    return split_of("number", f"{number.normalize():f}")


def said(family: str, value: Any) -> str:
    """What of a date or time is said in a phrase of a family."""
    if family == "time":
        return f"{value.hour}:{value.minute}"
    if family == "day":
        return f"{value.month}-{value.day}"
    if family == "month":
        return f"{value.year}-{value.month}"
    if family == "quarter":
        return f"{value.year}-{(value.month - 1) // 3 + 1}"
    return value.isoformat()


def _later(family: str, start: Any, step: int) -> Any:
    """A time some minutes later on the same day, or a date days or months later."""
    if family == "time":
        minutes = (start.hour * 60 + start.minute + step) % (24 * 60)
        return datetime.time(*divmod(minutes, 60))
    if family == "month":
        months = start.year * 12 + start.month - 1 + step
        return datetime.date(months // 12, months % 12 + 1, 1)
    return start + datetime.timedelta(days=step)
