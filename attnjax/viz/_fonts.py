"""Font fallback: chooses font families that cover the characters of a text.

matplotlib draws each character with the first family of a list that has it. Its own
DejaVu Sans is the first choice. For Chinese, Japanese and Korean, the font of the
package matplotlib-fontja and common system fonts follow. The package is not imported,
because that would change the user's settings: only its font file is used.
"""

import functools
import importlib.util
import warnings
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

_FIRST = "DejaVu Sans"  # bundled with matplotlib
_FALLBACKS = (  # the first family with a missing character draws it
    "IPAexGothic",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans",
    "Hiragino Sans",
    "Yu Gothic",
    "Meiryo",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
    "NanumGothic",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Hebrew",
    "Noto Sans Thai",
    "FreeSans",
)
_warned: set[str] = set()


def families_for(texts: Iterable[str]) -> tuple[list[str], frozenset[str]]:
    """Chooses the font families that draw some texts.

    Warns once about each character that no installed font has.

    Returns:
      The families in order of preference, and the characters that none of them has.
    """
    missing = {c for text in texts for c in text if not c.isspace()}
    families = []
    for family in (_FIRST, *_FALLBACKS):
        if drawn := missing & _characters(family):
            families.append(family)
            missing -= drawn
        if not missing:
            break
    if unseen := sorted(missing - _warned):
        _warned.update(unseen)
        sample = "".join(unseen[:8]) + ("..." if len(unseen) > 8 else "")
        warnings.warn(
            f"no installed font has {len(unseen)} of the characters ({sample}); "
            "they are drawn as □ (for Chinese and Japanese: "
            "pip install matplotlib-fontja; for more: a Noto Sans CJK font)",
            stacklevel=4,
        )
    return families or [_FIRST], frozenset(missing)


def printable(text: str, missing: frozenset[str], longest: int) -> str:
    """Returns a text with □ for missing characters, truncated to `longest`."""
    shown = "".join("□" if c in missing or not c.isprintable() else c for c in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@functools.cache
def _characters(family: str) -> frozenset[str]:
    """Returns the characters of a family; none if it is not installed."""
    if family == "IPAexGothic":
        _add_packaged_font()
    if not any(font.name == family for font in font_manager.fontManager.ttflist):
        return frozenset()
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # listed, but missing or unreadable
        return frozenset()


def _add_packaged_font() -> None:
    package = importlib.util.find_spec("matplotlib_fontja")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "fonts" / "ipaexg.ttf"
        if file.is_file():
            font_manager.fontManager.addfont(file)
            return
