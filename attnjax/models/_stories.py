"""Checks of the stories, questions and answers that memory networks take."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from attnjax.core._checks import known_value
from attnjax.core.sentences import NULL
from attnjax.models._checks import check_tokens


def check_stories(facts: Array, question: Array, config: Any) -> None:
    """Checks the ids of stories [B, S, T] and of a question about each, [B, T'].

    Raises:
      ValueError: if a shape is another, there are more facts than the memory holds, or
        a known id is outside the vocabulary.
      TypeError: if ids are no integers.
    """
    check_tokens("facts", facts, "BST", config.vocab_size)
    check_tokens("question", question, "BT", config.vocab_size)
    (B, S), rows = facts.shape[:2], question.shape[0]
    if rows != B:
        raise ValueError(f"question: expected {B} rows, one a story, got {rows}")
    if config.memory_size < S:
        raise ValueError(
            f"facts: expected at most {config.memory_size} a story, got {S} "
            "(memory_size; keep the most recent facts)"
        )


def check_supports(supports: Array, facts: Array, num_hops: int) -> None:
    """Checks indices [B, K] into facts [B, S, T]: what each of K hops has to find.

    Raises:
      ValueError: if the shape is another, or an index is known to name no fact.
    """
    wanted = (len(facts), num_hops)
    if supports.shape != wanted:
        raise ValueError(
            f"supports: expected shape {list(wanted)}, got {list(supports.shape)} "
            "(num_hops is the number of facts to find)"
        )
    known = known_value(names_a_fact(supports, facts))
    if known is not None and not known.all():
        row, hop = np.argwhere(~known)[0]
        raise ValueError(
            f"supports: expected an index of a fact, got {supports[row, hop]} in row "
            f"{row} (a negative one names none)"
        )


def names_a_fact(supports: Array, facts: Array) -> Array:
    """Whether each index [B, K] is of a fact [B, S, T], or negative: it names none."""
    mask = jnp.any(facts != NULL, axis=-1)
    at = jnp.arange(mask.shape[1], dtype=supports.dtype)
    named = supports[:, :, None] == at  # [B, K] -> [B, K, S]
    return (supports < 0) | jnp.any(named & mask[:, None], axis=-1)


def check_answer(answer: Array, count: int, vocab_size: int) -> None:
    """Checks ids [B] of answers.

    Raises:
      ValueError: if there are not as many as stories, or a known one is no word.
      TypeError: if ids are no integers.
    """
    check_tokens("answer", answer, "B", vocab_size)
    if len(answer) != count:
        raise ValueError(
            f"answer: expected {count} ids, one a story, got {len(answer)}"
        )
    known = known_value(answer)
    if known is not None and (known == NULL).any():
        raise ValueError(f"answer: expected a word, got {NULL} (the null word)")
