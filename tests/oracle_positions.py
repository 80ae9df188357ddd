"""Positions as slow loops, one vector and one pair of tokens at a time.

NumPy, float64, straight from the papers; rotations as whole matrices, logarithmic
buckets in whole numbers. Nothing here imports anything of ours.
"""

import math

import numpy as np


def sinusoidal(position, width, base=10_000.0):
    """Vaswani 2017, 3.5: PE(pos, 2i) = sin(pos / base^(2i/M)), PE(pos, 2i+1) = cos."""
    point = []
    for i in range(width // 2):
        angle = position / base ** (2 * i / width)
        point += [math.sin(angle), math.cos(angle)]
    return np.array(point)


# --- frequencies, as the papers and reference codes write them ----------------


def frequencies(width, base=10_000.0):
    """Su 2021, eq. 15: theta_i = base^(-2(i-1)/d) for i = 1 .. d/2."""
    return [base ** (-2 * (i - 1) / width) for i in range(1, width // 2 + 1)]


def ntk_frequencies(width, factor, base=10_000.0):
    """Peng 2023, definition 1: the base becomes base * s^(d / (d - 2))."""
    return frequencies(width, base * factor ** (width / (width - 2)))


def banded_frequencies(theta, factor, context, low, high):
    """Llama 3.1's reference code, by wavelengths, one frequency at a time."""
    scaled = []
    for frequency in theta:
        wavelength = 2 * math.pi / frequency
        if wavelength < context / high:
            scaled.append(frequency)
        elif wavelength > context / low:
            scaled.append(frequency / factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            scaled.append((1 - smooth) * frequency / factor + smooth * frequency)
    return scaled


def yarn_frequencies(width, base, factor, context, fast, slow, truncate=True):
    """The code of Peng 2023, one pair at a time, from the width and the base."""

    def pair(rotations):  # base^(-2i/d) L / 2 pi = rotations, solved for i
        turns = context / (2 * math.pi * rotations)
        return width * math.log(turns) / (2 * math.log(base))

    low, high = pair(fast), pair(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    if low == high:
        high += 0.001
    scaled = []
    for i, frequency in enumerate(frequencies(width, base)):
        share = min(1, max(0, (i - low) / (high - low)))
        scaled.append(frequency / factor * share + frequency * (1 - share))
    return scaled


def apply_rope(x, position, theta, interleaved):
    """Su 2021, eq. 15: the block-diagonal matrix R of 2 x 2 rotations, times x."""
    matrix = np.eye(len(x))
    for i, frequency in enumerate(theta):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, len(theta) + i)
        angle = position * frequency
        matrix[a, a] = matrix[b, b] = math.cos(angle)
        matrix[b, a] = math.sin(angle)
        matrix[a, b] = -matrix[b, a]
    return matrix @ x


# --- biases -------------------------------------------------------------------


def alibi_slopes(heads):
    """Press 2022, section 3: a geometric row that starts at 2^(-8/H), its own ratio.

    Where H is no power of 2, the authors' code fills up from the row of twice the
    power below, every other slope.
    """
    if (heads & (heads - 1)) == 0:
        start = 2.0 ** (-8 / heads)
        return [start * start**i for i in range(heads)]
    power = 1
    while 2 * power < heads:
        power *= 2
    return alibi_slopes(power) + alibi_slopes(2 * power)[0::2][: heads - power]


def alibi(query_positions, key_positions, slopes):
    """Press 2022, section 3: -m |i - j|, as [H, T, S]."""
    return np.array(
        [
            [[-m * abs(i - j) for j in key_positions] for i in query_positions]
            for m in slopes
        ]
    )


def bucket(query_position, key_position, buckets, max_distance, bidirectional):
    """Raffel 2020, 2.1, for one pair; when a bucket begins is decided in integers.

    The k-th wider bucket of m begins at distance d >= e (D / e)^(k / m), where e
    distances have buckets of their own: d^m e^k >= D^k e^m.
    """
    distance, first = query_position - key_position, 0
    if bidirectional:
        buckets //= 2
        if distance < 0:
            distance, first = -distance, buckets
    elif distance < 0:
        distance = 0
    e = buckets // 2
    if distance < e:
        return first + distance
    m, k = buckets - e, 0
    while k + 1 < m and distance**m * e ** (k + 1) >= max_distance ** (k + 1) * e**m:
        k += 1
    return first + e + k
