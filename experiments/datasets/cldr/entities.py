"""CLDR codes of what phrases name: territories, languages, units and currencies."""

from decimal import Decimal
from typing import Any

from experiments.datasets.cldr.formatter import STYLES, Formatter, Spec
from experiments.datasets.cldr.pretokenization import join_text

_TERRITORIES = (
    "AR AT AU BE BR CA CH CL CN CR CZ DE DK EG ES FI FR GB GR HU ID IE IN IS IT JP KE "
    "KR LB MA MX NG NL NO NZ PE PH PL PT RO SA SE SN TH TR UA US VN ZA"
)
_LANGUAGES = (
    "ar bg cs da de el en es fa fi fr he hi hu id it ja ko nl pl pt ro ru sv sw ta th "
    "tr uk ur vi zh"
)
_CURRENCIES = "USD EUR JPY GBP CAD AUD CHF INR BRL MXN SEK"
_UNITS = (
    "length-kilometer length-meter length-centimeter mass-kilogram mass-gram "
    "volume-liter duration-year duration-week duration-day duration-hour "
    "duration-minute duration-second digital-gigabyte speed-kilometer-per-hour "
    "speed-meter-per-second area-square-meter area-square-kilometer "
    "temperature-celsius power-kilowatt energy-kilowatt-hour "
    "mass-gram/volume-liter mass-kilogram/volume-cubic-meter"
)
TERRITORIES, LANGUAGES = _TERRITORIES.split(), _LANGUAGES.split()
CURRENCIES, UNITS = _CURRENCIES.split(), _UNITS.split()


def shared_names(style: str, source: Formatter, target: Formatter) -> tuple[Any, ...]:
    """Returns the codes with a name in both locales; source names are unique."""
    codes: dict[str, Any] = {
        "territory": TERRITORIES,
        "language": LANGUAGES,
        "month": range(1, 13),
        "weekday": range(7),
    }
    found: dict[str, Any] = {}  # by name: a source must have one translation
    for code in codes[style]:
        name = source.name_of(style, code)
        if name and target.name_of(style, code):
            found.setdefault(name, code)
    return tuple(found.values())


def shared_measures(
    source: Formatter, target: Formatter
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns units and currencies of both locales; no two look alike in the source."""
    seen: set[str] = set()
    units, currencies = [], []
    for unit in UNITS:
        named = source.has_unit(unit) and target.has_unit(unit)
        if named and _is_new(_printed(source, "unit", unit), seen):
            units.append(unit)
    for currency in CURRENCIES:
        if _is_new(_printed(source, "price", currency), seen):
            currencies.append(currency)
    return tuple(units), tuple(currencies)


def _printed(source: Formatter, family: str, code: str) -> set[str]:
    """Returns what the source prints for a code, in every style and plural form."""
    return {
        join_text(source.spans(Spec(family, style, (code, Decimal(number)))))
        for style in STYLES[family]
        for number in ("1", "2", "5", "1.5")
    }


def _is_new(texts: set[str], seen: set[str]) -> bool:
    """Tells whether no text was seen before, and if so adds them to `seen`."""
    if not texts.isdisjoint(seen):
        return False
    seen |= texts
    return True
