"""Laws of every decoder, then beam search against two oracles, then error text."""

import functools
import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import Hypotheses, beam, greedy, sample
from attnjax.decode.selection import top_k

PAD, BOS, EOS, UNK = 0, 1, 2, 3
B, S, D, V, T = 3, 5, 7, 11, 13  # unequal primes: a transposed axis cannot pass


class Model(NamedTuple):
    """A small recurrent model; its carry has leaves of three dtypes that all matter."""

    embed: np.ndarray  # [V, D]
    recur: np.ndarray  # [D, D]
    emit: np.ndarray  # [D, V]
    keys: np.ndarray  # [B, S, D]


def make_model(seed, batch=B, vocab=V):
    draw = np.random.default_rng(seed).normal
    shapes = [(vocab, D), (D, D), (D, vocab), (batch, S, D)]
    return Model(*(draw(size=shape) for shape in shapes))


def start(batch=B):
    return {
        "h": jnp.zeros((batch, D)),
        "seen": (jnp.zeros(batch, jnp.int32), jnp.zeros((batch, 2), bool)),
    }


def step(model, carry, token):
    count, odd = carry["seen"]
    model = jax.tree.map(lambda x: jnp.asarray(x, carry["h"].dtype), model)
    wave = jnp.sin(count.astype(carry["h"].dtype))[:, None]
    h = jnp.tanh(model.embed[token] + carry["h"] @ model.recur + wave)
    h = h + jnp.where(odd[:, :1], 0.5, 0.0) - jnp.where(odd[:, 1:], 0.3, 0.0)
    weights = jax.nn.softmax(jnp.einsum("bsd,bd->bs", model.keys, h))
    context = jnp.einsum("bs,bsd->bd", weights, model.keys)
    odd = jnp.stack([token % 2 == 1, odd[:, 0]], axis=1)
    return {"h": h, "seen": (count + token, odd)}, (h + context) @ model.emit, weights


def follow(model, row, tokens):
    """Teacher-forces one row in float64: log-probabilities [n, V], weights [n, S]."""
    h, count, odd = np.zeros(D), 0, (False, False)
    log_probs, weights = [], []
    for token in [BOS, *tokens][: len(tokens) + 1]:
        h = np.tanh(model.embed[token] + h @ model.recur + np.sin(count))
        h = h + (0.5 if odd[0] else 0.0) - (0.3 if odd[1] else 0.0)
        w = np.exp(model.keys[row] @ h)
        w = w / w.sum()
        logits = (h + w @ model.keys[row]) @ model.emit
        log_probs.append(logits - np.log(np.exp(logits).sum()))
        weights.append(w)
        count, odd = count + token, (token % 2 == 1, odd[0])
    return np.stack(log_probs), np.stack(weights)


@functools.cache
def compiled(function, step, static):
    """Compiles a decoder for its static options, once for all tests."""

    def run(model, carry, arrays):
        return function(functools.partial(step, model), carry, **dict(static), **arrays)

    return jax.jit(run)


def decoder(function, **more):
    """Binds ids and sizes that the tests share; they may be overridden."""

    def decode(model, carry=None, step=step, **options):
        options = {"max_length": T, "bos": BOS, "eos": EOS, "pad": PAD} | more | options
        batch = options.setdefault("batch_size", len(model.keys))
        arrays = {k: v for k, v in options.items() if hasattr(v, "dtype")}
        static = tuple((k, v) for k, v in options.items() if k not in arrays)
        carry = start(batch) if carry is None else carry
        return compiled(function, step, static)(model, carry, arrays)

    return decode


def drawn(*args, rng=None, **options):
    return sample(jax.random.key(1409) if rng is None else rng, *args, **options)


DECODERS = {  # name -> decode(model, **options); add a row, inherit the laws below
    "greedy": decoder(greedy),
    "sample": decoder(drawn),
    "beam 1": decoder(beam, beam_size=1),
    # A penalty that is an array does not compile anew for every value.
    "beam 5": decoder(beam, beam_size=5, length_penalty=np.float32(0.0)),
    "beam 5 penalised": decoder(beam, beam_size=5, length_penalty=np.float32(1.3)),
}
each_decoder = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS.keys())
EAGER = ("greedy", "sample", "beam 5")  # op by op is slow: one of each kind


def sequences(found):
    """Returns the hypotheses as lists of ids, a list for each row."""
    return [
        [list(map(int, y[:n])) for y, n in zip(ys, ns, strict=True)]
        for ys, ns in zip(*map(np.asarray, (found.tokens, found.lengths)), strict=True)
    ]


# Laws of every decoder


@each_decoder
@pytest.mark.parametrize("seed", range(3))
def test_hypotheses_keep_their_own_rules(decode, seed):
    found = decode(make_model(seed), min_length=4, max_length=7, forbid=(UNK, 5))
    for y in itertools.chain.from_iterable(sequences(found)):
        assert 4 <= len(y) <= 7
        assert y[-1] == EOS
        assert not {PAD, BOS, EOS, UNK, 5} & set(y[:-1])
    beyond = np.arange(7) >= np.asarray(found.lengths)[..., None]
    assert (np.asarray(found.tokens)[beyond] == PAD).all()
    assert (np.asarray(found.weights)[beyond] == 0).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()


@each_decoder
@pytest.mark.parametrize("seed", range(3))
def test_teacher_forcing_gives_the_same_log_probs_and_weights(decode, seed):
    model = make_model(seed)
    found = decode(model)
    for row, ys in enumerate(sequences(found)):
        for k, y in enumerate(ys):
            log_probs, weights = follow(model, row, y[:-1])
            want = log_probs[np.arange(len(y)), y].sum()
            np.testing.assert_allclose(found.log_probs[row, k], want, rtol=1e-5)
            np.testing.assert_allclose(
                found.weights[row, k, : len(y)], weights, rtol=1e-4, atol=1e-6
            )


@each_decoder
def test_shapes_and_dtypes(decode):
    found = decode(make_model(0))
    K = found.tokens.shape[1]
    assert found.tokens.shape == (B, K, T)
    assert found.weights.shape == (B, K, T, S)
    assert {x.shape for x in (found.lengths, found.log_probs, found.scores)} == {(B, K)}
    assert [x.dtype for x in found] == ["int32", "int32", *["float32"] * 3]


@each_decoder
def test_a_row_does_not_depend_on_the_others(decode):
    model = make_model(7)
    whole = decode(model)
    # Rows keep their index, on which a draw depends; the batch around them changes.
    for batch in (model.keys[:2], np.concatenate([model.keys, 9 * model.keys])):
        found = decode(model._replace(keys=batch))
        both = [x[:2] for x in whole], [x[:2] for x in found]
        assert_same(*(Hypotheses(*x) for x in both))


@pytest.mark.parametrize("name", sorted(DECODERS.keys() - {"sample"}))
def test_permuting_rows_permutes_hypotheses(name):
    model, order = make_model(8), np.array([2, 0, 1])
    whole = DECODERS[name](model)
    found = DECODERS[name](model._replace(keys=model.keys[order]))
    assert_same(jax.tree.map(lambda x: x[order], whole), found)


@each_decoder
def test_rows_of_padding_are_empty_and_change_nothing(decode):
    model = make_model(9)
    alone = decode(model)
    wide = model._replace(keys=np.concatenate([model.keys, np.zeros((2, S, D))]))
    found = decode(wide, max_length=jnp.array([T, T, T, 0, 0]), size=T)
    assert_same(alone, jax.tree.map(lambda x: x[:B], found))
    assert_empty(jax.tree.map(lambda x: x[B:], found))


@each_decoder
def test_rows_have_their_own_longest_length(decode):
    model = make_model(10)
    limits = [2, 5, 3]
    found = decode(model, max_length=jnp.array(limits), size=T)
    for row, limit in enumerate(limits):
        alone = decode(model, max_length=jnp.full(B, limit), size=T)
        assert_same(*(jax.tree.map(lambda x, r=row: x[r], x) for x in (found, alone)))
        assert np.asarray(found.lengths[row]).max() <= limit


@each_decoder
def test_the_longest_length_wins_over_the_shortest(decode):
    found = decode(make_model(0), max_length=jnp.array([2, 3, 6]), size=6, min_length=5)
    assert [max(map(len, ys)) for ys in sequences(found)] == [2, 3, 6]


@each_decoder
def test_where_nothing_is_allowed_nothing_is_found_and_nothing_is_nan(decode):
    everything = tuple(set(range(V)) - {EOS})
    found = decode(make_model(0), forbid=everything, min_length=3, max_length=5)
    assert_empty(found)
    assert not any(np.isnan(x).any() for x in found)


@pytest.mark.parametrize("name", ["greedy", "beam 5"])
def test_a_step_that_gives_no_id_a_chance_ends_without_nan(name):
    def impossible(model, carry, token):
        carry, logits, weights = step(model, carry, token)
        return carry, jnp.full_like(logits, -jnp.inf), weights

    with jax.debug_nans(True), jax.disable_jit():
        assert_empty(DECODERS[name](make_model(0), step=impossible))


@each_decoder
def test_one_id_may_be_bos_eos_and_pad(decode):
    found = decode(make_model(3), bos=EOS, pad=EOS)
    for y in itertools.chain.from_iterable(sequences(found)):
        assert y.index(EOS) == len(y) - 1


@pytest.mark.parametrize("name", EAGER)
def test_jit_is_eager(name):
    model = make_model(4)
    found = DECODERS[name](model, max_length=5)
    with jax.disable_jit():
        assert_same(DECODERS[name](model, max_length=5), found)


@each_decoder
def test_compiles_once_for_each_shape(decode):
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def run(model, limits):
        return decode(model, max_length=limits, size=T)

    for seed in range(3):
        run(make_model(seed), jnp.array([T, seed, 2 + seed]))


@each_decoder
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_log_probs_are_at_least_float32(decode, dtype):
    with jax.enable_x64(dtype == "float64"):
        carry = start() | {"h": jnp.zeros((B, D), dtype)}
        found = decode(make_model(0), carry)
    want = {"bfloat16": "float32", "float64": "float64"}[dtype]
    assert [x.dtype for x in found] == ["int32", "int32", *[want] * 3]


@each_decoder
def test_a_step_may_carry_nothing(decode):
    table = np.log(np.random.default_rng(0).dirichlet(np.ones(V), size=V))
    found = decode_table(decode, table)
    for y, log_prob in zip(sequences(found)[0], found.log_probs[0], strict=True):
        want = sum(table[a, b] for a, b in itertools.pairwise([BOS, *y]))
        np.testing.assert_allclose(log_prob, want, rtol=1e-5)


def decode_table(decode, table, **options):
    """Decodes one row from a table of log-probabilities [V, V]."""
    log_probs = jnp.asarray(table, jnp.float32)

    def look_up(model, carry, token):
        return carry, log_probs[token], jnp.zeros((1, 1))

    return decode(make_model(0, batch=1), carry=(), step=look_up, **options)


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


# Greedy and sampling


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_is_greedy(seed, alpha):
    model, options = make_model(seed), {"forbid": (UNK,), "min_length": 2}
    one = DECODERS["beam 1"](model, length_penalty=alpha, **options)
    assert_same(
        DECODERS["greedy"](model, **options), one._replace(scores=one.log_probs)
    )


@pytest.mark.parametrize("seed", range(3))
def test_greedy_takes_the_likeliest_token_every_time(seed):
    model = make_model(seed)
    for row, (y,) in enumerate(sequences(DECODERS["greedy"](model))):
        log_probs, _ = follow(model, row, y[:-1])
        log_probs[:, [PAD, BOS]] = -np.inf
        assert y[: T - 1] == log_probs.argmax(axis=1).tolist()[: T - 1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_are_as_frequent_as_they_are_likely(temperature):
    N, words = 5003, (4, 6)
    table = np.log(np.random.default_rng(5).dirichlet(np.ones(V), size=V))

    def look_up(model, carry, token):
        return carry, jnp.asarray(table, jnp.float32)[token], jnp.zeros((N, 1))

    found = DECODERS["sample"](
        make_model(0),
        carry=(),
        step=look_up,
        batch_size=N,
        max_length=3,
        forbid=tuple(set(range(V)) - {EOS, *words}),
        temperature=temperature,
    )
    ys = [tuple(y) for (y,) in sequences(found)]
    outcomes = [(*y, EOS) for n in range(3) for y in itertools.product(words, repeat=n)]
    expected = []
    for y in outcomes:
        p = 1.0
        for i, (last, token) in enumerate(itertools.pairwise((BOS, *y))):
            allowed = [EOS, *words] if i < 2 else [EOS]
            mass = {v: np.exp(table[last, v] / temperature) for v in allowed}
            p *= mass[token] / sum(mass.values())
        expected.append(N * p)
    np.testing.assert_allclose(sum(expected), N)
    counts = np.array([ys.count(y) for y in outcomes])
    assert counts.sum() == N
    # Chi-square with 6 degrees of freedom: a right sampler is above 38.3 for one
    # seed in 10^6, since P(x) = exp(-x/2) (1 + x/2 + x^2/8).
    assert ((counts - expected) ** 2 / expected).sum() < 38.3


def test_draws_differ_between_keys_and_vmap_over_them():
    model, decode = make_model(2), DECODERS["sample"]
    keys = jax.random.split(jax.random.key(0), 5)
    many = jax.jit(jax.vmap(lambda rng: decode(model, rng=rng)))(keys)
    for i, rng in enumerate(keys):
        assert_same(decode(model, rng=rng), jax.tree.map(lambda x, i=i: x[i], many))
    assert len({tuple(np.ravel(x)) for x in many.tokens}) == 5


# Beam search against oracles


class Rules(NamedTuple):
    max_length: int = 5
    min_length: int = 0
    alpha: float = 0.0
    words: tuple[int, ...] = (4, 6)  # the free ids beside EOS


def score(log_prob, length, alpha):
    return log_prob / ((5 + length) / 6) ** alpha


def exhaustive(model, row, rules):
    """Scores every sequence there is; best first."""
    found = []
    for n in range(max(rules.min_length, 1), rules.max_length + 1):
        for y in itertools.product(rules.words, repeat=n - 1):
            log_probs, _ = follow(model, row, y)
            log_prob = log_probs[np.arange(n), [*y, EOS]].sum()
            found.append((score(log_prob, n, rules.alpha), log_prob, [*y, EOS]))
    return sorted(found, key=lambda x: -x[0])


def plain_beam(model, row, rules, K):
    """Searches with lists, one row at a time, and never stops early."""
    live, finished = [(0.0, [])], []
    for n in range(1, rules.max_length + 1):
        candidates = []
        for log_prob, y in live:
            gains = follow(model, row, y)[0][-1]
            may_end = [EOS] if n >= rules.min_length else []
            allowed = [EOS] if n == rules.max_length else [*may_end, *rules.words]
            candidates += [(log_prob + gains[v], [*y, v]) for v in allowed]
        best = sorted(candidates, key=lambda x: -x[0])[:K]
        live = [x for x in best if x[1][-1] != EOS]
        finished += [(score(p, n, rules.alpha), p, y) for p, y in best if y[-1] == EOS]
    return sorted(finished, key=lambda x: -x[0])


def assert_found(found, row, wanted):
    """Checks one row against (score, log-probability, ids) triples, best first."""
    assert sequences(found)[row] == [y for _, _, y in wanted]
    for got, i in ((found.scores, 0), (found.log_probs, 1)):
        np.testing.assert_allclose(got[row], [x[i] for x in wanted], rtol=1e-5)


def search(model, rules, K, **options):
    vocab = len(model.embed)
    return DECODERS["beam 5"](
        model,
        beam_size=K,
        max_length=rules.max_length,
        min_length=rules.min_length,
        length_penalty=np.float32(rules.alpha),  # an array: one program for all
        forbid=tuple(set(range(vocab)) - {EOS, *rules.words}),
        **options,
    )


ALPHAS = (0.0, 0.6, 1.0, 2.5)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("min_length", "max_length"), [(0, 5), (3, 5), (4, 4), (0, 1)])
def test_a_beam_wide_enough_is_exhaustive_search(alpha, min_length, max_length):
    # 31 sequences and never more than 24 candidates: a beam of 31 drops nothing.
    model = make_model(21, vocab=31)
    rules = Rules(max_length, min_length, alpha)
    found = search(model, rules, 31)
    for row in range(B):
        every = exhaustive(model, row, rules)
        free = 31 - len(every)
        assert_found(found, row, every + free * [(-np.inf, -np.inf, [])])


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("K", [1, 2, 5])
def test_beam_search_is_the_plain_one(alpha, seed, K):
    model = make_model(seed)
    rules = Rules(T, 2, alpha, words=(4, 5, 6, 7, 8, 9))
    found = search(model, rules, K)
    for row in range(B):
        assert_found(found, row, plain_beam(model, row, rules, K)[:K])


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("seed", range(3))
def test_fewer_n_best_are_the_first_of_more(alpha, seed):
    model, rules = make_model(seed), Rules(T, 0, alpha, words=(4, 5, 6, 7))
    more = search(model, rules, 5)
    for n in (1, 3):
        fewer = search(model, rules, 5, n_best=n)
        assert_same(jax.tree.map(lambda x, n=n: x[:, :n], more), fewer)


def table_of(rows):
    """Returns log-probabilities [V, V] from {last: {next: probability}}."""
    table = np.full((V, V), -np.inf)
    for last, following in rows.items():
        for token, p in following.items():
            table[last, token] = np.log(p)
    return table


def test_a_longer_hypothesis_overtakes_one_that_ended_long_before():
    # By hand: [EOS] scores log(0.6) / 1 = -0.51; seven tokens, certain after the
    # first, score log(0.4) / ((5 + 7) / 6)^2 = -0.23.
    long = [4, 5, 6, 7, 8, 9, EOS]
    certain = {a: {b: 1.0} for a, b in itertools.pairwise(long)}
    table = table_of({BOS: {EOS: 0.6, 4: 0.4}} | certain)
    for alpha, y, want in [(2.0, long, np.log(0.4) / 4), (0.0, [EOS], np.log(0.6))]:
        options = {"beam_size": 2, "n_best": 1, "max_length": 7}
        found = decode_table(DECODERS["beam 5"], table, length_penalty=alpha, **options)
        assert sequences(found) == [[y]]
        np.testing.assert_allclose(found.scores, [[want]], rtol=1e-6)


@pytest.mark.parametrize(("alpha", "limit", "steps"), [(0, 7, 1), (2, 2, 1), (2, 7, 7)])
def test_search_ends_as_soon_as_nothing_can_overtake(alpha, limit, steps):
    # After one step -0.51 leads and -0.92 lives. Without a penalty that can only
    # fall; by length 2 it could reach -0.92 / (7/6)^2 = -0.67, and by length 7
    # -0.92 / 2^2 = -0.23: only the last must be searched to the end.
    table = table_of({BOS: {EOS: 0.6, 4: 0.4}, 4: {4: 1.0}})
    calls = []

    def counted(model, carry, token):
        jax.debug.callback(lambda: calls.append(None))  # once for the whole beam
        return carry, jnp.asarray(table, jnp.float32)[token], jnp.zeros((1, 1))

    found = DECODERS["beam 5"](
        make_model(0, batch=1),
        carry=(),
        step=counted,
        beam_size=2,
        n_best=1,
        max_length=np.array([limit]),
        size=7,
        length_penalty=np.float32(alpha),
    )
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert len(calls) == steps


def test_a_step_sees_neither_beam_axis_nor_copies_of_the_memory():
    seen = []

    def spy(model, carry, token):
        seen.append((model.keys.shape, carry["h"].shape, token.shape))
        return step(model, carry, token)

    DECODERS["beam 5"](make_model(0), step=spy)
    assert set(seen) == {((B, S, D), (B, D), (B,))}


@pytest.mark.parametrize("size", [5, 63, 64, 65, 317, 331, 1021])
@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_lax_top_k(size, k):
    random = np.random.default_rng(size)
    x = random.integers(-3, 7, size=(3, 2, size)).astype(np.float32)  # many ties
    x[0, 0] = -np.inf
    x[0, 1, :-1] = -np.inf
    for rows in (x, x + random.normal(size=x.shape).astype(np.float32)):
        for got, want in zip(top_k(rows, k), jax.lax.top_k(rows, k), strict=True):
            np.testing.assert_array_equal(got, want)


# Error text

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
    ("greedy", {"size": 0}, ValueError, "size: expected at least 1, got 0"),
    (
        "greedy",
        {"max_length": np.array([5, 5, 5])},
        ValueError,
        r"size: expected an int where max_length is an array, got None \(it is",
    ),
    (
        "greedy",
        {"max_length": np.array([5, 5]), "size": 5},
        ValueError,
        r"max_length: expected shape \[3\], got \[2\] \(one length per row",
    ),
    (
        "greedy",
        {"max_length": np.array([5.0, 5.0, 5.0]), "size": 5},
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
    ("greedy", {"forbid": (3, 11)}, ValueError, "forbid: expected at most 10"),
    (
        "greedy",
        {"forbid": (UNK, EOS)},
        ValueError,
        r"forbid: expected ids other than eos, got 2 \(a hypothesis could not end",
    ),
    (
        "sample",
        {"temperature": 0.0},
        ValueError,
        r"temperature: expected a positive number, got 0.0 \(for the likeliest",
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
def test_a_step_that_is_none_is_told_what_a_step_is(bad, text):
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
            start(),
            batch_size=B,
            max_length=T,
            bos=BOS,
            eos=EOS,
        )
