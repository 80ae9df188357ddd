"""Made-up words with rules of spelling, which need no file: for trials and tests.

Letters are read from left to right. Some pairs are one sound ("sh"), one letter is two
("x"), and an "e" at the end is silent but changes the vowel before it ("kat", "kate"),
so that a reader must look ahead.
"""

import dataclasses

import numpy as np

from experiments.datasets.readings.datasets import SPLITS, Entry, ReadingDataset
from experiments.errors import UserError

_ONSETS = {letter: (letter.upper(),) for letter in "bdfgklmnprstvz"} | {
    **{"sh": ("SH",), "ch": ("CH",), "th": ("TH",), "ph": ("F",), "c": ("K",)},
    **{"x": ("K", "S"), "st": ("S", "T"), "ck": ("K",)},
}
_SHORT = {"a": "AE", "e": "EH", "i": "IH", "o": "AA", "u": "AH"}
_LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeUpWords(ReadingDataset):
    """Made-up words of one to three syllables; no word is in two splits."""

    train: int = 2_000
    """Number of training words."""
    validation: int = 100
    """Number of words for validation."""
    test: int = 100
    """Number of test words."""
    split_seed: int = 0
    """Seed of the words."""

    def load(self, split: str) -> list[Entry]:
        """See `ReadingDataset`."""
        sizes = {name: getattr(self, name) for name in SPLITS}
        if split not in SPLITS:
            raise UserError(
                f"split: expected one of {', '.join(SPLITS)}, got {split!r}"
            )
        if min(sizes.values()) < 1 or sum(sizes.values()) > 20_000:
            raise UserError(
                "data: expected 1 to 20,000 made-up words, at least one in each split, "
                f"got {sizes}"
            )
        entries = list(_words(self.split_seed, sum(sizes.values())).values())
        start = sum(sizes[name] for name in SPLITS[: SPLITS.index(split)])
        return entries[start : start + sizes[split]]


def _words(seed: int, count: int) -> dict[str, Entry]:
    """Makes different words, in the order in which they are drawn."""
    rng = np.random.default_rng(seed)
    found: dict[str, Entry] = {}
    onsets, vowels = list(_ONSETS), list(_SHORT)
    while len(found) < count:
        letters, phones = "", []
        for _ in range(rng.integers(1, 4)):
            onset, vowel = onsets[rng.integers(len(onsets))], vowels[rng.integers(5)]
            letters += onset + vowel
            phones += [*_ONSETS[onset], _SHORT[vowel]]
        coda = onsets[rng.integers(len(onsets))]
        letters += coda
        if rng.random() < 0.4:
            phones[-1] = _LONG[vowel]
            letters += "e"
        phones += _ONSETS[coda]
        found[letters] = Entry(tuple(letters), (tuple(phones),))
    return found
