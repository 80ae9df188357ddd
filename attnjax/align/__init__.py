"""Word alignments: extract, symmetrise, evaluate, read, write and use them.

A link is a pair (source position, target position), both from 0, as in the Pharaoh
format; attention weights are `[T, S]`, targets first, as everywhere in the library.
NumPy and the standard library only: nothing here is traced. Models compute alignments,
and `attnjax.viz` draws them.
"""

from attnjax.align._checks import check_alignment
from attnjax.align._links import (
    Alignment,
    AlignmentScore,
    Link,
    alignment,
    alignment_error_rate,
)
from attnjax.align._pharaoh import (
    format_pharaoh,
    parse_pharaoh,
    read_pharaoh,
    write_pharaoh,
)
from attnjax.align._symmetrise import symmetrise
from attnjax.align._weights import (
    hard_alignment,
    merge_subwords,
    replace_unknown,
    sparse_alignment,
)

__all__ = [
    "Alignment",
    "AlignmentScore",
    "Link",
    "alignment",
    "alignment_error_rate",
    "check_alignment",
    "format_pharaoh",
    "hard_alignment",
    "merge_subwords",
    "parse_pharaoh",
    "read_pharaoh",
    "replace_unknown",
    "sparse_alignment",
    "symmetrise",
    "write_pharaoh",
]
