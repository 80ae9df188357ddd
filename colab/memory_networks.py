# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Memory networks: reading a story in hops
#
# A memory network answers a question about a story. Each fact of the story is a
# memory. A *hop* is the line **score → weights → context**: the question is scored
# against the facts, the scores become weights, the weights read the facts. Then what
# was read is added to the question, and it hops again.
#
# Weston, Chopra & Bordes 2014 (arXiv:1410.3916) chose one fact a hop, and trained on
# the right ones. Sukhbaatar et al. 2015 (arXiv:1503.08895) made the choice soft, so
# that the answer alone is supervision enough. Both are one cell here, `attnjax.hop`.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("attnjax") is None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "attnjax"], check=True
    )

# %%
import os
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import attnjax as aj

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "1500"))

# %% [markdown]
# ## A hop by hand
#
# Two facts, of which the first matches the question. Only the weighting tells the hard
# network from the soft one.

# %%
facts = jnp.array([[3.0, 0.0], [1.0, 2.0]])
memory = aj.Memory(keys=facts, values=facts, mask=jnp.ones(2, bool))
question = jnp.array([1.0, 0.0])
for weighting in (aj.masked_softmax, aj.hardmax, aj.unnormalised):
    query, read = aj.hop(aj.HopParams(), question, memory=memory, weighting=weighting)
    print(f"{weighting.__name__:15} weights {read.weights}  next query {query}")

# %% [markdown]
# ## Stories
#
# Two people walk about, and one carries the milk. To find the milk, two facts are
# needed: who has it, and where that person went last.

# %%
PEOPLE, ROOMS = ("mary", "john"), ("hall", "garden", "office", "kitchen")


def make_story(rng: random.Random) -> tuple[list[str], str, str]:
    """Facts, a question and its answer."""
    place = {person: rng.choice(ROOMS) for person in PEOPLE}
    story = [f"{person} went to the {place[person]}" for person in PEOPLE]
    holder = rng.choice(PEOPLE)
    story.insert(rng.randint(1, 2), f"{holder} took the milk")
    for _ in range(rng.randint(0, 4)):
        person = rng.choice(PEOPLE)
        place[person] = rng.choice([room for room in ROOMS if room != place[person]])
        story.append(f"{person} went to the {place[person]}")
    asked = rng.choice([*PEOPLE, "milk"])
    who = holder if asked == "milk" else asked
    return story, f"where is {asked}", place[who]


story, question, answer = make_story(random.Random(3))
print(*story, f"{question}? {answer}", sep="\n")

# %% [markdown]
# Words become ids from 1; 0 is the null word, which pads sentences and stories.

# %%
WORDS = ("went", "to", "the", "took", "milk", "where", "is", *PEOPLE, *ROOMS)
IDS = {word: i for i, word in enumerate(WORDS, start=1)}
S, T = 7, 5


def encode(stories: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Facts [B, S, T], questions [B, T] and answers [B]."""
    facts = np.zeros((len(stories), S, T), np.int32)
    questions = np.zeros((len(stories), T), np.int32)
    for b, (story, question, _) in enumerate(stories):
        for row, sentence in zip(
            [*facts[b], questions[b]], [*story, *[""] * S], strict=False
        ):
            words = [IDS[word] for word in sentence.split()]
            row[: len(words)] = words
        words = [IDS[word] for word in question.split()]
        questions[b, : len(words)] = words
    answers = np.array([IDS[answer] for _, _, answer in stories], np.int32)
    return facts, questions, answers


draw = random.Random(0)
train, test = (encode([make_story(draw) for _ in range(n)]) for n in (4000, 500))

# %% [markdown]
# ## Training, end to end
#
# Two hops. The first steps leave the softmax of the hops out (*linear start*), which
# keeps the network from getting stuck. The loss knows answers only, no facts.

# %%
config = aj.MemN2NConfig(
    vocab_size=len(WORDS) + 1, embed_dim=20, num_hops=2, memory_size=S, sink=True
)
rebuild, params = aj.split(aj.MemN2N(config, rngs=nnx.Rngs(0)))


def loss(params, batch, rng):
    """Nats of the answers, summed."""
    facts, questions, answers, linear = batch
    model = rebuild(params)

    def weighting(scores, mask):
        soft = model.weighting(scores, mask)
        return jnp.where(linear[0], aj.unnormalised(scores, mask), soft)

    logits, _ = model(facts, questions, rng=rng, weighting=weighting)
    nats = aj.token_cross_entropy(logits, answers).sum()
    return aj.train.Loss(nats, jnp.array(len(answers)))


@jax.jit
def predict(params, facts, questions):
    """Answers [B] and the weights of every hop [B, K, S]."""
    logits, weights = rebuild(params)(facts, questions)
    return logits.argmax(-1), weights


def error(params, data):
    """The share of wrong answers."""
    answers, _ = predict(params, *data[:2])
    return float((answers != data[2]).mean())


# %%
tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(5e-3))
state = aj.train.init_state(params, tx)
step = aj.train.make_train_step(loss, tx)
order = np.random.default_rng(0)
for n in range(STEPS):
    rows = order.integers(0, len(train[0]), 32)
    batch = [x[rows] for x in train]
    state, metrics = step(
        state, [*batch, np.full(32, n < STEPS // 5)], jax.random.key(1)
    )
    if n % max(1, STEPS // 10) == 0 or n == STEPS - 1:
        nats = float(metrics["loss"])
        print(
            f"step {n:5}  loss {nats:6.3f}  test error {error(state.params, test):.1%}"
        )

# %% [markdown]
# ## Asking
#
# Each column is a hop: how much of its weight each fact has. Nobody told the network
# which facts matter.


# %%
def ask(story: list[str], question: str) -> None:
    """Prints the answer, and what each hop attended to."""
    facts, questions, _ = encode([(story, question, WORDS[0])])
    answers, weights = predict(state.params, facts, questions)
    for fact, row in zip(story, np.asarray(weights[0]).T, strict=False):
        bars = "  ".join(f"{'█' * round(10 * float(w)):<10} {w:.2f}" for w in row)
        print(f"{fact:<26}{bars}".rstrip())
    print(f"{question}?", WORDS[int(answers[0]) - 1], end="\n\n")


STORY = [
    "mary went to the hall",
    "john took the milk",
    "john went to the office",
    "mary went to the kitchen",
    "john went to the garden",
]
ask(STORY, "where is mary")
ask(STORY, "where is milk")
