"""Fonts for words in any script: which families draw a text, and what none can.

matplotlib draws each character with the first font of a list that has it. Its
own DejaVu Sans comes first here; for Chinese, Japanese and Korean the Japanese
font of the package matplotlib-fontja (used as a file: importing the package would
change the user's settings) and the usual fonts of the systems follow.
"""

import functools
import importlib.util
import warnings
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

_FIRST = "DejaVu Sans"  # comes with matplotlib
_FALLBACKS = (  # the first that has a missing character draws it
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
    """Chooses the fonts that draw some texts.

    Warns once about each character that no installed font has.

    Returns:
      The families, in the order to try them, and the characters that none has.
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
            f"no font here has {len(unseen)} of the characters to draw ({sample}); "
            "a picture shows them as □ (for Chinese and Japanese: "
            "pip install matplotlib-fontja; for more: a Noto Sans CJK font)",
            stacklevel=4,
        )
    return families or [_FIRST], frozenset(missing)


def printable(text: str, missing: frozenset[str], longest: int) -> str:
    """A text as a picture shows it: without missing characters, and not too long."""
    shown = "".join("□" if c in missing or not c.isprintable() else c for c in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@functools.cache
def _characters(family: str) -> frozenset[str]:
    """What the font of a family can draw; nothing if there is no such font."""
    if family == "IPAexGothic":
        _add_packaged_font()
    if not any(font.name == family for font in font_manager.fontManager.ttflist):
        return frozenset()
    try:
        path = font_manager.findfont(family, fallback_to_default=False)
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # listed, but gone or unreadable
        return frozenset()


def _add_packaged_font() -> None:
    package = importlib.util.find_spec("matplotlib_fontja")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "fonts" / "ipaexg.ttf"
        if file.is_file():
            font_manager.fontManager.addfont(file)
            return
