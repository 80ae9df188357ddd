"""Babel's locales, each with data of its own."""

import copy
import functools
from typing import Any

from babel import Locale, localedata


@functools.cache
def open_locale(name: str) -> Locale:
    """Opens a locale whose data no other locale shares.

    Babel 2.18 writes what an inherited alias stands for into data that all locales
    share, so that names depend on which locale was used first in the process: after
    Japanese, French months by themselves are Japanese (python-babel/babel#1234).
    Data must not depend on that, so they are read anew and copied.

    Args:
      name: a Babel identifier such as "en" or "pt_BR".

    Raises:
      ValueError: if it is no identifier.
      babel.UnknownLocaleError: if Babel has no such locale.
    """
    locale = Locale.parse(name)
    with localedata._cache_lock:
        kept = dict(localedata._cache)
        localedata._cache.clear()
        try:
            data: Any = copy.deepcopy(localedata.load(str(locale)))
        finally:
            localedata._cache.clear()
            localedata._cache.update(kept)
    setattr(locale, "_Locale__data", localedata.LocaleDataDict(data))  # noqa: B010
    return locale
