"""Frequencies of rotary (RoPE) and sinusoidal positions, in radians a position.

Frequencies are NumPy arrays, known before a program is traced. So RoPE scaling for
longer texts is arithmetic on them, and the functions that take them need no options
for it: linear interpolation (Chen et al. 2023, arXiv:2306.15595, eq. 4) is
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

# Positions are split into multiples of this and a remainder. A power of 2 divides
# without rounding.
BLOCK = 1024


def rope_frequencies(head_dim: int, *, theta: float = 10_000.0) -> Frequencies:
    r"""Spaces frequencies evenly on a logarithmic scale.

    .. math:: \omega_i = \theta^{-2i / D}, \qquad i = 0, \dots, D / 2 - 1

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5; Su et al. 2021
    (arXiv:2104.09864), eq. 15, with i from 1 and theta_i for omega_i.

    Args:
      head_dim: D, number of components that are rotated: all of a head, or its first.
      theta: the RoPE base (`rope_theta`); the slowest pair completes a rotation in
        about 2 pi theta positions.

    Returns:
      Radians a position, shape [D / 2], float64, falling from 1.

    Raises:
      ValueError: if the width is odd or not positive, or theta is not positive.

    Example:
      >>> rope_frequencies(4)
      array([1.  , 0.01])
    """
    if head_dim < 1 or head_dim % 2:
        raise ValueError(
            f"head_dim: expected an even number >= 2, got {head_dim} (components are "
            "rotated in pairs)"
        )
    if theta <= 0:
        raise ValueError(
            f"theta: expected a number > 0, got {theta} (the papers use 10,000)"
        )
    return float(theta) ** (-np.arange(0, head_dim, 2) / head_dim)


@shaped
def rope_scaling_ntk(frequencies: Frequencies, *, factor: float) -> Frequencies:
    r"""Divides the lowest frequency by `factor`, the highest by 1 ("NTK-aware").

    .. math:: \omega'_i = \omega_i\, s^{-2i / (D - 2)}

    This multiplies `rope_theta` by s^(D / (D - 2)).

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 1.

    Args:
      frequencies: omega, radians a position, shape [P], at least 2.
      factor: s, factor by which the context is extended.

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
            f"frequencies: expected at least 2, got {P} (one is the highest and "
            "the lowest at once)"
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
    r"""Lowers by `factor` the frequencies whose period exceeds the original context.

    .. math:: \omega' = (1 - \gamma) \frac{\omega}{s} + \gamma \omega, \qquad
              \gamma = \min\left(1, \max\left(0,
              \frac{r - \alpha}{\beta - \alpha}\right)\right)

    for a pair that completes r = L omega / (2 pi) rotations within the original
    context. The defaults are those of Llama 3.1.

    Source: Peng et al. 2023 (arXiv:2309.00071), definition 2, "NTK-by-parts"; Llama
    3.1's code, with `low_freq_factor` for alpha and `high_freq_factor` for beta.

    Args:
      frequencies: omega, radians a position, shape [P].
      factor: s, factor by which the context is extended.
      original_max_length: L, the context length of training.
      low_freq_factor: alpha; frequencies with fewer rotations are divided by `factor`.
      high_freq_factor: beta; frequencies with more rotations are unchanged.

    Returns:
      Radians a position, shape [P], float64.

    Raises:
      ValueError: if `factor` or `original_max_length` is not positive, or
        `high_freq_factor` is not above `low_freq_factor`.

    Example:
      >>> rope_scaling_llama3(rope_frequencies(4), factor=10, original_max_length=100)
      array([1.   , 0.001])
    """
    _check_factor(factor)
    _check_context(original_max_length)
    if not high_freq_factor > low_freq_factor:
        raise ValueError(
            f"high_freq_factor: expected more than low_freq_factor = "
            f"{low_freq_factor}, got {high_freq_factor} (Llama 3.1 uses 1 and 4)"
        )
    rotations = original_max_length * frequencies / (2 * math.pi)
    band = high_freq_factor - low_freq_factor
    unchanged = np.clip((rotations - low_freq_factor) / band, 0, 1)
    return (1 - unchanged) * frequencies / factor + unchanged * frequencies


@shaped
def rope_scaling_yarn(
    frequencies: Frequencies,
    *,
    factor: float,
    original_max_length: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> Frequencies:
    r"""Divides low frequencies by `factor`, on a ramp that is linear in their index.

    .. math:: \omega'_i = (1 - \gamma_i) \omega_i + \gamma_i \frac{\omega_i}{s},
              \qquad \gamma_i = \min\left(1, \max\left(0,
              \frac{i - i_\beta}{i_\alpha - i_\beta}\right)\right)

    where pair i_beta completes `beta_fast` and pair i_alpha `beta_slow` rotations
    within the original context. The ramp of the paper's definition 2 is linear in the
    number of rotations instead (`rope_scaling_llama3`); this one is that of the
    authors' code and of Hugging Face, with which models were trained. YaRN also
    multiplies rotated queries and keys by `yarn_attention_factor`.

    Source: Peng et al. 2023 (arXiv:2309.00071), section 3.4, and its code.

    Args:
      frequencies: omega, radians a position, shape [P], at least 2: those of
        `rope_frequencies`.
      factor: s, factor by which the context is extended.
      original_max_length: L, the context length of training.
      beta_fast: beta; pairs with more rotations are unchanged.
      beta_slow: alpha; pairs with fewer rotations are divided by `factor`.
      truncate: whether the ends of the ramp are rounded outwards to whole indices.

    Returns:
      Radians a position, shape [P], float64.

    Raises:
      ValueError: if `factor` or `original_max_length` is not positive, `beta_fast` is
        not above `beta_slow`, or there are fewer than 2 frequencies, or they do not
        fall by one ratio.

    Example:
      >>> omega = rope_frequencies(8)
      >>> rope_scaling_yarn(omega, factor=4, original_max_length=1000) / omega
      array([1.  , 0.75, 0.5 , 0.25])
    """
    _check_factor(factor)
    _check_context(original_max_length)
    if not 0 < beta_slow < beta_fast:
        raise ValueError(
            f"beta_fast: expected more than beta_slow = {beta_slow}, and both above 0, "
            f"got {beta_fast} (the paper has 32 and 1)"
        )
    P, ratio = len(frequencies), _common_ratio(frequencies)

    def index(rotations: float) -> float:
        """Finds the pair, between two, that completes so many rotations."""
        period = original_max_length * frequencies[0] / (2 * math.pi * rotations)
        return math.log(period) / ratio

    first, last = index(beta_fast), index(beta_slow)
    if truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * P - 1)
    width = last - first or 0.001  # Hugging Face's, so that a ramp may be a step
    scaled = np.clip((np.arange(P) - first) / width, 0, 1)
    return (1 - scaled) * frequencies + scaled * frequencies / factor


def yarn_attention_factor(factor: float, *, mscale: float = 1.0) -> float:
    r"""Computes what YaRN multiplies rotated queries and keys by.

    .. math:: 0.1\, m \ln s + 1

    Scores are multiplied by its square, which is 1 / t in the paper.

    Source: Peng et al. 2023 (arXiv:2309.00071), eq. 22, with m = 1.

    Args:
      factor: s, factor by which the context is extended.
      mscale: m, a multiplier that DeepSeek's models set.

    Returns:
      The attention factor; 1 where the context is not extended.

    Example:
      >>> round(yarn_attention_factor(4.0), 4)
      1.1386
    """
    _check_factor(factor)
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


@shaped
def angles(
    positions: Int[Array, "*B"], frequencies: Frequencies, *, dtype: DTypeLike
) -> Float[Array, "*B P"]:
    """Computes the rotation angle of each pair at each position.

    The plain product position x frequency loses accuracy at large positions: in
    float32 its error reaches 0.008 by position 131,071. Here the angle of each 1024
    positions is reduced modulo 2 pi in float64 first, and the error is at most 0.0002.
    Up to position 1023 the result is the plain product.

    Args:
      positions: integers, below 2**31, shape [...].
      frequencies: radians a position, shape [P].
      dtype: dtype of what is rotated.

    Returns:
      Radians, shape [..., P], in at least float32.
    """
    dtype = precision.accumulation_dtype(dtype)
    positions = positions.astype(jnp.int32)[..., None]  # [...] -> [..., 1]
    remainder = jnp.fmod(positions, BLOCK)
    blocks = (positions - remainder) // BLOCK
    block_angles = (frequencies * BLOCK) % (2 * math.pi)  # float64 NumPy
    return remainder.astype(dtype) * jnp.asarray(frequencies, dtype) + (
        blocks.astype(dtype) * jnp.asarray(block_angles, dtype)
    )


def _check_factor(factor: float) -> None:
    if factor <= 0:
        raise ValueError(
            f"factor: expected a number > 0, got {factor} (by which the context is "
            "extended)"
        )


def _check_context(original_max_length: int) -> None:
    if original_max_length < 1:
        raise ValueError(
            f"original_max_length: expected a number of positions >= 1, got "
            f"{original_max_length} (the context length of training)"
        )


def _common_ratio(frequencies: Frequencies) -> float:
    """The logarithm of the ratio by which each frequency falls to the next."""
    P = len(frequencies)
    steps = -np.diff(np.log(frequencies))
    if P < 2 or steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-4, atol=0):
        raise ValueError(
            f"frequencies: expected at least 2 that fall by one ratio, got {P}: "
            f"{np.array2string(frequencies, threshold=4)} (take those of "
            "rope_frequencies, with theta above 1)"
        )
    return math.log(frequencies[0] / frequencies[-1]) / (P - 1)
