"""One style per source text, so that a source has exactly one translation.

"May 3, 2024" is both the long and the medium English date, and in Japanese 2024年5月3日
or 2024/05/03. Where two styles print the same source text, the first one is used.
"""

import functools
import re
from decimal import Decimal
from typing import Any

from experiments.datasets.cldr import patterns
from experiments.datasets.cldr.formatter import STYLES, Formatter, Spec
from experiments.datasets.cldr.pretokenization import join_text

# One number or more of each of the usual plural categories.
SAMPLES = tuple(map(Decimal, ("0", "1", "2", "5", "11", "21", "1.5")))


class Canonicalizer:
    """Replaces the style of a spec by the first one that prints the same text."""

    def __init__(self, formatter: Formatter):
        self.formatter = formatter
        self._rivals = functools.cache(self._find_rivals)

    def __call__(self, spec: Spec) -> Spec:
        """Returns the spec, or one in an earlier style that prints the same text."""
        if spec.family == "list":
            items = tuple(map(self, spec.values))
            rivals = self._rivals("list", spec.style, len(items))
            return Spec("list", (*rivals, spec.style)[0], items)
        # The unit or currency: whether two styles agree depends on nothing else.
        of = spec.values[0] if spec.family in ("unit", "price") else None
        for style in self._rivals(spec.family, spec.style, of):
            same = spec._replace(style=style)
            if of is not None or self._text(same) == self._text(spec):
                return same
        return spec

    def _text(self, spec: Spec) -> str:
        return join_text(self.formatter.spans(spec))

    # Comparing texts of all styles would format every phrase several times. Comparing
    # patterns once per style leaves few candidates, often none.
    def _find_rivals(self, family: str, style: str, of: Any) -> tuple[str, ...]:
        """Returns the earlier styles that may print the same text as this one."""
        styles = STYLES[family]
        earlier = styles[: styles.index(style)]
        if not earlier or family in ("name", "number", "time"):
            return ()
        shape = self._shape(family, style, of)
        return tuple(
            s for s in earlier if not shape.isdisjoint(self._shape(family, s, of))
        )

    def _shape(self, family: str, style: str, of: Any) -> set[str]:
        """Returns patterns or samples; two styles without a common one never agree."""
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
    """Returns a pattern without the widths of its fields.

    "Mar" and "March" differ but "May" is both, so a width tells no two styles apart.
    """
    return re.sub(r"(\w)\1+", r"\1", pattern).replace("L", "M").replace("c", "E")
