"""Aligners: how a decoder state makes weights over the source positions.

An aligner is four small functions that a decoder cell takes as an argument. Swap the
aligner, and the same model has additive, dot-product, bilinear, local or
location-aware attention, or a cursor that advances with the target. `ALIGNERS` is the
table; add a row. "content" and "shift" are the addressing of a Neural Turing Machine's
head, whose tape `attnjax.cells.ntm` also writes to.

An aligner may carry something from one target position to the next: the weights of
the last step, the position of a window. One that carries nothing has the carry `()`.
"""

from attnjax.cells.aligners.addressing import Addressing as Addressing
from attnjax.cells.aligners.addressing import HeadParams as HeadParams
from attnjax.cells.aligners.addressing import content_addressing as content_addressing
from attnjax.cells.aligners.addressing import location_addressing as location_addressing
from attnjax.cells.aligners.base import Aligner as Aligner
from attnjax.cells.aligners.base import NoParams as NoParams
from attnjax.cells.aligners.base import Sizes as Sizes
from attnjax.cells.aligners.content import ADDITIVE as ADDITIVE
from attnjax.cells.aligners.content import BILINEAR as BILINEAR
from attnjax.cells.aligners.content import DOT as DOT
from attnjax.cells.aligners.content import AdditiveParams as AdditiveParams
from attnjax.cells.aligners.content import BilinearParams as BilinearParams
from attnjax.cells.aligners.graves import WindowParams as WindowParams
from attnjax.cells.aligners.graves import soft_window as soft_window
from attnjax.cells.aligners.local import LocalParams as LocalParams
from attnjax.cells.aligners.local import diagonal as diagonal
from attnjax.cells.aligners.local import local as local
from attnjax.cells.aligners.location import LocationParams as LocationParams
from attnjax.cells.aligners.location import location_aware as location_aware

ALIGNERS: dict[str, Aligner] = {
    "additive": ADDITIVE,
    "dot": DOT,
    "bilinear": BILINEAR,
    "local-p": local(),
    "location": location_aware(),
    "content": content_addressing(),
    "shift": location_addressing(),
    "window": soft_window(),
    "diagonal": diagonal(),
}
