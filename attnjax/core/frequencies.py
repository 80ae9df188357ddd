"""Frequencies: how fast pairs of components turn from one position to the next.

Sinusoidal and rotary positions share them. They are arrays that are known before
any program is traced, so whatever extends them to longer texts is arithmetic on
them, and what uses them has no options for it: linear interpolation (Chen et al.
2023, arXiv:2306.15595, eq. 4) is `rope_frequencies(D) / factor`.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped

Frequencies = Float[np.ndarray, "P"]

# Positions are counted in stretches of this many; a power of 2, so that it divides
# without rounding.
STRETCH = 1024


def rope_frequencies(width: int, *, base: float = 10_000.0) -> Frequencies:
    r"""Spaces frequencies evenly on a logarithmic scale.

    .. math:: \theta_i = \mathrm{base}^{-2i / D}, \qquad i = 0, \dots, D / 2 - 1

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5; Su et al. 2021
    (arXiv:2104.09864), eq. 15, the same with i from 1.

    Args:
      width: D, how many components turn: all of a vector, or its first ones.
      base: the slowest pair comes round in about 2 pi base positions.

    Returns:
      Radians a position, shape [width / 2], float64, falling from 1.

    Raises:
      ValueError: if the width is odd or not positive, or the base is not positive.

    Example:
      >>> rope_frequencies(4)
      array([1.  , 0.01])
    """
    if width < 1 or width % 2:
        raise ValueError(
            f"width: expected an even number >= 2, got {width} (components turn in "
            "pairs)"
        )
    if base <= 0:
        raise ValueError(
            f"base: expected a number > 0, got {base} (the papers use 10,000)"
        )
    return float(base) ** (-np.arange(0, width, 2) / width)


@shaped
def rope_scaling_ntk(frequencies: Frequencies, *, factor: float) -> Frequencies:
    r"""Slows the slowest pair by `factor`, the fastest not at all: "NTK-aware".

    .. math:: \theta'_i = \theta_i\, s^{-2i / (D - 2)}

    which is to multiply the base by s^(D / (D - 2)): near positions stay as far apart
    as they were, far ones are drawn together.

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 1.

    Args:
      frequencies: theta, radians a position, shape [P], at least 2.
      factor: s, how many times longer texts become.

    Returns:
      Radians a position, shape [P], float64.

    Raises:
      ValueError: if the factor is not positive, or there are fewer than 2 frequencies.

    Example:
      >>> rope_scaling_ntk(rope_frequencies(4), factor=10)
      array([1.   , 0.001])
    """
    _check_factor(factor)
    P = len(frequencies)
    if P < 2:
        raise ValueError(
            f"frequencies: expected at least 2, got {P} (one is the fastest and "
            "the slowest at once)"
        )
    return frequencies * float(factor) ** (-np.arange(P) / (P - 1))


@shaped
def rope_scaling_llama3(
    frequencies: Frequencies,
    *,
    factor: float,
    context: int,
    low: float = 1.0,
    high: float = 4.0,
) -> Frequencies:
    r"""Slows the pairs by `factor` that hardly came round within the old context.

    .. math:: \theta' = (1 - \gamma) \frac{\theta}{s} + \gamma \theta, \qquad
              \gamma = \min\left(1, \max\left(0,
              \frac{r - \alpha}{\beta - \alpha}\right)\right)

    for a pair that came round r = L theta / (2 pi) times. With the defaults it is the
    scaling of Llama 3.1 (there `low_freq_factor` and `high_freq_factor`). The paper
    uses high = 32, and multiplies queries and keys by 0.1 ln(s) + 1 ("YaRN").

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 2, "NTK-by-parts".

    Args:
      frequencies: theta, radians a position, shape [P].
      factor: s, how many times longer texts become.
      context: L, positions of the longest text trained on.
      low: alpha; pairs that came round less often are slowed by `factor`.
      high: beta; pairs that came round more often are left as they are.

    Returns:
      Radians a position, shape [P], float64.

    Raises:
      ValueError: if the factor or the context is not positive, or `high` is not
        above `low`.

    Example:
      >>> rope_scaling_llama3(rope_frequencies(4), factor=10, context=100)
      array([1.   , 0.001])
    """
    _check_factor(factor)
    if context < 1:
        raise ValueError(
            f"context: expected a number of positions >= 1, got {context} (the longest "
            "text trained on)"
        )
    if high <= low:
        raise ValueError(
            f"high: expected more turns than low = {low}, got {high} (Llama 3.1 uses 1 "
            "and 4)"
        )
    turns = context * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - kept) * frequencies / factor + kept * frequencies


@shaped
def angles(
    positions: Int[Array, "*B"], frequencies: Frequencies, *, dtype: DTypeLike
) -> Float[Array, "*B P"]:
    """How far each pair has turned at each position.

    The plain product loses a far position's place on the circle: in float32 it is up to
    0.008 off by position 131,071. Here whole turns are left out, beforehand, of each
    stretch of 1024 positions, and the angle is at most 0.0002 off (up to position
    1023 it is the plain product).

    Args:
      positions: integers, below 2**31, shape [...].
      frequencies: radians a position, shape [P].
      dtype: of what the angles are for.

    Returns:
      Radians, shape [..., P], in at least float32.
    """
    wide = precision.accumulation_dtype(dtype)
    whole = positions.astype(jnp.int32)[..., None]
    near = jnp.fmod(whole, STRETCH)
    far = (whole - near) // STRETCH
    a_stretch = (frequencies * STRETCH) % (2 * math.pi)
    return near.astype(wide) * jnp.asarray(frequencies, wide) + (
        far.astype(wide) * jnp.asarray(a_stretch, wide)
    )


def _check_factor(factor: float) -> None:
    if factor <= 0:
        raise ValueError(
            f"factor: expected a number > 0, got {factor} (how many times longer texts "
            "become)"
        )
