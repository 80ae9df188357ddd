"""Aligners that address as a Neural Turing Machine's head does, and what heads emit."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.aligners.base import (
    Aligner,
    Sizes,
    Tree,
    Weighed,
    first_position,
)
from attnjax.cells.initializers import Initializers
from attnjax.core import addressing, precision
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory

# The recipe of Collier & Beel 2018 (arXiv:1807.08518): without it some seeds diverge.
CLIP = 20.0


class HeadParams(NamedTuple):
    """Parameters of the linear layer from a state to what a head emits."""

    w: Float[Array, "D P"]
    b: Float[Array, "P"]


class Addressing(NamedTuple):
    """What a head emits to address the tape: the arguments of `address`."""

    key: Float[Array, "M"]
    strength: Float[Array, ""]
    gate: Float[Array, ""]
    shift: Float[Array, "R"]
    exponent: Float[Array, ""]


def addressing_width(M: int, max_shift: int) -> int:
    """Counts the numbers that a head emits: key, strength, gate, exponent, shifts."""
    return M + 3 + 2 * max_shift + 1


@shaped
def to_addressing(emitted: Float[Array, "P"], *, tape_width: int) -> Addressing:
    r"""Brings the numbers that a head emits into their ranges.

    .. math::
        k = \tanh(\cdot), \quad \beta = \mathrm{softplus}(\cdot), \quad
        g = \sigma(\cdot), \quad s = \mathrm{softmax}(\cdot), \quad
        \gamma = 1 + \mathrm{softplus}(\cdot)

    of numbers clipped to [-20, 20]. The paper states the ranges only; the functions
    and the clipping are those of Collier & Beel 2018 (arXiv:1807.08518).

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 3.3.

    Args:
      emitted: key, strength, gate, exponent and shifts side by side, shape [P] with
        P = M + 3 + R.
      tape_width: M, the width of the tape.

    Returns:
      The arguments of `address`, with a key of shape [M] and shifts of shape [R].

    Raises:
      ValueError: if nothing is left for the shifts.

    Example:
      >>> to_addressing(jnp.zeros(8), tape_width=2).shift.tolist()  # 8 = 2 + 3 + 3
      [0.3333333432674408, 0.3333333432674408, 0.3333333432674408]
    """
    if emitted.shape[0] < tape_width + 4:
        raise ValueError(
            f"emitted: expected at least {tape_width + 4} numbers, got "
            f"{emitted.shape[0]} (a key of {tape_width}, strength, gate, exponent, and "
            "one for each shift)"
        )
    M = tape_width
    clipped = jnp.clip(emitted, -CLIP, CLIP)
    strength, gate, exponent = clipped[M : M + 3]  # [3] -> 3 x []
    return Addressing(
        key=jnp.tanh(clipped[:M]),
        strength=jax.nn.softplus(strength),
        gate=jax.nn.sigmoid(gate),
        shift=jax.nn.softmax(clipped[M + 3 :]),
        exponent=1 + jax.nn.softplus(exponent),
    )


def init_head(rng: Array, D: int, P: int, initializers: Initializers) -> HeadParams:
    """Draws the parameters of a head's linear layer; biases are 0."""
    return HeadParams(initializers.kernel(rng, (D, P)), jnp.zeros(P))


def init_heads(
    rng: Array,
    D: int,
    widths: tuple[int, int],
    initializers: Initializers,
    *,
    tape_width: int,
    strength_bias: float,
) -> HeadParams:
    """Draws the linear layer of several heads, side by side.

    Args:
      rng: PRNG key.
      D: width of the state that the heads see.
      widths: the number of heads, and how many numbers each emits, its address first.
      initializers: how matrices are drawn.
      tape_width: M, the width of the tape.
      strength_bias: bias of each head's key strength; the other biases are 0.

    Returns:
      Parameters with shapes [D, H * P] and [H * P].
    """
    heads, width = widths
    head = init_head(rng, D, heads * width, initializers)
    bias = head.b.reshape(heads, width)  # [H*P] -> [H, P]
    bias = bias.at[:, tape_width].set(strength_bias)  # the strength follows the key
    return head._replace(b=bias.reshape(-1))  # [H, P] -> [H*P]


def emit(params: HeadParams, state: Float[Array, "D"]) -> Float[Array, "P"]:
    """Computes what a head emits: a linear layer of a state."""
    product = precision.matmul(state, params.w)
    return product + params.b.astype(product.dtype)


def _content_init(rng: Array, sizes: Sizes, initializers: Initializers) -> HeadParams:
    return init_head(rng, sizes.D, sizes.E + 1, initializers)


def _content_weigh(
    params: HeadParams, carry: Tree, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eqs. 5 and 6; no carry."""
    *key, strength = jnp.split(emit(params, query), [memory.keys.shape[-1]])
    given = addressing.content_weights(
        jnp.tanh(key[0]),
        memory.keys,
        jax.nn.softplus(strength[0]),
        mask=memory.mask,
    )
    return carry, given.astype(query.dtype)


def _shift_init(
    rng: Array, sizes: Sizes, initializers: Initializers, *, max_shift: int
) -> HeadParams:
    P = addressing_width(sizes.E, max_shift)
    return init_head(rng, sizes.D, P, initializers)


def _shift_weigh(
    params: HeadParams, carry: Array, query: Array, position: Array, memory: Memory
) -> Weighed:
    """Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eqs. 5 to 9."""
    head = to_addressing(emit(params, query), tape_width=memory.keys.shape[-1])
    given = addressing.address(
        memory.keys, carry, **head._asdict(), mask=memory.mask
    ).astype(query.dtype)
    return given, given


def content_addressing() -> Aligner:
    """Makes the aligner of content addressing: cosine times a key strength.

    The keys are the source states themselves.
    """
    return Aligner(_content_init, lambda params, values: values, _content_weigh)


def location_addressing(max_shift: int = 1) -> Aligner:
    """Makes the aligner of a Neural Turing Machine's head, which carries its weights.

    At each target position it looks for a key, or stays with the weights of the last
    one, and moves them by up to `max_shift` source positions; at first all weight is
    on the first source position.

    Args:
      max_shift: the farthest step, in source positions, either way.
    """
    return Aligner(
        init=partial(_shift_init, max_shift=max_shift),
        project_keys=lambda params, values: values,
        weigh=_shift_weigh,
        initial_carry=first_position,
    )
