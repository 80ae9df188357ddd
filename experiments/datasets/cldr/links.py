"""Gold word alignments, from the fields that both sides were made of.

Units of one field on one side and of the same field on the other are linked:

- equal numbers: digit k to digit k, sure. A leading zero and the separators are
  possible with the digits beside them.
- numbers that were converted (3 PM to 15), and what says the part of the day, are
  possible with the whole hour of the other side.
- a name of one word: sure with every word of the other side's name; a number that
  stands for a name (5 for May) counts as the name.
- names of several words: equal words are sure, the rest possible, all with all.

A field that is printed more than once is linked copy by copy.

Literals are what the patterns hold themselves, and fields that the other side
does not print. A literal accompanies the fields to its left and right. It is
possible with the literals that accompany one of them on the other side; a literal
of the target also with these fields' units, and so is one of the source if the
other side has no such literal. So every unit has a link; nothing but fields has
sure ones; and no unit of the target has two, unless a word was repeated.
"""

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Sequence, Set

from experiments.datasets.cldr.segment import Piece, Units, bare

Links = dict[tuple[int, int], bool]  # (source, target) -> sure?


def alignment(
    source: Sequence[Piece],
    source_units: Units,
    target: Sequence[Piece],
    target_units: Units,
) -> str:
    """Links the units of a phrase and its translation.

    Args:
      source: the pieces of the source phrase.
      source_units: its units.
      target: the pieces of the target phrase.
      target_units: its units.

    Returns:
      Links in Pharaoh format: "i-j" sure, "ipj" possible; 0-based, source first.
    """
    one, two = _Side(source, source_units), _Side(target, target_units)
    links: Links = {}
    known = one.printed.keys() & two.printed.keys()
    for field in known:
        _link_field(links, one, two, field)
    _link_literals(links, one, two, known)
    written = sorted(links.items())
    return " ".join([f"{i}-{j}" if sure else f"{i}p{j}" for (i, j), sure in written])


class _Side:
    """One side's units by piece, and pieces by field."""

    def __init__(self, pieces: Sequence[Piece], units: Units):
        self.pieces, self.units = pieces, units
        self.at: list[list[int]] = [[] for _ in pieces]
        for i, p in enumerate(units.pieces):
            self.at[p].append(i)
        self.printed: dict[str, list[int]] = defaultdict(list)
        for p, piece in enumerate(pieces):
            if self.at[p]:
                for field in piece.fields:
                    self.printed[field].append(p)

    def literals(self, known: Set[str]) -> list[tuple[list[int], set[str]]]:
        """Units of pieces without a known field, and the fields beside them."""
        found: list[tuple[list[int], set[str]]] = []
        waiting: list[set[str]] = []  # for the field after them
        last: Sequence[str] = ()
        for units, piece in zip(self.at, self.pieces, strict=True):
            if not units:
                continue
            fields = [field for field in piece.fields if field in known]
            if fields:
                last = fields
                for beside in waiting:
                    beside.update(fields)
                waiting = []
            else:
                waiting.append(set(last))
                found.append((units, waiting[-1]))
        return found


def _link_field(links: Links, one: _Side, two: _Side, field: str) -> None:
    """Links all that both sides print of one field."""
    seen: dict[str, int] = defaultdict(int)
    for t in two.printed[field]:
        role = two.pieces[t].role
        peers = [s for s in one.printed[field] if one.pieces[s].role == role]
        copy, seen[role] = seen[role], seen[role] + 1
        for s in one.printed[field]:
            if peers and s == peers[min(copy, len(peers) - 1)]:
                _link_pieces(links, one, s, two, t)
            else:
                _add(links, one.at[s], two.at[t])


def _link_pieces(links: Links, one: _Side, s: int, two: _Side, t: int) -> None:
    """Links two pieces that say the same of the same field."""
    sources, targets = one.at[s], two.at[t]
    if one.pieces[s].text == two.pieces[t].text and one.pieces[s].text.isdigit():
        links.update(dict.fromkeys(zip(sources, targets, strict=True), True))
        return
    texts = {i: bare(one.units.texts[i]) for i in sources}
    others = {j: bare(two.units.texts[j]) for j in targets}
    words = [i for i in sources if _is_word(texts[i])]
    if _is_number(one.pieces[s].text) and _is_number(two.pieces[t].text):
        if _link_digits(links, texts, others):
            return
    elif len(words) == 1:
        spoken = [j for j in targets if _is_word(others[j])]
        links.update({(words[0], j): True for j in spoken})
    else:
        links.update(
            {
                (i, j): True
                for i in sources
                for j in targets
                if texts[i].casefold() == others[j].casefold()
            }
        )
    _add(links, sources, targets)


def _link_digits(links: Links, texts: dict[int, str], others: dict[int, str]) -> bool:
    """Links a number digit by digit, from the right; False if the numbers differ."""
    sources = [i for i, text in texts.items() if text.isdigit()]
    targets = [j for j, text in others.items() if text.isdigit()]
    number = "".join(texts[i] for i in sources).lstrip("0")
    if number != "".join(others[j] for j in targets).lstrip("0"):
        return False
    pairs = list(zip(sources[::-1], targets[::-1], strict=False))
    links.update(dict.fromkeys(pairs, True))
    _add(links, sources[: -len(pairs)], targets[:1])
    _add(links, sources[:1], targets[: -len(pairs)])
    for i in texts.keys() - set(sources):
        _add(links, [i], [t for s, t in pairs if abs(s - i) == 1])
    for j in others.keys() - set(targets):
        _add(links, [s for s, t in pairs if abs(t - j) == 1], [j])
        beside = {s for s, t in pairs if abs(t - j) == 1}
        separators = texts.keys() - set(sources)
        _add(links, [i for i in separators if {i - 1, i + 1} <= beside], [j])
    return True


def _is_number(text: str) -> bool:
    return text[0].isdigit() and text[-1].isdigit()


@functools.cache
def _is_word(unit: str) -> bool:
    """Whether a unit says something: letters, digits, a currency's sign."""
    return any(unicodedata.category(char)[0] in "LNS" for char in unit)


def _link_literals(links: Links, one: _Side, two: _Side, known: Set[str]) -> None:
    sources = one.literals(known)
    lonely = {i for units, _ in sources for i in units}
    for targets, beside in two.literals(known):
        for units, fields in sources:
            if not fields.isdisjoint(beside):
                _add(links, units, targets)
                lonely.difference_update(units)
        for field in beside:
            for s in one.printed[field]:
                _add(links, one.at[s], targets)
    for units, fields in sources:
        if not lonely.isdisjoint(units):
            for field in fields:
                for t in two.printed[field]:
                    _add(links, units, two.at[t])


def _add(links: Links, sources: Sequence[int], targets: Sequence[int]) -> None:
    """Adds possible links; a sure link stays sure."""
    for i in sources:
        for j in targets:
            links.setdefault((i, j), False)
