"""A small model and every decoder, shared by the tests of decoding."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import masked_softmax
from attnjax.decode import beam_search, greedy, sample

PAD, BOS, EOS, UNK = 0, 1, 2, 3
B, S, D, V, T, P = 3, 5, 7, 11, 13, 2  # distinct primes: a transposed axis fails


class Model(NamedTuple):
    """A small recurrent model, its sources and other arguments by row."""

    embed: np.ndarray  # [V, D]
    recur: np.ndarray  # [D, D]
    emit: np.ndarray  # [D, V]
    keys: np.ndarray  # [B, S, D]
    mask: np.ndarray  # [B, S]
    prefix: np.ndarray  # [B, P]
    prefix_lengths: np.ndarray  # [B]


ROWS = ("keys", "mask", "prefix", "prefix_lengths")


def make_model(seed, batch=B, vocab=V, sources=S):
    rng, row = np.random.default_rng(seed), np.arange(batch)
    return Model(
        embed=rng.normal(size=(vocab, D)),
        recur=rng.normal(size=(D, D)),
        emit=rng.normal(size=(D, vocab)),
        keys=rng.normal(size=(batch, sources, D)),
        mask=np.arange(sources) < sources - row[:, None] % min(3, sources),
        prefix=rng.choice([4, 6, 7], size=(batch, P)),
        prefix_lengths=(row + 1) % 3,
    )


def rows_of(model, rows):
    """The model with these rows only."""
    return model._replace(**{name: getattr(model, name)[rows] for name in ROWS})


def initial_carry(batch=B):
    return {
        "h": jnp.zeros((batch, D)),
        "seen": (jnp.zeros(batch, jnp.int32), jnp.zeros((batch, 2), bool)),
    }


def step(model, carry, token):
    count, odd = carry["seen"]
    dtype = carry["h"].dtype
    embed, recur, emit, keys = (jnp.asarray(x, dtype) for x in model[:4])
    wave = jnp.sin(count.astype(dtype))[:, None]
    h = jnp.tanh(embed[token] + carry["h"] @ recur + wave)
    h = h + jnp.where(odd[:, :1], 0.5, 0.0) - jnp.where(odd[:, 1:], 0.3, 0.0)
    weights = masked_softmax(jnp.einsum("bsd,bd->bs", keys, h), jnp.asarray(model.mask))
    context = jnp.einsum("bs,bsd->bd", weights, keys)
    odd = jnp.stack([token % 2 == 1, odd[:, 0]], axis=1)
    return {"h": h, "seen": (count + token, odd)}, (h + context) @ emit, weights


@functools.cache
def compiled(function, step, static):
    """Compiles a decoder for its static options, once for all tests."""

    def run(model, carry, arrays):
        return function(functools.partial(step, model), carry, **dict(static), **arrays)

    return jax.jit(run)


def decoder(function, by_row=lambda model: {}, **more):
    """Binds ids and sizes that the tests share; callers may override them.

    `by_row(model)` returns options that have one entry per row of the model.
    """

    def decode(model, carry=None, step=step, **options):
        shared = {"max_length": T, "bos": BOS, "eos": EOS, "pad": PAD}
        options = shared | more | by_row(model) | options
        batch = options.setdefault("batch_size", len(model.keys))
        arrays = {k: v for k, v in options.items() if hasattr(v, "dtype")}
        static = tuple((k, v) for k, v in options.items() if k not in arrays)
        carry = initial_carry(batch) if carry is None else carry
        return compiled(function, step, static)(model, carry, arrays)

    return decode


def sample_with_key(*args, rng=None, **options):
    return sample(jax.random.key(1409) if rng is None else rng, *args, **options)


def prefixes(model):
    return {"prefix": model.prefix, "prefix_lengths": model.prefix_lengths}


def masks(model):
    return {"source_mask": model.mask}


def every_option(model):
    return prefixes(model) | masks(model)


ON = {"no_repeat_ngram_size": 2}
# An array is traced, so that another value does not recompile.
PENALTIES = {
    "length_penalty": np.float32(1.3),
    "coverage_penalty": np.float32(0.7),
}
DECODERS = {  # name -> decode(model, **options); a new row inherits every law
    "greedy": decoder(greedy),
    "greedy constrained": decoder(greedy, prefixes, **ON),
    "sample": decoder(sample_with_key),
    "sample constrained": decoder(
        sample_with_key, prefixes, **ON, temperature=1.7, top_k=7, top_p=0.9, min_p=0.05
    ),
    "beam 5": decoder(beam_search, beam_size=5, length_penalty=np.float32(0.0)),
    "beam 5 constrained": decoder(
        beam_search, every_option, beam_size=5, **ON, **PENALTIES
    ),
}
each_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS.keys())
KINDS = {x: DECODERS[x] for x in ("greedy", "sample", "beam 5 constrained")}
each_kind = pytest.mark.parametrize("decode", KINDS.values(), ids=KINDS.keys())


def decode_table(decode, table, **options):
    """Decodes one row from a table of log-probabilities [V, V]."""
    log_probs = jnp.asarray(table, jnp.float32)

    def look_up(model, carry, token):
        return carry, log_probs[token], jnp.zeros((1, 1))

    model = make_model(0, batch=1, sources=1)
    return decode(model, carry=(), step=look_up, **options)


def sequences(found):
    """Returns the hypotheses of each row as lists of ids."""
    return [
        [list(map(int, y[:n])) for y, n in zip(ys, ns, strict=True)]
        for ys, ns in zip(*map(np.asarray, (found.tokens, found.lengths)), strict=True)
    ]


def assert_same(a, b):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def assert_empty(found):
    assert (np.asarray(found.tokens) == PAD).all()
    assert (np.asarray(found.lengths) == 0).all()
    assert (np.asarray(found.log_probs) == -np.inf).all()
    assert (np.asarray(found.scores) == -np.inf).all()
    assert (np.asarray(found.weights) == 0).all()
