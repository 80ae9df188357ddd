"""Error messages of decoders."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import greedy, keep_min_p, keep_top_k, keep_top_p, sample
from tests.decode.cases import (
    BOS,
    DECODERS,
    EOS,
    UNK,
    B,
    D,
    S,
    T,
    V,
    initial_carry,
    make_model,
    step,
)

BAD_ARGUMENTS = [  # decoder, options, error, text
    ("beam 5", {"beam_size": 0}, ValueError, "beam_size: expected at least 1, got 0"),
    (
        "beam 5",
        {"beam_size": 12},
        ValueError,
        r"beam_size: expected at most 11 \(the vocabulary\), got 12",
    ),
    (
        "beam 5",
        {"beam_size": 2.0},
        TypeError,
        r"beam_size: expected a Python int, got float \(it is static",
    ),
    (
        "beam 5",
        {"n_best": 6},
        ValueError,
        r"n_best: expected at most 5 \(beam_size\), got 6",
    ),
    (
        "beam 5",
        {"length_penalty": -0.5},
        ValueError,
        r"length_penalty: expected at least 0, got -0.5 \(0 ranks",
    ),
    ("greedy", {"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
    ("greedy", {"max_length": 0}, ValueError, "max_length: expected at least 1, got 0"),
    (
        "greedy",
        {"max_decode_length": 0},
        ValueError,
        "max_decode_length: expected at least 1, got 0",
    ),
    (
        "greedy",
        {"max_length": np.array([5, 5, 5])},
        ValueError,
        r"max_decode_length: expected an int where max_length is an array, got None "
        r"\(shapes are static",
    ),
    (
        "greedy",
        {"max_length": np.array([5, 5]), "max_decode_length": 5},
        ValueError,
        r"max_length: expected shape \[3\], got \[2\] \(one length per row",
    ),
    (
        "greedy",
        {"max_length": np.array([5.0, 5.0, 5.0]), "max_decode_length": 5},
        TypeError,
        r"max_length: expected int values, got float\d+ \(use astype\)",
    ),
    (
        "greedy",
        {"min_length": 14},
        ValueError,
        r"min_length: expected at most 13 \(the longest hypothesis\), got 14",
    ),
    ("greedy", {"min_length": -1}, ValueError, "min_length: expected at least 0, got"),
    ("greedy", {"eos": 11}, ValueError, r"eos: expected at most 10 \(the last id\)"),
    ("greedy", {"bos": -1}, ValueError, "bos: expected at least 0, got -1"),
    ("greedy", {"pad": 11}, ValueError, r"pad: expected at most 10 \(the last id\)"),
    (
        "greedy",
        {"suppress_tokens": (3, 11)},
        ValueError,
        "suppress_tokens: expected at most 10",
    ),
    (
        "greedy",
        {"suppress_tokens": (UNK, EOS)},
        ValueError,
        r"suppress_tokens: expected ids other than eos, got 2 \(a hypothesis could",
    ),
    (
        "sample",
        {"temperature": 0.0},
        ValueError,
        r"temperature: expected a positive number, got 0.0 \(for the most likely",
    ),
    (
        "beam 5",
        {"length_penalty": np.ones(3)},
        ValueError,
        r"length_penalty: expected one number, got shape \[3\] \(it is the same for",
    ),
    (
        "beam 5",
        {"coverage_penalty": -0.5},
        ValueError,
        r"coverage_penalty: expected at least 0, got -0.5 \(0 ignores coverage",
    ),
    (
        "beam 5",
        {"coverage_penalty": np.float32(0.5)},
        ValueError,
        r"source_mask: expected a mask of shape \[B, S\] with a coverage_penalty, got "
        r"None \(padding need",
    ),
    (
        "beam 5",
        {"coverage_penalty": 0.5, "source_mask": np.ones((B, S), int)},
        TypeError,
        r"source_mask: expected a boolean mask \(True = a source position\), got "
        r"int\d+ \(compare it",
    ),
    (
        "beam 5",
        {"coverage_penalty": 0.5, "source_mask": np.ones((S, B), bool)},
        ValueError,
        r"source_mask: expected shape \[3, 5\], got \[5, 3\] \(as the step's weights\)",
    ),
    (
        "greedy",
        {"no_repeat_ngram_size": -1},
        ValueError,
        "no_repeat_ngram_size: expected at least 0, got -1",
    ),
    (
        "greedy",
        {"no_repeat_ngram_size": 2.5},
        TypeError,
        r"no_repeat_ngram_size: expected a Python int, got float \(it is static",
    ),
    (
        "greedy",
        {"prefix": np.array([4, 6, 4])},
        ValueError,
        r"prefix: expected shape \[3, P\], got \[3\] \(how each row begins, with",
    ),
    (
        "greedy",
        {"prefix": np.ones((B, 2))},
        TypeError,
        r"prefix: expected int values, got float\d+ \(use astype\)",
    ),
    (
        "greedy",
        {"prefix": np.ones((B, 2), int), "prefix_lengths": np.ones(2, int)},
        ValueError,
        r"prefix_lengths: expected shape \[3\], got \[2\] \(tokens of each row's pre",
    ),
    (
        "greedy",
        {"prefix_lengths": np.ones(3, int)},
        ValueError,
        r"prefix: expected the tokens that prefix_lengths counts, got None \(shape",
    ),
    (
        "sample",
        {"top_k": 12},
        ValueError,
        r"top_k: expected at most 11 \(the vocabulary\), got 12",
    ),
    (
        "sample",
        {"top_k": np.array([2, 3])},
        ValueError,
        r"top_k: expected shape \[\], got \[2\] \(it is the same for all rows\)",
    ),
    (
        "sample",
        {"top_p": 0.0},
        ValueError,
        r"top_p: expected more than 0 and at most 1, got 0.0 \(1 keeps every id\)",
    ),
    (
        "sample",
        {"min_p": 1.5},
        ValueError,
        r"min_p: expected from 0 to 1, got 1.5 \(0 keeps every id\)",
    ),
    (
        "greedy",
        {"carry": {"h": jnp.zeros((B, D)), "seen": (jnp.zeros(()),)}},
        ValueError,
        r"carry\['seen'\]\[0\]: expected a leading axis of batch_size = 3, got shape "
        r"\[\] \(every leaf",
    ),
]


@pytest.mark.parametrize(("name", "options", "error", "text"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(name, options, error, text):
    with pytest.raises(error, match=f"^{text}"):
        DECODERS[name](make_model(0), **options)


def test_a_prefix_of_unknown_ids_is_named():
    model = make_model(0)
    with pytest.raises(ValueError, match=r"^prefix: expected ids from 0 to 10, got 11"):
        greedy(
            functools.partial(step, model),
            initial_carry(B),
            batch_size=B,
            max_length=T,
            bos=BOS,
            eos=EOS,
            prefix=np.full((B, 2), V),
        )


BAD_PROCESSOR_ARGUMENTS = [  # function, value, error, text
    (keep_top_k, 0, ValueError, "k: expected at least 1, got 0"),
    (keep_top_k, 8, ValueError, r"k: expected at most 7 \(the vocabulary\), got 8"),
    (keep_top_k, 0.5, TypeError, r"k: expected a Python int, got float \(it is static"),
    (
        keep_top_k,
        jnp.array(2.0),
        TypeError,
        r"k: expected int values, got float32 \(use astype\)",
    ),
    (keep_top_p, 1.01, ValueError, "p: expected more than 0 and at most 1, got 1.01"),
    (keep_top_p, jnp.ones(2), ValueError, r"p: expected one number, got shape \[2\]"),
    (keep_min_p, -0.1, ValueError, "p: expected from 0 to 1, got -0.1"),
]


@pytest.mark.parametrize(("keep", "value", "error", "text"), BAD_PROCESSOR_ARGUMENTS)
def test_bad_processor_arguments_are_named(keep, value, error, text):
    with pytest.raises(error, match=f"^{text}"):
        keep(jnp.zeros((2, 7)), value)


BAD_STEPS = [  # what the step returns, error, text
    (
        lambda carry, token: (carry, jnp.zeros((B, V))),
        r"step: expected \(carry, logits, weights\), got 2 values \(a model without",
    ),
    (
        lambda carry, token: jnp.zeros((B, V)),
        r"step: expected \(carry, logits, weights\), got \w+ \(a model without",
    ),
    (
        lambda carry, token: (carry, jnp.zeros(V), jnp.zeros((B, S))),
        r"step: expected logits of shape \[3, V\], got \[11\] \(one token per row",
    ),
    (
        lambda carry, token: (carry, jnp.zeros((B, V)), jnp.zeros((B, 1, S))),
        r"step: expected weights of shape \[3, S\], got \[3, 1, 5\] \(one token",
    ),
    (
        lambda carry, token: (
            carry.astype(jnp.bfloat16),
            jnp.zeros((B, V)),
            jnp.zeros((B, S)),
        ),
        r"carry: expected step to return one like float32\[3, 7\], got "
        r"bfloat16\[3, 7\] \(structure, shapes and dtypes must not change",
    ),
]


@pytest.mark.parametrize(("bad", "text"), BAD_STEPS)
def test_a_bad_step_is_told_the_contract(bad, text):
    options = {"batch_size": B, "max_length": T, "bos": BOS, "eos": EOS}
    with pytest.raises(ValueError, match=f"^{text}"):
        greedy(bad, jnp.zeros((B, D)), **options)


@pytest.mark.parametrize("old", [np.zeros(2, np.uint32), 7])
def test_an_untyped_key_is_told_how_to_make_one(old):
    with pytest.raises(
        TypeError,
        match=r"^rng: expected a typed key, got (uint32|int) \(make it with jax\.ra",
    ):
        sample(
            old,
            functools.partial(step, make_model(0)),
            initial_carry(),
            batch_size=B,
            max_length=T,
            bos=BOS,
            eos=EOS,
        )
