"""One phrase for each source: what two styles print alike is said in the first.

"May 3, 2024" is both the long and the medium English date, of which Japanese makes
2024年5月3日 and 2024/05/03. A source must have one translation.
"""

import functools
import re
from decimal import Decimal
from typing import Any

from experiments.datasets.cldr import patterns
from experiments.datasets.cldr.fields import STYLES, Formatter, Spec
from experiments.datasets.cldr.segment import text_of

SAMPLES = tuple(map(Decimal, ("0", "1", "2", "5", "11", "21", "1.5")))


class Canonical:
    """Gives each phrase in one locale the first style that prints it so."""

    def __init__(self, formatter: Formatter):
        self.formatter = formatter
        self._rivals = functools.cache(self._find_rivals)

    def __call__(self, spec: Spec) -> Spec:
        """Gives the spec, or one that prints the same text, in an earlier style."""
        if spec.family == "list":
            items = tuple(map(self, spec.values))
            rivals = self._rivals("list", spec.style, len(items))
            return Spec("list", (*rivals, spec.style)[0], items)
        of = spec.values[0] if spec.family in ("unit", "price") else None
        for style in self._rivals(spec.family, spec.style, of):
            same = spec._replace(style=style)
            if of is not None or self._text(same) == self._text(spec):
                return same
        return spec

    def _text(self, spec: Spec) -> str:
        return text_of(self.formatter.pieces(spec))

    def _find_rivals(self, family: str, style: str, of: Any) -> tuple[str, ...]:
        """Earlier styles that might print something as this one does."""
        styles = STYLES[family]
        earlier = styles[: styles.index(style)]
        if not earlier or family in ("name", "number", "time"):
            return ()
        shape = self._shape(family, style, of)
        return tuple(
            s for s in earlier if not shape.isdisjoint(self._shape(family, s, of))
        )

    def _shape(self, family: str, style: str, of: Any) -> set[str]:
        """What two styles of a family share if they can print alike."""
        locale = self.formatter.locale
        if family == "list":
            usable = style in self.formatter.list_styles()
            return {patterns.list_pattern(locale, style, of)} if usable else set()
        if family in ("unit", "price"):
            return {self._text(Spec(family, style, (of, n))) for n in SAMPLES}
        if family in ("dates", "months") and style != "full":
            parts = patterns.interval_formats(locale, style).values()
            return {_without_widths("".join(halves)) for halves in parts}
        joint = patterns.datetime_pattern(locale, style) if "time" in family else ""
        return {joint + _without_widths(patterns.date_pattern(locale, style))}


def _without_widths(pattern: str) -> str:
    """A pattern that forgets whether its months and weekdays are short or long."""
    return re.sub(r"(\w)\1+", r"\1", pattern).replace("L", "M").replace("c", "E")
