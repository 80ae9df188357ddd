"""Babel's locales, each with its own copy of the data."""

import copy
import functools
from typing import Any

from babel import Locale, localedata


@functools.cache
def open_locale(name: str) -> Locale:
    """Opens a locale whose data are shared with no other locale.

    Babel 2.18 resolves inherited aliases in data that all locales share, so names
    depend on which locale was used first in the process: after Japanese, stand-alone
    French months are Japanese (python-babel/babel#1234). The data set must not depend
    on that, so the data are loaded again and copied.

    Args:
      name: a Babel identifier such as "en" or "pt_BR".

    Raises:
      ValueError: if the name is no locale identifier.
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
