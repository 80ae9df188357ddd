"""Error rates of readings: of words (WER), and of phones (PER)."""

from collections.abc import Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

Symbols = Sequence[str]


class ErrorRates(NamedTuple):
    """Fractions; a PER can be above 1."""

    wer: float
    per: float


def error_rates(
    outputs: Sequence[Symbols], references: Sequence[Sequence[Symbols]]
) -> ErrorRates:
    """Compares outputs with references, of which each input may have several.

    A word is right if it is one of its references. Its phone errors are the edits to
    the nearest reference, of equally near ones to the longest; they are summed over all
    words, and divided by the summed lengths of those references.

    Args:
      outputs: one for each input; may be empty.
      references: one or more for each input.

    Raises:
      ValueError: if there are no inputs, their numbers differ, or one has no reference.

    Example:
      >>> error_rates([["R", "EH"]], [[["R", "IY", "D"], ["R", "EH", "D"]]])
      ErrorRates(wer=1.0, per=0.3333333333333333)
    """
    if len(outputs) != len(references) or not outputs:
        raise ValueError(
            f"outputs: expected as many as references, at least one, got "
            f"{len(outputs)} and {len(references)}"
        )
    wrong = edits = length = 0
    for output, readings in zip(outputs, references, strict=True):
        distance, longest = min(
            (Levenshtein.distance(output, reading), -len(reading))
            for reading in readings
        )
        wrong += distance > 0
        edits += distance
        length -= longest
    return ErrorRates(wrong / len(outputs), edits / max(length, 1))
