"""The values of phrases, and the split that each value belongs to.

A hash of the value chooses its split: one of ten hash buckets is the test's, one the
validation's, eight the training's. A phrase has values of its own split only, so no
value of a test phrase occurs in training:

    date        year, month and day
    day         month and day, in phrases without a year
    month       year and month, in phrases without a day
    quarter     year and quarter
    time        hour and minute
    number      the number, whatever it counts; 0 to 9 always belong to training
    names       the codes of a list of names, in order; language and territory

What values are composed of is shared by all splits: names, units, currencies, digits
and numbers below ten all occur in training. A single name is a phrase in training only.
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
    """Returns the split of a value, the same in every process and Python version.

    Args:
      family: what kind of value it is.
      value: the value; its `str` is hashed.
    """
    # Not hash(): Python salts that of strings per process.
    digest = hashlib.blake2b(f"{family} {value}".encode(), digest_size=8).digest()
    return BUCKETS[int.from_bytes(digest, "big") % len(BUCKETS)]


class Sampler:
    """Samples values of one split, a pure function of the seed.

    Only `random.Random.random` is used, which Python guarantees never to change.
    """

    def __init__(self, split: str, seed: object):
        self.split = split
        self._random = random.Random(f"{split} {seed}")

    def integer(self, n: int) -> int:
        """Samples an integer from 0 to n - 1."""
        return int(self._random.random() * n)

    def bernoulli(self, p: float) -> bool:
        """Samples True with probability p."""
        return self._random.random() < p

    def choice(self, options: Sequence[T]) -> T:
        """Samples one of the options, all equally likely."""
        return options[self.integer(len(options))]

    def choices(self, options: Sequence[T], n: int) -> list[T]:
        """Samples n options without replacement, in random order."""
        left = list(options)
        return [left.pop(self.integer(len(left))) for _ in range(min(n, len(left)))]

    def value(self, family: str) -> Any:
        """Samples a "date", "day", "month", "quarter" or "time" of the split.

        Rejection sampling: values of other splits are sampled and rejected.
        """
        while True:
            value = self._time() if family == "time" else self._date(family)
            if self._in_split(family, value):
                return value

    def interval(self, family: str) -> tuple[Any, Any]:
        """Samples two values of a family, at most MAX_STEP apart, the earlier first."""
        while True:
            start, step = self.value(family), 1 + self.integer(MAX_STEP[family])
            end = _later(family, start, step)
            if end > start and self._in_split(family, end):
                return start, end

    def _date(self, family: str) -> datetime.date:
        """Samples a date; without a year one of a leap year, which has all days."""
        year = 2024 if family == "day" else YEARS[self.integer(len(YEARS))]
        if family in ("month", "quarter"):
            step = 1 if family == "month" else 3
            return datetime.date(year, 1 + step * self.integer(12 // step), 1)
        days = 366 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 365
        return datetime.date(year, 1, 1) + datetime.timedelta(days=self.integer(days))

    def _time(self) -> datetime.time:
        return datetime.time(self.integer(24), self.integer(60))

    def _in_split(self, family: str, value: Any) -> bool:
        return split_of(family, value_key(family, value)) == self.split

    def number(self, *, decimals: int) -> Decimal:
        """Samples a number of up to five digits, with at most `decimals` decimals."""
        while True:
            digits = 1 + self.integer(5 if decimals == 0 else 4)
            scaled = self.integer(10 ** (digits + decimals))
            number = Decimal(scaled).scaleb(-decimals)
            if number_split(number) == self.split:
                # 1.0 becomes 1: the two have different plurals in some languages.
                return Decimal(int(number)) if number == int(number) else number


# Longest interval, in days, months and minutes.
MAX_STEP = {"date": 40, "month": 18, "time": 400}


def number_split(number: Decimal) -> str:
    """Returns the split of a number; 12.50 is 12.5, and 0 to 9 belong to training."""
    if number == int(number) and number < 10:
        return "train"
    return split_of("number", f"{number.normalize():f}")


def value_key(family: str, value: Any) -> str:
    """Returns the part of a date or time that a family prints, for hashing."""
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
    """Adds minutes to a time (modulo a day), or days or months to a date."""
    if family == "time":
        minutes = (start.hour * 60 + start.minute + step) % (24 * 60)
        return datetime.time(*divmod(minutes, 60))
    if family == "month":
        months = start.year * 12 + start.month - 1 + step
        return datetime.date(months // 12, months % 12 + 1, 1)
    return start + datetime.timedelta(days=step)
