"""N-best lists in the format of Moses: `id ||| hypothesis ||| features ||| score`.

The id is the line of the source, from 0. Features are `Name= value value ...`. The
lists that `decode` writes have no features: `id ||| hypothesis ||| score`.

Moses escapes the text it is trained on, `|` as `&#124;` and `&` as `&amp;`, so that its
lists have no word `|||`. A run reads text that was not escaped, or tokens such as
`&apos;` that its training text had too: nothing but that word is escaped and unescaped
here, and the lists of other systems are scored as they are written.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.datasets.text_files import read_lines, require_file
from experiments.errors import UserError

_ID = re.compile(r"[0-9]{1,18}")  # Python converts no more than 4,300 digits
_SEPARATOR = re.compile(r"(?:^|\s)\|\|\|(?=\s|$)")  # "a|||b" is a word
_BARS = "&#124;" * 3
_BARE = re.compile(rf"(?<!\S)(?:\|\|\||&(?:amp;)*{_BARS[1:]})(?!\S)")
_ESCAPED = re.compile(rf"(?<!\S)&(?:amp;)*{_BARS[1:]}(?!\S)")
_FEATURE_NAME = re.compile(r"[^\s=|]+")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of an n-best list.

    Attributes:
      id: line of the source, from 0.
      text: the hypothesis, not escaped; empty if the translation is.
      features: as they are written.
      score: what the list is ranked by, the higher the better, as it is written; None
        if there is none.
      rest: further fields, such as alignments.
      line: the number of the line, from 1.
    """

    id: int
    text: str
    features: str = ""
    score: str | None = None
    rest: tuple[str, ...] = ()
    line: int = 0


def escape(text: str) -> str:
    """Escapes each word `|||`, which would end its field, as Moses does.

    A word that looks like an escaped one has its `&` escaped. All else stays as it is.

    Example:
      >>> escape("a ||| b|c &apos;")
      'a &#124;&#124;&#124; b|c &apos;'
      >>> unescape(escape("&#124;&#124;&#124;"))
      '&#124;&#124;&#124;'
    """
    return _BARE.sub(
        lambda m: _BARS if m[0] == "|||" else m[0].replace("&", "&amp;", 1), text
    )


def unescape(text: str) -> str:
    """Returns the text that `escape` was given."""
    return _ESCAPED.sub(
        lambda m: "|||" if m[0] == _BARS else m[0].replace("&amp;", "&", 1), text
    )


def read_nbest(path: Path, *, sources: int) -> list[Entry]:
    """Reads an n-best list; ids may be missing, and in any order.

    Args:
      path: the file; gzip is recognised.
      sources: number of lines of the source.

    Returns:
      The entries, in the order of the file.

    Raises:
      UserError: naming the first line that is no entry, or is of no source.
    """
    lines = enumerate(read_lines(require_file(path)), start=1)
    entries = [_parse(path, number, line) for number, line in lines]
    for entry in entries:
        if entry.id >= sources:
            raise UserError(
                f"{path}: expected ids from 0 to {sources - 1}, one for each line of "
                f"the source, got {entry.id} in line {entry.line} (ids count from 0; "
                "is it the list of another source?)"
            )
    return entries


def _parse(path: Path, number: int, line: str) -> Entry:
    """Parses one line."""
    identity, *fields = (field.strip() for field in _SEPARATOR.split(line))
    if not fields or not _ID.fullmatch(identity):
        shown = line if len(line) <= 40 else f"{line[:40]}..."
        raise UserError(
            f"{path}: expected 'id ||| hypothesis ||| features ||| score' with an id "
            f"from 0, got {shown!r} in line {number}"
        )
    text, *fields = fields
    features, score, rest = "", None, tuple(fields[2:])
    if len(fields) == 1 and _number(fields[0]) is not None:
        score = fields[0]
    elif fields:
        features, score = fields[0], (fields[1] if len(fields) > 1 else None)
    if score is not None and _number(score) is None:
        raise UserError(
            f"{path}: expected a finite score in the fourth field, got {score!r} in "
            f"line {number}"
        )
    return Entry(int(identity), unescape(text), features, score, rest, number)


def _number(text: str) -> float | None:
    """Returns the finite number that a text is, if it is one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def check_entries(
    path: Path, entries: Sequence[Entry], *, feature: str, weight: float | None
) -> None:
    """Checks that a feature can be added to entries, and their scores interpolated.

    Args:
      path: the file of the entries.
      entries: its content.
      feature: name of the feature.
      weight: as of `interpolate`; None interpolates nothing.

    Raises:
      UserError: if an entry has such a feature, or lacks a score that is needed.
    """
    taken = re.compile(rf"(?:^|\s){re.escape(feature)}=")
    for entry in entries:
        if taken.search(entry.features):
            raise UserError(
                f"{path}: expected no feature named {feature}, got one in line "
                f"{entry.line} (choose another name with --feature)"
            )
        if entry.score is None and weight is not None and weight < 1:
            raise UserError(
                f"{path}: expected a score in the fourth field, got none in line "
                f"{entry.line} (with --weight 1 none is needed)"
            )


def add_feature(
    entries: Sequence[Entry], name: str, values: Sequence[float]
) -> list[Entry]:
    """Adds a feature to every entry."""
    return [
        dataclasses.replace(
            entry, features=f"{entry.features} {name}= {value:.4f}".lstrip()
        )
        for entry, value in zip(entries, values, strict=True)
    ]


def check_feature(name: str) -> None:
    """Checks the name of a feature.

    Raises:
      UserError: if it has characters that the format gives a meaning.
    """
    if not _FEATURE_NAME.fullmatch(name):
        raise UserError(
            f"feature: expected a name without blanks, = and |, got {name!r}"
        )


def interpolate(
    entries: Sequence[Entry], values: Sequence[float], weight: float
) -> list[Entry]:
    """Ranks each list anew, by (1 - weight) * score + weight * value.

    Returns:
      The entries with the new scores, in the order of ids, the best first; of equal
      scores the one that was first.
    """
    scored = []
    for entry, value in zip(entries, values, strict=True):
        score = weight * value + (1 - weight) * float(entry.score or 0)
        scored.append((score, dataclasses.replace(entry, score=f"{score:.4f}")))
    scored.sort(key=lambda pair: (pair[1].id, -pair[0]))
    return [entry for _, entry in scored]


def best_texts(entries: Iterable[Entry], *, sources: int) -> list[str]:
    """Returns the first hypothesis of each source; "" where there is none."""
    texts = [""] * sources
    seen = set()
    for entry in entries:
        if entry.id not in seen:
            seen.add(entry.id)
            texts[entry.id] = entry.text
    return texts


def format_entry(entry: Entry) -> str:
    """Writes an entry as a line."""
    score = () if entry.score is None else (entry.score,)
    text = escape(entry.text)
    fields = (str(entry.id), text, entry.features, *score, *entry.rest)
    return " ||| ".join(fields)
