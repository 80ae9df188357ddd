"""The distribution of phrases, sampled independently of any language.

Phrase i of a split is a pure function of (pair, split, seed, i) and of Babel's CLDR.
45 % of all phrases are single dates, times, intervals, amounts and the like, 20 % are
lists of two or three, and 35 % have 20 tokens or more: long lists, and intervals of
dates with times.
"""

from collections.abc import Callable
from typing import Any

from babel import numbers

from experiments.datasets.cldr import entities, links, values
from experiments.datasets.cldr.canonicalization import Canonicalizer
from experiments.datasets.cldr.formatter import STYLES, Formatter, Spec
from experiments.datasets.cldr.pretokenization import count_tokens, pretokenize
from experiments.datasets.cldr.values import Sampler

LONG, LONGEST = 20, 30  # tokens of a long phrase
SHORT_SHARE, LIST_SHARE = 0.45, 0.2

ItemSampler = Callable[[], Spec]  # samples another item of the same kind


class Phrases:
    """Samples phrases for a pair of locales and formats them in both."""

    def __init__(self, source: str, target: str):
        self.source, self.target = Formatter(source), Formatter(target)
        both = (self.source, self.target)
        names = {style: entities.shared_names(style, *both) for style in STYLES["name"]}
        self._names = {k: v for k, v in names.items() if len(v) >= _NAMES[k]}
        self._units, self._currencies = entities.shared_measures(*both)
        self._canonical = Canonicalizer(self.source)
        target_lists = self.target.list_styles()
        self._lists = [s for s in self.source.list_styles() if s in target_lists]
        self._singles, self._listed, self._long_lists = map(self._supported, _MIXES)

    def pair(self, split: str, seed: int, index: int) -> tuple[str, str, str]:
        """Makes one example.

        Args:
          split: "train", "validation" or "test".
          seed: seed of the whole data set.
          index: index of the example in its split.

        Returns:
          Source, target, and gold alignment in Pharaoh format.
        """
        spec = self.spec(split, seed, index)
        source, target = self.source.spans(spec), self.target.spans(spec)
        one, two = pretokenize(source), pretokenize(target)
        gold = links.align(source, one, target, two)
        return " ".join(one.texts), " ".join(two.texts), gold

    def spec(self, split: str, seed: int, index: int) -> Spec:
        """Samples the phrase of an index, before any language formats it."""
        sampler = Sampler(split, f"{seed} {index}")
        short = sampler.bernoulli(SHORT_SHARE)
        several = sampler.bernoulli(LIST_SHARE / (1 - SHORT_SHARE))
        # The kind is sampled once, outside the loop: otherwise rejection would change
        # the shares of the kinds.
        while True:
            if short:
                spec = self._single(sampler)
            elif several:
                spec = self._several(sampler, 2 + sampler.integer(2))
            else:
                spec = self._long(sampler)
            spec = self._canonical(spec)
            size = count_tokens(self.source.spans(spec))
            longer = max(size, count_tokens(self.target.spans(spec)))
            if size >= (1 if short or several else LONG) and longer <= LONGEST:
                return spec

    # Structure.

    def _supported(self, mix: tuple[str, ...]) -> tuple[str, ...]:
        """Drops from a mix the families for which the locales lack names."""
        lacking = set() if self._units else {"unit"}
        if not {"territory", "language"} <= self._names.keys():
            lacking |= {"locale"} | ({"name"} if mix is _LONG else set())
        return tuple(family for family in mix if family not in lacking)

    def _single(self, sampler: Sampler) -> Spec:
        # A single name has no value to hold out, so it is a phrase in training only.
        if sampler.split == "train" and sampler.bernoulli(0.1):
            style = sampler.choice(tuple(self._names))
            return Spec("name", style, (sampler.choice(self._names[style]),))
        return self._item_sampler(sampler, sampler.choice(self._singles))()

    def _several(self, sampler: Sampler, n: int) -> Spec:
        family = sampler.choice(self._listed)
        style = self._list_style(sampler, family)
        if family == "name":
            return self._name_list(
                sampler, style, sampler.choice(tuple(self._names)), n
            )
        sample = self._item_sampler(sampler, family)
        return Spec("list", style, tuple(_different(sample, n)))

    def _long(self, sampler: Sampler) -> Spec:
        family = sampler.choice(self._long_lists)
        if family == "datetimes":
            return self._item_sampler(sampler, family)()
        style = self._list_style(sampler, family)
        if family == "name":
            names = sampler.choice(STYLES["name"][:2])
            return self._name_list(sampler, style, names, 7 + sampler.integer(6))
        sample = self._item_sampler(sampler, family)
        # Add items until the list is long; `spec` rejects lists that are too long.
        wanted = LONG + sampler.integer(LONGEST - LONG - 5)
        items: list[Spec] = []
        size = 0
        while size < wanted:
            item = sample()
            if item not in items:
                items.append(item)
                size += count_tokens(self.source.spans(item)) + 1
        return Spec("list", style, tuple(items))

    def _list_style(self, sampler: Sampler, family: str) -> str:
        """Samples a style; "unit", which may have no comma, is for amounts only."""
        return sampler.choice(self._lists if family == "unit" else self._lists[:2])

    def _name_list(self, sampler: Sampler, style: str, names: str, n: int) -> Spec:
        while True:
            codes = sampler.choices(self._names[names], n)
            if names in ("month", "weekday"):
                codes.sort()
            if values.split_of("names", f"{names} {codes}") == sampler.split:
                items = tuple(Spec("name", names, (code,)) for code in codes)
                return Spec("list", style, items)

    # Items of a list. An ItemSampler has sampled what all items share (style, unit);
    # each call samples the rest.

    def _item_sampler(self, sampler: Sampler, family: str) -> ItemSampler:
        style = sampler.choice(STYLES[family])
        if family in ("date", "day", "month", "quarter", "time"):
            if family == "time":
                return lambda: Spec(family, style, (_to_the_second(sampler, style),))
            return lambda: Spec(family, style, (sampler.value(family),))
        if family in ("dates", "months", "times"):
            return lambda: Spec(family, style, sampler.interval(family[:-1]))
        if family == "datetime":
            return lambda: Spec(family, style, (_at(sampler, sampler.value("date")),))
        if family == "datetimes":
            return lambda: Spec(
                family, style, tuple(_at(sampler, d) for d in sampler.interval("date"))
            )
        if family == "locale":
            return lambda: Spec(family, style, self._language_and_territory(sampler))
        return self._amounts(sampler, family, style)

    def _amounts(self, sampler: Sampler, family: str, style: str) -> ItemSampler:
        decimals = sampler.choice((0, 0, 1, 2))
        if family == "number":
            return lambda: Spec(family, style, (sampler.number(decimals=decimals),))
        codes = self._units if family == "unit" else self._currencies
        one = sampler.choice(codes) if sampler.bernoulli(0.5) else None

        def sample() -> Spec:
            code = one or sampler.choice(codes)
            places = decimals
            if family == "price":
                places = min(decimals, numbers.get_currency_precision(code))
            return Spec(family, style, (code, sampler.number(decimals=places)))

        return sample

    def _language_and_territory(self, sampler: Sampler) -> tuple[str, str]:
        while True:
            codes = (
                sampler.choice(self._names["language"]),
                sampler.choice(self._names["territory"]),
            )
            if values.split_of("names", f"locale {codes}") == sampler.split:
                return codes


def _repeated(**counts: int) -> tuple[str, ...]:
    """Repeats each family, so that a uniform choice has these proportions."""
    return tuple(family for family, n in counts.items() for _ in range(n))


_SINGLES = _repeated(
    date=6, month=1, day=1, quarter=2, time=2, datetime=3, dates=4, months=1, times=2,
    datetimes=2, number=1, unit=4, price=3, locale=2,
)  # fmt: skip
_LISTED = _repeated(
    date=6, month=1, day=1, quarter=2, time=1, number=1, unit=4, price=2, locale=2,
    name=4,
)  # fmt: skip
_LONG = _repeated(
    date=5, datetime=3, dates=3, datetimes=5, months=1, times=1, quarter=1, unit=3,
    price=2, locale=2, name=2,
)  # fmt: skip


_MIXES = (_SINGLES, _LISTED, _LONG)

# Number of names that both locales must have; some locales of CLDR have few.
_NAMES = {"territory": 20, "language": 20, "month": 12, "weekday": 7}


def _different(sample: ItemSampler, n: int) -> list[Spec]:
    """Samples until there are n different items."""
    items: list[Spec] = []
    while len(items) < n:
        item = sample()
        if item not in items:
            items.append(item)
    return items


def _at(sampler: Sampler, day: Any) -> Any:
    """Adds a sampled time to a date."""
    return values.datetime.datetime.combine(day, sampler.value("time"))


def _to_the_second(sampler: Sampler, style: str) -> Any:
    time = sampler.value("time")
    return time.replace(second=sampler.integer(60)) if style == "medium" else time
