"""Which phrases there are: the mix, drawn without a language in mind.

Phrase i of a split is a pure function of (pair, split, seed, i) and of Babel's CLDR.
Of all phrases 45 % are single dates, times, intervals, amounts and the like, 20 % are
lists of two or three, and 35 % have 20 units or more: long lists, and intervals of
dates with times.
"""

from collections.abc import Callable
from typing import Any

from babel import numbers

from experiments.datasets.cldr import atoms, links, values
from experiments.datasets.cldr.canonical import Canonical
from experiments.datasets.cldr.fields import STYLES, Formatter, Spec
from experiments.datasets.cldr.segment import count_units, segment
from experiments.datasets.cldr.values import Draw

LONG, LONGEST = 20, 30  # units of a long phrase
SHORT_SHARE, LIST_SHARE = 0.45, 0.2

Maker = Callable[[], Spec]  # draws another item of the same kind


class Phrases:
    """Draws phrases for a pair of locales and formats them in both."""

    def __init__(self, source: str, target: str):
        self.source, self.target = Formatter(source), Formatter(target)
        both = (self.source, self.target)
        names = {style: atoms.shared_names(style, *both) for style in STYLES["name"]}
        self._names = {k: v for k, v in names.items() if len(v) >= _NAMES[k]}
        self._units, self._currencies = atoms.shared_measures(*both)
        self._canonical = Canonical(self.source)
        target_lists = self.target.list_styles()
        self._lists = [s for s in self.source.list_styles() if s in target_lists]
        self._singles, self._listed, self._long_lists = map(self._can, _MIXES)

    def pair(self, split: str, seed: int, index: int) -> tuple[str, str, str]:
        """Makes one example.

        Args:
          split: "train", "validation" or "test".
          seed: of the whole data set.
          index: of the example in its split.

        Returns:
          Source, target, and gold alignment in Pharaoh format.
        """
        spec = self.spec(split, seed, index)
        source, target = self.source.pieces(spec), self.target.pieces(spec)
        one, two = segment(source), segment(target)
        gold = links.alignment(source, one, target, two)
        return " ".join(one.texts), " ".join(two.texts), gold

    def spec(self, split: str, seed: int, index: int) -> Spec:
        """Draws the phrase of an index, in no language yet."""
        draw = Draw(split, f"{seed} {index}")
        short = draw.chance(SHORT_SHARE)
        several = draw.chance(LIST_SHARE / (1 - SHORT_SHARE))
        while True:
            if short:
                spec = self._single(draw)
            elif several:
                spec = self._several(draw, 2 + draw.below(2))
            else:
                spec = self._long(draw)
            spec = self._canonical(spec)
            size = count_units(self.source.pieces(spec))
            longer = max(size, count_units(self.target.pieces(spec)))
            if size >= (1 if short or several else LONG) and longer <= LONGEST:
                return spec

    # Structure.

    def _can(self, mix: tuple[str, ...]) -> tuple[str, ...]:
        """Leaves out of a mix what the locales have not the names for."""
        lacking = set() if self._units else {"unit"}
        if not {"territory", "language"} <= self._names.keys():
            lacking |= {"locale"} | ({"name"} if mix is _LONG else set())
        return tuple(family for family in mix if family not in lacking)

    def _single(self, draw: Draw) -> Spec:
        if draw.split == "train" and draw.chance(0.1):
            style = draw.among(tuple(self._names))
            return Spec("name", style, (draw.among(self._names[style]),))
        return self._maker(draw, draw.among(self._singles))()

    def _several(self, draw: Draw, n: int) -> Spec:
        family = draw.among(self._listed)
        style = self._list_style(draw, family)
        if family == "name":
            return self._name_list(draw, style, draw.among(tuple(self._names)), n)
        make = self._maker(draw, family)
        return Spec("list", style, tuple(_different(make, n)))

    def _long(self, draw: Draw) -> Spec:
        family = draw.among(self._long_lists)
        if family == "datetimes":
            return self._maker(draw, family)()
        style = self._list_style(draw, family)
        if family == "name":
            names = draw.among(STYLES["name"][:2])
            return self._name_list(draw, style, names, 7 + draw.below(6))
        make = self._maker(draw, family)
        wanted = LONG + draw.below(LONGEST - LONG - 5)
        items: list[Spec] = []
        size = 0
        while size < wanted:
            item = make()
            if item not in items:
                items.append(item)
                size += count_units(self.source.pieces(item)) + 1
        return Spec("list", style, tuple(items))

    def _list_style(self, draw: Draw, family: str) -> str:
        """The style "unit", which may have no comma, is for amounts only."""
        return draw.among(self._lists if family == "unit" else self._lists[:2])

    def _name_list(self, draw: Draw, style: str, names: str, n: int) -> Spec:
        while True:
            codes = draw.several(self._names[names], n)
            if names in ("month", "weekday"):
                codes.sort()
            if values.split_of("names", f"{names} {codes}") == draw.split:
                items = tuple(Spec("name", names, (code,)) for code in codes)
                return Spec("list", style, items)

    # Items. A maker has drawn what a list's items share; each call draws the rest.

    def _maker(self, draw: Draw, family: str) -> Maker:
        style = draw.among(STYLES[family])
        if family in ("date", "day", "month", "quarter", "time"):
            if family == "time":
                return lambda: Spec(family, style, (_to_the_second(draw, style),))
            return lambda: Spec(family, style, (draw.value(family),))
        if family in ("dates", "months", "times"):
            return lambda: Spec(family, style, draw.ends(family[:-1]))
        if family == "datetime":
            return lambda: Spec(family, style, (_at(draw, draw.value("date")),))
        if family == "datetimes":
            return lambda: Spec(
                family, style, tuple(_at(draw, d) for d in draw.ends("date"))
            )
        if family == "locale":
            return lambda: Spec(family, style, self._language_and_territory(draw))
        return self._amounts(draw, family, style)

    def _amounts(self, draw: Draw, family: str, style: str) -> Maker:
        decimals = draw.among((0, 0, 1, 2))
        if family == "number":
            return lambda: Spec(family, style, (draw.number(decimals=decimals),))
        codes = self._units if family == "unit" else self._currencies
        one = draw.among(codes) if draw.chance(0.5) else None

        def make() -> Spec:
            code = one or draw.among(codes)
            places = decimals
            if family == "price":
                places = min(decimals, numbers.get_currency_precision(code))
            return Spec(family, style, (code, draw.number(decimals=places)))

        return make

    def _language_and_territory(self, draw: Draw) -> tuple[str, str]:
        while True:
            codes = (
                draw.among(self._names["language"]),
                draw.among(self._names["territory"]),
            )
            if values.split_of("names", f"locale {codes}") == draw.split:
                return codes


def _weighted(**weights: int) -> tuple[str, ...]:
    return tuple(family for family, n in weights.items() for _ in range(n))


_SINGLES = _weighted(
    date=6, month=1, day=1, quarter=2, time=2, datetime=3, dates=4, months=1, times=2,
    datetimes=2, number=1, unit=4, price=3, locale=2,
)  # fmt: skip
_LISTED = _weighted(
    date=6, month=1, day=1, quarter=2, time=1, number=1, unit=4, price=2, locale=2,
    name=4,
)  # fmt: skip
_LONG = _weighted(
    date=5, datetime=3, dates=3, datetimes=5, months=1, times=1, quarter=1, unit=3,
    price=2, locale=2, name=2,
)  # fmt: skip


_MIXES = (_SINGLES, _LISTED, _LONG)

# How many names of a kind both locales must have; some of CLDR's hold few.
_NAMES = {"territory": 20, "language": 20, "month": 12, "weekday": 7}


def _different(make: Maker, n: int) -> list[Spec]:
    items: list[Spec] = []
    while len(items) < n:
        item = make()
        if item not in items:
            items.append(item)
    return items


def _at(draw: Draw, day: Any) -> Any:
    """A date with a time."""
    return values.datetime.datetime.combine(day, draw.value("time"))


def _to_the_second(draw: Draw, style: str) -> Any:
    time = draw.value("time")
    return time.replace(second=draw.below(60)) if style == "medium" else time
