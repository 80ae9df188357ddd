"""Frequencies: radians that pairs of components rotate per position.

Sinusoidal positions and RoPE share them. They are NumPy arrays, known before tracing,
so scaling to longer texts is arithmetic on them and needs no option elsewhere: linear
interpolation (Chen et al. 2023, arXiv:2306.15595, eq. 4) is
`rope_frequencies(D) / factor`.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped

Frequencies = Float[np.ndarray, "P"]

# Angles are computed in blocks of this many positions; a power of 2 divides exactly.
BLOCK = 1024


def rope_frequencies(width: int, *, base: float = 10_000.0) -> Frequencies:
    r"""Spaces frequencies evenly on a logarithmic scale.

    .. math:: \theta_i = \mathrm{base}^{-2i / D}, \qquad i = 0, \dots, D / 2 - 1

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5; Su et al. 2021
    (arXiv:2104.09864), eq. 15, the same with i from 1.

    Args:
      width: D, number of components to rotate: all of a vector, or its first ones.
      base: the slowest pair completes a rotation in about 2 pi base positions.

    Returns:
      Radians per position, shape [width / 2], float64, falling from 1.

    Raises:
      ValueError: if the width is odd or not positive, or the base is not positive.

    Example:
      >>> rope_frequencies(4)
      array([1.  , 0.01])
    """
    if width < 1 or width % 2:
        raise ValueError(
            f"width: expected an even number >= 2, got {width} (components are "
            "rotated in pairs)"
        )
    if base <= 0:
        raise ValueError(
            f"base: expected a number > 0, got {base} (the papers use 10,000)"
        )
    return float(base) ** (-np.arange(0, width, 2) / width)


@shaped
def rope_scaling_ntk(frequencies: Frequencies, *, factor: float) -> Frequencies:
    r"""Divides the lowest frequency by `factor`, the highest by 1: "NTK-aware".

    .. math:: \theta'_i = \theta_i\, s^{-2i / (D - 2)}

    which multiplies the base by s^(D / (D - 2)): angles between near positions hardly
    change, those between far ones are compressed.

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 1.

    Args:
      frequencies: theta, radians per position, shape [P], at least 2.
      factor: s, the ratio of new to old maximum length.

    Returns:
      Radians per position, shape [P], float64.

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
    original_max_length: int,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
) -> Frequencies:
    r"""Divides low frequencies by `factor` and keeps high ones: "llama3".

    .. math:: \theta' = (1 - \gamma) \frac{\theta}{s} + \gamma \theta, \qquad
              \gamma = \min\left(1, \max\left(0,
              \frac{r - \alpha}{\beta - \alpha}\right)\right)

    for a pair with r = L theta / (2 pi) rotations over the original length. The
    defaults are those of Llama 3.1. The paper uses beta = 32, and multiplies queries
    and keys by 0.1 ln(s) + 1 ("YaRN").

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 2, "NTK-by-parts".

    Args:
      frequencies: theta, radians per position, shape [P].
      factor: s, the ratio of new to old maximum length.
      original_max_length: L, positions of the longest text trained on.
      low_freq_factor: alpha; pairs with fewer rotations are scaled by 1 / `factor`.
      high_freq_factor: beta; pairs with more rotations do not change.

    Returns:
      Radians per position, shape [P], float64.

    Raises:
      ValueError: if the factor or the length is not positive, or if
        `high_freq_factor` is not above `low_freq_factor`.

    Example:
      >>> rope_scaling_llama3(rope_frequencies(4), factor=10, original_max_length=100)
      array([1.   , 0.001])
    """
    _check_factor(factor)
    if original_max_length < 1:
        raise ValueError(
            f"original_max_length: expected at least 1 position, got "
            f"{original_max_length} (the longest text trained on)"
        )
    if high_freq_factor <= low_freq_factor:
        raise ValueError(
            f"high_freq_factor: expected more than {low_freq_factor} (the low one), "
            f"got {high_freq_factor} (Llama 3.1 uses 1 and 4)"
        )
    rotations = original_max_length * frequencies / (2 * math.pi)
    span = high_freq_factor - low_freq_factor
    unscaled = np.clip((rotations - low_freq_factor) / span, 0, 1)
    return (1 - unscaled) * frequencies / factor + unscaled * frequencies


@shaped
def angles(
    positions: Int[Array, "*B"], frequencies: Frequencies, *, dtype: DTypeLike
) -> Float[Array, "*B P"]:
    """Computes the rotation angle of each pair at each position.

    The product of position and frequency is inexact for far positions: in float32 it is
    up to 0.008 off by position 131,071. Here whole rotations are removed, in float64,
    from each block of 1024 positions, and the angle is at most 0.0002 off (up to
    position 1023 it is the plain product).

    Args:
      positions: integers, below 2**31, shape [...].
      frequencies: radians per position, shape [P].
      dtype: of what the angles are for.

    Returns:
      Radians, shape [..., P], in at least float32.
    """
    angle_dtype = precision.accumulation_dtype(dtype)
    whole = positions.astype(jnp.int32)[..., None]
    near = jnp.fmod(whole, BLOCK)
    far = (whole - near) // BLOCK
    per_block = (frequencies * BLOCK) % (2 * math.pi)
    return near.astype(angle_dtype) * jnp.asarray(frequencies, angle_dtype) + (
        far.astype(angle_dtype) * jnp.asarray(per_block, angle_dtype)
    )


def _check_factor(factor: float) -> None:
    if factor <= 0:
        raise ValueError(
            f"factor: expected a number > 0, got {factor} (the ratio of "
            "new to old maximum length)"
        )
