"""Gold word alignments, derived from the fields that both sides were printed from.

Tokens of a field on one side are linked with tokens of the same field on the other:

- equal numbers: digit k to digit k, sure. A leading zero and the separators are
  possible with the digits beside them.
- converted numbers (3 PM to 15) and day periods (AM, PM): possible with the whole hour
  of the other side.
- a name of one word: sure with every word of the other side's name. A number in place
  of a name (5 for May) is treated as the name.
- names of several words: equal words are sure, all other combinations possible.

A field that is printed more than once is linked copy by copy.

Literals are the text of the patterns themselves, and fields that the other side does
not print. A literal belongs to the fields to its left and right. It is possible with
the literals of the same fields on the other side. A literal of the target is also
possible with the tokens of these fields; so is one of the source if the other side has
no such literal. Hence every token has a link, only fields have sure links, and no token
of the target has two sure links unless a word is repeated.
"""

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Sequence, Set

from experiments.datasets.cldr.pretokenization import Span, Tokens, strip_marks

Links = dict[tuple[int, int], bool]  # (source, target) -> sure?


def align(
    source: Sequence[Span],
    source_tokens: Tokens,
    target: Sequence[Span],
    target_tokens: Tokens,
) -> str:
    """Aligns the tokens of a phrase with those of its translation.

    Args:
      source: the spans of the source phrase.
      source_tokens: its tokens.
      target: the spans of the target phrase.
      target_tokens: its tokens.

    Returns:
      Links in Pharaoh format: "i-j" sure, "ipj" possible; 0-based, source first.
    """
    one, two = _Side(source, source_tokens), _Side(target, target_tokens)
    links: Links = {}
    # The set's order is arbitrary, but the result does not depend on it: a sure link
    # overrides a possible one, never the reverse, and the links are sorted.
    known = one.printed.keys() & two.printed.keys()
    for field in known:
        _link_field(links, one, two, field)
    _link_literals(links, one, two, known)
    written = sorted(links.items())
    return " ".join([f"{i}-{j}" if sure else f"{i}p{j}" for (i, j), sure in written])


class _Side:
    """One side: the tokens of each span, and the spans of each field."""

    def __init__(self, spans: Sequence[Span], tokens: Tokens):
        self.spans, self.tokens = spans, tokens
        self.at: list[list[int]] = [[] for _ in spans]
        for i, p in enumerate(tokens.spans):
            self.at[p].append(i)
        self.printed: dict[str, list[int]] = defaultdict(list)
        for p, span in enumerate(spans):
            if self.at[p]:
                for field in span.fields:
                    self.printed[field].append(p)

    def literals(self, known: Set[str]) -> list[tuple[list[int], set[str]]]:
        """Returns the tokens of spans without a known field, and the fields beside."""
        found: list[tuple[list[int], set[str]]] = []
        waiting: list[set[str]] = []  # literals since the last field
        last: Sequence[str] = ()
        for tokens, span in zip(self.at, self.spans, strict=True):
            if not tokens:
                continue
            fields = [field for field in span.fields if field in known]
            if fields:
                last = fields
                # The literals before this field belong to it too.
                for beside in waiting:
                    beside.update(fields)
                waiting = []
            else:
                waiting.append(set(last))
                found.append((tokens, waiting[-1]))
        return found


def _link_field(links: Links, one: _Side, two: _Side, field: str) -> None:
    """Links everything that both sides print of one field."""
    seen: dict[str, int] = defaultdict(int)
    for t in two.printed[field]:
        role = two.spans[t].role
        # Copy k of the target goes with copy k of the source, or with the last one.
        peers = [s for s in one.printed[field] if one.spans[s].role == role]
        copy, seen[role] = seen[role], seen[role] + 1
        for s in one.printed[field]:
            if peers and s == peers[min(copy, len(peers) - 1)]:
                _link_spans(links, one, s, two, t)
            else:
                _add(links, one.at[s], two.at[t])


def _link_spans(links: Links, one: _Side, s: int, two: _Side, t: int) -> None:
    """Links two spans that have the same field and the same role."""
    sources, targets = one.at[s], two.at[t]
    if one.spans[s].text == two.spans[t].text and one.spans[s].text.isdigit():
        links.update(dict.fromkeys(zip(sources, targets, strict=True), True))
        return
    texts = {i: strip_marks(one.tokens.texts[i]) for i in sources}
    others = {j: strip_marks(two.tokens.texts[j]) for j in targets}
    words = [i for i in sources if _is_word(texts[i])]
    if _is_number(one.spans[s].text) and _is_number(two.spans[t].text):
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
    """Links equal numbers digit by digit, from the right; False if they differ."""
    sources = [i for i, text in texts.items() if text.isdigit()]
    targets = [j for j, text in others.items() if text.isdigit()]
    number = "".join(texts[i] for i in sources).lstrip("0")
    if number != "".join(others[j] for j in targets).lstrip("0"):
        return False
    pairs = list(zip(sources[::-1], targets[::-1], strict=False))
    links.update(dict.fromkeys(pairs, True))
    # Leading zeros of the longer side go with the other side's first digit.
    _add(links, sources[: -len(pairs)], targets[:1])
    _add(links, sources[:1], targets[: -len(pairs)])
    # Separators go with the digits beside them, and with a separator between the same.
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
def _is_word(token: str) -> bool:
    """Tells whether a token holds a letter, digit or symbol, not only punctuation."""
    return any(unicodedata.category(char)[0] in "LNS" for char in token)


def _link_literals(links: Links, one: _Side, two: _Side, known: Set[str]) -> None:
    """Adds the possible links of literals, by the fields that they belong to."""
    sources = one.literals(known)
    unlinked = {i for tokens, _ in sources for i in tokens}
    for targets, beside in two.literals(known):
        for tokens, fields in sources:
            if not fields.isdisjoint(beside):
                _add(links, tokens, targets)
                unlinked.difference_update(tokens)
        # A literal of the target with all tokens of its fields, so that it has a link.
        for field in beside:
            for s in one.printed[field]:
                _add(links, one.at[s], targets)
    # A literal of the source only if it has no link yet.
    for tokens, fields in sources:
        if not unlinked.isdisjoint(tokens):
            for field in fields:
                for t in two.printed[field]:
                    _add(links, tokens, two.at[t])


def _add(links: Links, sources: Sequence[int], targets: Sequence[int]) -> None:
    """Adds possible links; a sure link stays sure."""
    for i in sources:
        for j in targets:
            links.setdefault((i, j), False)
