"""Sentences of a story as vectors: order of words, ages of facts, empty slots.

Word ids are from 1; 0 is the null word, which pads a sentence and a story. Facts are in
the order of the story, and padding may be anywhere among them.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attnjax.core import precision
from attnjax.core._checks import shaped

Tree = Any
NULL = 0  # the id of the null word, which pads sentences and stories
FEW_WORDS = 512  # a vocabulary for which counting words beats looking them up


@shaped
def position_encoding(
    mask: Bool[Array, "*B T"],
    width: int,
    *,
    length: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*B T {width}"]:
    r"""Weighs the words of a sentence by their place, so that order matters in a sum.

    .. math:: l_{jk} = 1 + \frac{4}{D J} \left(k - \frac{D + 1}{2}\right)
        \left(j - \frac{J + 1}{2}\right)

    for word j of J and component k of D, both from 1. Paper and authors' code differ,
    and this is the code's form: over J words each component has mean 1, so that a bag
    of words is the same sum without order. The paper prints
    (1 - j/J) - (k/D)(1 - 2j/J), which is half as large, up to terms in 1/J and 1/D. In
    the paper J is the sentence's own length, in the code that of the longest sentence,
    so that a word has one factor at one place in all sentences; `length` decides.

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 4.1.

    Args:
      mask: True = a word, False = padding; shape [..., T].
      width: D, width of the word vectors.
      length: J; None takes each sentence's own number of words.
      dtype: dtype of the result.

    Returns:
      Factors in [0, 2] up to place J, shape [..., T, width]; 0 at padding.

    Raises:
      ValueError: if the width or the length is not positive.
      TypeError: if `mask` is not boolean.

    Example:
      >>> position_encoding(jnp.array([True, True, False]), 2).tolist()
      [[1.25, 0.75], [0.75, 1.25], [0.0, 0.0]]
    """
    _check_sizes(width=width, length=length)
    wide = precision.accumulation_dtype(dtype)
    # [..., T] -> [..., T, D]
    factors = 1 + _places(mask, length, wide)[..., None] * _components(width, wide)
    return jnp.where(mask[..., None], factors, 0).astype(dtype)


@shaped
def sum_words(
    table: Float[Array, "V D"],
    sentences: Int[Array, "*B T"],
    *,
    encode_order: bool,
    length: int | None = None,
) -> Float[Array, "*B D"]:
    r"""Embeds sentences as sums of their words' vectors.

    .. math:: m = \sum_j l_j \circ E_{x_j}

    with `position_encoding` as l, or 1: a bag of words. The null word adds nothing,
    whatever row 0 of the table holds, and that row has no gradient.

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 4.1.

    Args:
      table: E, shape [V, D].
      sentences: word ids, 0 at padding, shape [..., T].
      encode_order: whether the order of the words counts.
      length: as of `position_encoding`.

    Returns:
      m, shape [..., D], in the dtype of the table.

    Raises:
      ValueError: if the table is not a matrix, or the length is not positive.
      TypeError: if the ids are not integers.

    Example:
      >>> table = jnp.array([[9.0], [1.0], [2.0]])
      >>> sum_words(table, jnp.array([[1, 2], [2, 0]]), encode_order=False).tolist()
      [[3.0], [2.0]]
    """
    _check_sizes(length=length)
    if table.shape[0] <= FEW_WORDS:
        return _sum_by_counts(table, sentences, encode_order, length)
    words = table[sentences]  # [..., T] -> [..., T, D]
    is_word = sentences != NULL
    if encode_order:
        options: Any = {"length": length, "dtype": table.dtype}
        factors = position_encoding(is_word, table.shape[1], **options)
    else:
        factors = is_word[..., None].astype(table.dtype)  # [..., T] -> [..., T, 1]
    return jnp.sum(words * factors, axis=-2)


def _sum_by_counts(
    table: Array, sentences: Array, encode_order: bool, length: int | None
) -> Array:
    """`sum_words` as products with how often each word occurs, and how far on.

    On a CPU, gathering rows and scattering their gradients took three times as long.
    """
    (V, D), dtype = table.shape, table.dtype
    words = jnp.arange(V, dtype=sentences.dtype)
    at = [sentences[..., j, None] for j in range(sentences.shape[-1])]  # T x [..., 1]
    hits = [(word == words) & (word != NULL) for word in at]  # T x [..., V]
    bag = jnp.zeros((*sentences.shape[:-1], V), dtype)
    bag = sum((hit.astype(dtype) for hit in hits), start=bag)
    total = precision.matmul(bag, table)
    if not encode_order or not hits:
        return total
    wide = precision.accumulation_dtype(dtype)
    components = _components(D, wide)
    place = _places(sentences != NULL, length, wide).astype(dtype)
    moved = jnp.zeros_like(bag)
    for j, hit in enumerate(hits):
        moved = moved + jnp.where(hit, place[..., j, None], 0)
    return total + precision.matmul(moved, table) * components.astype(dtype)


def _check_sizes(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")


def _places(mask: Array, length: int | None, dtype: Any) -> Array:
    """Where each word stands, from -1/2 to 1/2: (j - (J + 1) / 2) / J."""
    at = jnp.cumsum(mask, axis=-1, dtype=dtype)
    if length is not None:
        return (at - (length + 1) / 2) / length
    count = jnp.sum(mask, axis=-1, keepdims=True, dtype=dtype)
    return (at - (count + 1) / 2) / jnp.maximum(count, 1)


def _components(D: int, dtype: Any) -> Array:
    """What each component makes of a place, from -2 to 2: 4 (k - (D + 1) / 2) / D."""
    return 4 * (jnp.arange(1, D + 1, dtype=dtype) - (D + 1) / 2) / D


@shaped
def fact_ages(mask: Bool[Array, "*B S"]) -> Int[Array, "*B S"]:
    """Counts for each fact how many came after it: 0 is the one before the question.

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 4.1: memories are indexed
    in reverse, by their distance from the question.

    Args:
      mask: True = a fact, False = padding; shape [..., S].

    Returns:
      Ages, shape [..., S]; -1 at padding.

    Example:
      >>> fact_ages(jnp.array([True, False, True, True])).tolist()
      [2, -1, 1, 0]
    """
    after = jnp.cumsum(mask[..., ::-1], axis=-1, dtype=jnp.int32)[..., ::-1]
    return jnp.where(mask, after - 1, -1)


@shaped
def with_empty_slots(
    rng: Array, ages: Int[Array, "S"], *, rate: float
) -> Int[Array, "S"]:
    r"""Ages the facts of a story as if empty slots were scattered among them.

    Of n facts, up to ceil(rate n) slots, uniformly many, are put between, before and
    after them, uniformly placed. Empty slots are never attended to, so all that they
    change is ages: the model cannot rely on exact ones.

    Source: Sukhbaatar et al. 2015 (arXiv:1503.08895), section 4.1, "random noise": 10 %
    of empty memories, in training only.

    Args:
      rng: random key.
      ages: n different ages from 0 to n - 1, -1 at padding, shape [S].
      rate: largest share of empty slots, in [0, 1).

    Returns:
      Ages from 0 to n + ceil(rate n) - 1, in the same order; -1 at padding.

    Raises:
      ValueError: if the rate is outside [0, 1).

    Example:
      >>> ages = jnp.array([2, 1, 0, -1])
      >>> with_empty_slots(jax.random.key(0), ages, rate=0.0).tolist()
      [2, 1, 0, -1]
    """
    if not 0 <= rate < 1:
        raise ValueError(
            f"rate: expected a share in [0, 1), got {rate} (0 adds no empty slot)"
        )
    S = ages.shape[0]
    if S == 0 or rate == 0:
        return ages
    count_rng, place_rng = jax.random.split(rng)
    n = jnp.sum(ages >= 0, dtype=jnp.float32)
    share = jax.random.uniform(count_rng, dtype=jnp.float32)
    empty = jnp.floor(share * (jnp.ceil(rate * n) + 1))
    places = jnp.arange(S + math.ceil(rate * S), dtype=jnp.float32)
    # The n places with the smallest draws hold facts; the others stay empty.
    drawn = jax.random.uniform(place_rng, places.shape, jnp.float32)
    drawn = jnp.where(places < n + empty, drawn, 2)
    is_fact = jnp.argsort(jnp.argsort(drawn)).astype(n.dtype) < n
    chosen = jnp.sort(jnp.where(is_fact, places, jnp.inf))[:S].astype(ages.dtype)
    return jnp.where(ages >= 0, chosen[ages], -1)


def over_filled(
    function: Callable[..., Tree], filled: Bool[Array, "S"], *rows: Array
) -> Tree:
    """Applies a function of rows to those that are filled; the others give zeros.

    Most slots of a batch of stories are empty. Where at most a quarter are filled, only
    these are computed, which gives the same numbers in a third of the time.

    Args:
      function: maps arrays [n, ...] to a tree of arrays [n, ...], for any n, each row
        apart; its result for rows that are not filled is not used.
      filled: which rows are, shape [S].
      rows: arrays [S, ...].

    Returns:
      The result for all rows, [S, ...].

    Example:
      >>> over_filled(lambda x: x + 1, jnp.array([True, False]), jnp.array([1, 2]))
      Array([2, 0], dtype=int32)
    """
    S = filled.shape[0]
    most = S // 4

    def every() -> Tree:
        def keep(x: Array) -> Array:
            # [S] -> [S, 1, ...]
            return jnp.where(filled.reshape(S, *[1] * (x.ndim - 1)), x, 0)

        return jax.tree.map(keep, function(*rows))

    def packed() -> Tree:
        at = jnp.nonzero(filled, size=most, fill_value=S)[0]
        some = [jnp.take(x, at, axis=0, mode="fill", fill_value=0) for x in rows]

        def spread(x: Array) -> Array:
            zeros = jnp.zeros((S, *x.shape[1:]), x.dtype)
            return zeros.at[at].set(x, mode="drop")

        return jax.tree.map(spread, function(*some))

    if most == 0:
        return every()
    return lax.cond(jnp.sum(filled) <= most, packed, every)
