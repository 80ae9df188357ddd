"""Both memory networks against the papers' loops, and laws of batches of stories."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import attnjax as aj
from attnjax.core import weights
from tests import oracle_memory

pytestmark = pytest.mark.versions

V, D, S, T, K = 13, 5, 7, 4, 3
STORIES = [
    [[3, 1, 2], [7, 12, 4, 2], [5], [3, 1, 9], [6, 6]],
    [[4]],
    [[1, 2, 3], [9, 8], [1, 2, 3], [12, 11, 10, 4], [2], [7, 5], [8, 1]],
]
QUESTIONS = [[3, 2], [4, 11, 6], [1]]
SOFT = aj.MemN2NConfig(
    vocab_size=V, embed_dim=D, num_hops=K, memory_size=S, init_stddev=0.5
)
HARD = aj.MemoryNetworkConfig(
    vocab_size=V, embed_dim=D, num_hops=2, memory_size=S, init_stddev=0.7
)
LINES = {
    "softmax": weights.masked_softmax,
    "hardmax": weights.hardmax,
    "linear": weights.unnormalised,
}


def pad(stories, facts=S, words=T, before=0):
    """Ids [B, facts, words]; `before` empty facts stand before each story."""
    found = np.zeros((len(stories), facts, words), np.int32)
    for b, story in enumerate(stories):
        for s, sentence in enumerate(story):
            found[b, before + s, : len(sentence)] = sentence
    return found


def pad_questions(questions, words=T):
    return pad([[q] for q in questions], 1, words)[:, 0]


FACTS, ASKED = pad(STORIES), pad_questions(QUESTIONS)


def soft(dtype="float32", **changes):
    """A model's rebuild and parameters, in float32 or, under x64, in float64."""
    config = dataclasses.replace(SOFT, **changes)
    rebuild, params = aj.split(aj.MemN2N(config, rngs=nnx.Rngs(0)))
    return rebuild, jax.tree.map(lambda x: x.astype(dtype), params)


def papers_matrices(params, tying, hops=K):
    """The parameters under the names of the paper, each tied matrix repeated."""
    tables = [np.array(params["embeddings"][str(i)], np.float64) for i in
              range(len(params["embeddings"]))]  # fmt: skip
    ages = [
        np.array(params["temporal"][str(i)], np.float64) for i in range(len(tables))
    ]
    for table in tables:
        table[0] = 0
    if tying == "adjacent":
        return {
            "A": tables[:-1], "C": tables[1:], "T_A": ages[:-1], "T_C": ages[1:],
            "B": tables[0], "W": tables[-1], "H": None,
        }  # fmt: skip
    others = {k: np.array(params[k], np.float64) for k in
              ("question_embedding", "w_output", "w_query")}  # fmt: skip
    others["w_output"][0] = 0
    return {
        "A": tables[:1] * hops, "C": tables[1:] * hops,
        "T_A": ages[:1] * hops, "T_C": ages[1:] * hops,
        "B": others["question_embedding"], "W": others["w_output"],
        "H": others["w_query"].T,
    }  # fmt: skip


@pytest.mark.parametrize("encode", [True, False], ids=["PE", "BoW"])
@pytest.mark.parametrize("tying", ["adjacent", "layer-wise"])
@pytest.mark.parametrize("line", LINES)
def test_end_to_end_is_the_papers_loop(tying, encode, line):
    rebuild, params = soft(tying=tying, position_encoding=encode)
    call = jax.jit(lambda p: rebuild(p)(FACTS, ASKED, weighting=LINES[line]))
    logits, read = call(params)
    matrices = papers_matrices(params, tying)
    for b, (story, question) in enumerate(zip(STORIES, QUESTIONS, strict=True)):
        want, p = oracle_memory.end_to_end(
            matrices, story, question, hops=K, tying=tying, encode=encode,
            weighting=line,
        )  # fmt: skip
        np.testing.assert_allclose(logits[b], want, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(read[b, :, : len(story)], p, rtol=2e-4, atol=1e-5)
        assert not read[b, :, len(story) :].any()


@pytest.mark.parametrize("tying", ["adjacent", "layer-wise"])
def test_the_gradient_of_shared_parameters_is_the_sum_over_their_uses(tying):
    """A directional derivative of the loop, in which a tied matrix moves everywhere."""
    rebuild, params = soft(tying=tying)
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda x: rng.standard_normal(x.shape), params)
    labels = [5, 1, 12]

    def loss(p):
        logits, _ = rebuild(p)(FACTS, ASKED)
        return aj.token_cross_entropy(logits, jnp.array(labels)).sum()

    def loop(step):
        moved = jax.tree.map(lambda x, d: np.asarray(x) + step * d, params, along)
        matrices = papers_matrices(moved, tying)
        return sum(
            oracle_memory.softmax_cross_entropy(
                oracle_memory.end_to_end(matrices, *given, hops=K, tying=tying)[0], y
            )
            for *given, y in zip(STORIES, QUESTIONS, labels, strict=True)
        )

    slope = jax.jit(jax.grad(loss))(params)
    dots = jax.tree.map(lambda g, d: float(np.sum(np.asarray(g) * d)), slope, along)
    want = (loop(1e-4) - loop(-1e-4)) / 2e-4
    np.testing.assert_allclose(sum(jax.tree.leaves(dots)), want, rtol=1e-3)


def test_the_sink_is_the_empty_slots_each_with_score_0():
    """As in the authors' code: a softmax over memory_size slots, some of zeros."""
    rebuild, params = soft(sink=True, num_hops=1)
    _, read = jax.jit(lambda p: rebuild(p)(FACTS, ASKED))(params)
    matrices = papers_matrices(params, "adjacent", 1)
    for b, (story, question) in enumerate(zip(STORIES, QUESTIONS, strict=True)):
        u = oracle_memory.embed_sentence(matrices["B"], question)
        scores = [
            u @ (oracle_memory.embed_sentence(matrices["A"][0], s)
                 + matrices["T_A"][0][age])
            for s, age in zip(story, oracle_memory.ages(story), strict=True)
        ]  # fmt: skip
        every = [*scores, *[0.0] * (S - len(story))]
        want = oracle_memory.masked_softmax(every, [True] * S)
        np.testing.assert_allclose(read[b, 0], [*want[: len(story)], *[0] * (S - len(
            story))], rtol=1e-4, atol=1e-6)  # fmt: skip


def test_tying_shares_what_it_must():
    _, adjacent = soft()
    assert list(adjacent) == ["embeddings", "temporal"]
    assert [x.shape for x in adjacent["embeddings"].values()] == [(V, D)] * (K + 1)
    assert [x.shape for x in adjacent["temporal"].values()] == [(S, D)] * (K + 1)
    _, shared = soft(tying="layer-wise")
    assert len(shared["embeddings"]) == len(shared["temporal"]) == 2
    assert {k: x.shape for k, x in shared.items() if k[-1] != "s" and k[0] != "t"} == {
        "question_embedding": (V, D), "w_output": (V, D), "w_query": (D, D),
    }  # fmt: skip


MODELS = {
    "adjacent": lambda: soft(),
    "layer-wise": lambda: soft(tying="layer-wise"),
    "bag": lambda: soft(position_encoding=False, temporal_encoding=False),
    "hard": lambda: hard(),
    "hard, no time": lambda: hard(write_time=False),
    "sink": lambda: soft(sink=True),
}
each_model = pytest.mark.parametrize("name", MODELS)


def hard(**changes):
    config = dataclasses.replace(HARD, **changes)
    return aj.split(aj.MemoryNetwork(config, rngs=nnx.Rngs(1)))


@each_model
def test_each_story_alone_is_itself_in_any_batch_with_any_padding(name):
    rebuild, params = MODELS[name]()
    call = jax.jit(lambda facts, asked: rebuild(params)(facts, asked))
    logits, read = call(FACTS, ASKED)
    again, _ = call(FACTS, ASKED)
    assert again.tolist() == logits.tolist()
    for b, story in enumerate(STORIES):
        n = len(story)
        alone, reads = call(pad([story], n), pad_questions([QUESTIONS[b]]))
        np.testing.assert_allclose(alone[0], logits[b], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(reads[0], read[b, :, :n], rtol=1e-4, atol=1e-5)
    short = STORIES[:1]
    wide = call(pad(short, S, 11, before=2), pad_questions(QUESTIONS[:1], 9))
    np.testing.assert_allclose(wide[0][0], logits[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(wide[1][0, :, 2:], read[0, :, :5], rtol=1e-4, atol=1e-5)


@each_model
def test_weights_are_in_the_simplex_and_an_empty_story_has_none(name):
    rebuild, params = MODELS[name]()
    facts = np.concatenate([FACTS, 0 * FACTS[:1]])
    asked = np.concatenate([ASKED, ASKED[:1]])
    logits, read = jax.jit(lambda f, q: rebuild(params)(f, q))(facts, asked)
    assert (read >= 0).all()
    if name == "sink":
        assert (read.sum(-1) <= 1 + 1e-6).all()
    else:
        np.testing.assert_allclose(read[:3].sum(-1), 1, rtol=1e-5)
    assert not read[3].any()
    assert not read[~(facts != 0).any(-1)[:, None].repeat(read.shape[1], 1)].any()
    assert np.isfinite(np.asarray(logits)).all()


@each_model
def test_the_null_row_of_a_table_changes_nothing(name):
    rebuild, params = MODELS[name]()
    poisoned = jax.tree.map(
        lambda x: x.at[0].set(1e6) if x.shape == (V, D) else x, params
    )
    call = jax.jit(lambda p: rebuild(p)(FACTS, ASKED)[0])
    np.testing.assert_array_equal(call(poisoned), call(params))


def test_noise_is_drawn_from_the_key_and_moves_ages_only():
    rebuild, params = soft(empty_slots=0.9)
    call = jax.jit(lambda rng: rebuild(params)(FACTS, ASKED, rng=rng)[0])
    quiet = call(None)
    one, same, other = (call(jax.random.key(k)) for k in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert one.tolist() != quiet.tolist()
    for changes in ({"empty_slots": 0.0}, {"temporal_encoding": False}):
        rebuild, params = soft(**changes)
        call = jax.jit(lambda rng, r=rebuild, p=params: r(p)(FACTS, ASKED, rng=rng)[0])
        np.testing.assert_allclose(call(jax.random.key(1)), call(None), rtol=1e-6)


def test_a_linear_start_keeps_the_answers_softmax():
    """Only hops lose theirs: logits stay logits, of which the loss takes a softmax."""
    rebuild, params = soft()
    line = {"weighting": weights.unnormalised}
    logits, read = jax.jit(lambda p: rebuild(p)(FACTS, ASKED, **line))(params)
    assert (read.sum(-1) != 1).any()
    matrices = papers_matrices(params, "adjacent")
    nats = aj.token_cross_entropy(logits, jnp.array([5, 1, 12]))
    for b, y in enumerate([5, 1, 12]):
        ranks, _ = oracle_memory.end_to_end(
            matrices, STORIES[b], QUESTIONS[b], hops=K, tying="adjacent",
            weighting="linear",
        )  # fmt: skip
        want = oracle_memory.softmax_cross_entropy(ranks, y)
        np.testing.assert_allclose(nats[b], want, rtol=1e-4, atol=1e-5)


def features_of(params, name):
    """U of the paper from our tables: [D, 3V + 3]."""
    tables = [np.asarray(params[name][k], np.float64) for k in
              ("question", "found", "candidate")]  # fmt: skip
    time = params.get("time") if name == "select" else None
    time = np.zeros((3, D)) if time is None else np.asarray(time, np.float64)
    return np.concatenate([*tables, time]).T


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("time", [True, False], ids=["time", "no time"])
def test_hard_is_the_papers_with_features_spelled_out(time, hops):
    rebuild, params = hard(write_time=time, num_hops=hops)
    U = {f"U_{r}": features_of(params, k) for r, k in zip("OR", ("select", "respond"),
                                                         strict=True)}  # fmt: skip
    ranks, read = jax.jit(lambda p: rebuild(p)(FACTS, ASKED))(params)
    supports = np.array([[4, 1, 4], [0, 0, 0], [2, 6, 0]], np.int32)[:, :hops]
    answers = np.array([5, 1, 12], np.int32)
    losses = jax.jit(lambda p: rebuild(p).losses(FACTS, ASKED, supports, answers))
    loss = losses(params)
    for b, (story, question) in enumerate(zip(STORIES, QUESTIONS, strict=True)):
        found, scores = oracle_memory.memory_network(
            U, story, question, hops=hops, V=V, time=time
        )
        assert read[b].argmax(-1).tolist() == found
        np.testing.assert_allclose(ranks[b, 1:], scores[1:], rtol=1e-4, atol=1e-4)
        want = oracle_memory.ranking_loss(
            U, story, question, supports[b].tolist(), answers[b], V=V,
            margin=HARD.margin, time=time,
        )  # fmt: skip
        np.testing.assert_allclose(loss[b], want, rtol=1e-4)


def test_given_facts_are_those_attended_to():
    rebuild, params = hard()
    supports = jnp.array([[4, 1], [0, 0], [2, 6]])
    call = jax.jit(lambda given: rebuild(params)(FACTS, ASKED, supports=given))
    ranks, read = call(supports)
    assert read.argmax(-1).tolist() == supports.tolist()
    chosen, own = call(None)
    again, _ = call(own.argmax(-1))
    np.testing.assert_allclose(again, chosen, rtol=1e-5)
    assert ranks.tolist() != chosen.tolist()


def test_a_fact_is_never_its_own_negative_and_an_unknown_one_costs_nothing():
    rebuild, params = hard(num_hops=1)
    losses = jax.jit(partial(rebuild(params).losses, answer=jnp.array([4])))
    # A story of one fact has no wrong one, so that only the answer costs.
    one = losses(pad([[[4]]]), pad_questions([[4]]), jnp.array([[0]]))
    more = losses(pad([[[4], [5]]]), pad_questions([[4]]), jnp.array([[0]]))
    ranks, _ = rebuild(params)(
        pad([[[4]]]), pad_questions([[4]]), supports=jnp.array([[0]])
    )
    wrong = [v for v in range(1, V) if v != 4]
    answer = sum(max(0.0, 0.1 - float(ranks[0, 4]) + float(ranks[0, v])) for v in wrong)
    np.testing.assert_allclose(one[0], answer, rtol=1e-5)
    assert more[0] >= one[0]
    unknown = losses(pad([[[4], [5]]]), pad_questions([[4]]), jnp.array([[-1]]))
    facts_cost = float(unknown[0])
    ranks, _ = rebuild(params)(
        pad([[[4], [5]]]), pad_questions([[4]]), supports=jnp.array([[-1]])
    )
    answer = sum(max(0.0, 0.1 - float(ranks[0, 4]) + float(ranks[0, v])) for v in wrong)
    np.testing.assert_allclose(facts_cost, answer, rtol=1e-5)


def test_hard_and_soft_are_one_hop_with_another_weighting():
    """As temperatures fall, softmax hops read what hardmax hops read."""
    rebuild, params = soft(num_hops=1)

    def cold(scores, mask):
        return weights.masked_softmax(scores * 1e4, mask)

    call = jax.jit(
        lambda p, line: rebuild(p)(FACTS, ASKED, weighting=line), static_argnums=1
    )
    hardest, read = call(params, weights.hardmax)
    limit, _ = call(params, cold)
    np.testing.assert_allclose(limit, hardest, rtol=1e-4, atol=1e-4)
    assert set(np.unique(read)) == {0.0, 1.0}


@pytest.mark.parametrize("name", ["adjacent", "hard"])
def test_an_explicit_mesh_gives_one_devices_numbers(name):
    rebuild, params = MODELS[name]()
    facts, asked = (
        np.concatenate([FACTS, FACTS[:1]]),
        np.concatenate([ASKED, ASKED[:1]]),
    )
    options = {} if name == "hard" else {"rng": jax.random.key(0)}
    call = jax.jit(lambda f, q: rebuild(params)(f, q, **options))
    want = call(facts, asked)
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Explicit,))
    with jax.set_mesh(mesh):
        rows = [
            jax.device_put(x, NamedSharding(mesh, P("data"))) for x in (facts, asked)
        ]
        got = call(*rows)
    for one, two in zip(got, want, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@each_model
def test_low_precision_is_near_and_its_logits_are_wide(name):
    rebuild, params = MODELS[name]()
    config = rebuild(params).config
    module = type(rebuild(params))
    low, _ = aj.split(
        module(dataclasses.replace(config, dtype="bfloat16"), rngs=nnx.Rngs(0))
    )
    logits, read = jax.jit(lambda p: low(p)(FACTS, ASKED))(params)
    assert logits.dtype == jnp.float32
    assert np.isfinite(np.asarray(logits)).all()
    if not name.startswith("hard"):
        want, _ = jax.jit(lambda p: rebuild(p)(FACTS, ASKED))(params)
        np.testing.assert_allclose(logits, want, rtol=0.1, atol=0.3)
    assert read.shape[0] == 3


def run(built, facts, asked, **options):
    rebuild, params = built
    return rebuild(params)(facts, asked, **options)


def losses(supports, answers):
    rebuild, params = hard()
    return rebuild(params).losses(FACTS, ASKED, supports, answers)


def test_supports_and_answers_that_do_not_exist_cost_nan_where_they_are_unknown():
    supports = np.array([[4, -1], [0, 1], [6, 7]])  # the story of one fact, of seven
    costs = jax.jit(losses)(supports, np.array([4, 4, 4]))
    assert np.isnan(costs).tolist() == [False, True, True]
    costs = jax.jit(losses)(np.full((3, 2), -1), np.array([-1, V, V - 1]))
    assert np.isnan(costs).tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["adjacent", "hard", "hard, no time"])
def test_a_memory_without_slots_answers_as_an_empty_one(name):
    rebuild, params = MODELS[name]()
    call = jax.jit(lambda facts: rebuild(params)(facts, ASKED)[0])
    want = call(0 * FACTS)
    np.testing.assert_allclose(call(FACTS[:, :0]), want, rtol=1e-5, atol=1e-6)
    assert rebuild(params)(FACTS[:0], ASKED[:0])[0].shape == (0, V)
    if name != "adjacent":
        none, answers = np.full((3, 2), -1), np.array([1, 2, 3])
        cost = rebuild(params).losses(FACTS[:, :0], ASKED, none, answers)
        assert np.isfinite(cost).all()


BAD = {
    "facts": (
        lambda: soft()[0](soft()[1])(pad(STORIES, S + 1), ASKED),
        r"^facts: expected at most 7 a story, got 8 \(memory_size; keep the most",
    ),
    "id": (
        lambda: soft()[0](soft()[1])(FACTS + V, ASKED),
        r"^facts: expected ids from 0 to 12, got 16 \(",
    ),
    "question": (
        lambda: hard()[0](hard()[1])(FACTS, ASKED - 1),
        r"^question: expected ids from 0 to 12, got -1 \(",
    ),
    "rank": (lambda: run(hard(), FACTS[0], ASKED), r"^facts: expected shape \[B, S, T"),
    "rows": (
        lambda: run(soft(), FACTS, ASKED[:1]),
        r"^question: expected 3 rows, one a story, got 1",
    ),
    "dtype": (
        lambda: run(soft(), FACTS * 1.5, ASKED),
        r"^facts: expected int values, got float64 \(",
    ),
    "hard memory": (
        lambda: run(hard(), pad(STORIES, S + 1), ASKED),
        r"^facts: expected at most 7 a story, got 8 \(",
    ),
    "supports": (
        lambda: run(hard(), FACTS, ASKED, supports=np.zeros((3, 1), int)),
        r"^supports: expected shape \[3, 2\], got \[3, 1\] \(num_hops",
    ),
    "no fact": (
        lambda: run(hard(), FACTS, ASKED, supports=np.array([[0, 1], [0, 1], [6, -1]])),
        r"^supports: expected an index of a fact, got 1 in row 1 \(",
    ),
    "answer": (
        lambda: losses(np.full((3, 2), -1), np.array([4, 0, 4])),
        r"^answer: expected a word, got 0 \(the null word",
    ),
    "answers": (
        lambda: losses(np.full((3, 2), -1), np.array([4])),
        r"^answer: expected 3 ids, one a story, got 1",
    ),
    "choice": (
        lambda: soft(tying="none"),
        r"^tying: expected one of adjacent, layer-wise, got 'none'",
    ),
    "length": (
        lambda: soft(sentence_length=0),
        r"^sentence_length: expected at least 1, got 0",
    ),
    "hops": (lambda: soft(num_hops=0), r"^num_hops: expected at least 1, got 0"),
    "memory": (lambda: hard(memory_size=0), r"^memory_size: expected at least 1, got"),
    "slots": (
        lambda: soft(empty_slots=1.0),
        r"^empty_slots: expected a share in \[0, 1\), got 1\.0 \(the paper uses 0\.1\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_told_what_to_do(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
