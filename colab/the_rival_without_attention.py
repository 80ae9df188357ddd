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
# # The rival without attention
#
# In September 2014, in the same weeks as soft search, another translator appeared that
# had no attention at all: *Sequence to Sequence Learning with Neural Networks*
# (Sutskever, Vinyals & Le 2014, arXiv:1409.3215). One deep LSTM reads the source,
# another begins where the first one ended, and writes. It was as good as the best
# phrase-based systems of its time, by a trick that looks absurd: it reads the source
# backwards.
#
# Three models are trained here on a small language: **Seq2Seq** with the source
# backwards and forwards, and **RNNSearch**, which attends. What does the order do? What
# is in the vector? And where does it fail?

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("attnjax") is None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "attnjax[experiments]"],
        check=True,
    )

# %%
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import attnjax as aj
from attnjax import viz

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "600"))

# %% [markdown]
# ## A language
#
# A sentence is one to four clauses in which somebody does something to somebody. It may
# say so in the passive: *Mary is seen by John* means what *John sees Mary* means, and
# has the same translation. So a translator has to understand who does what.

# %%
NAMES = ["John", "Mary", "Anna", "Paul", "Rosa", "Otto"]
VERBS = {"sees": "sieht", "admires": "bewundert", "calls": "ruft", "hears": "hört"}
PASSIVES = dict(zip(VERBS, ["seen", "admired", "called", "heard"], strict=True))
BOS, EOS = 1, 2
SPECIAL = ["<pad>", "<s>", "</s>"]
SOURCE = [*SPECIAL, *NAMES, *VERBS, *PASSIVES.values(), "is", "by", "and"]
TARGET = [*SPECIAL, *NAMES, *VERBS.values(), "und"]
MOST_CLAUSES = 4
LONGEST = {"source": 6 * MOST_CLAUSES, "target": 4 * MOST_CLAUSES}  # EOS included


def clause(subject, verb, object_, passive):
    """One clause in both languages."""
    active = [subject, verb, object_]
    if passive:
        active = [object_, "is", PASSIVES[verb], "by", subject]
    return active, [subject, VERBS[verb], object_]


def sentence(rng, clauses=None):
    """A random sentence and its translation."""
    source, target = [], []
    for n in range(clauses or rng.integers(1, MOST_CLAUSES + 1)):
        subject, object_ = map(str, rng.choice(NAMES, 2, replace=False))
        words = clause(subject, str(rng.choice([*VERBS])), object_, rng.random() < 0.5)
        source += ["and"] * (n > 0) + words[0]
        target += ["und"] * (n > 0) + words[1]
    return source, target


def pad(rows, names, length):
    """Ids of words, EOS after each sentence, 0 after that; and what is real."""
    ids = np.zeros((len(rows), length), np.int32)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words) + 1] = [*map(names.index, words), EOS]
    return ids, ids != 0


def batch_of(sentences):
    """Source, mask, previous target tokens, target and its mask."""
    sources, targets = zip(*sentences, strict=True)
    source, mask = pad(sources, SOURCE, LONGEST["source"])
    target, target_mask = pad(targets, TARGET, LONGEST["target"])
    previous = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    return source, mask, previous, target, target_mask


for words in sentence(np.random.default_rng(1), clauses=2):
    print(" ".join(words))

# %% [markdown]
# ## Backwards
#
# All that the decoder gets is the final state of the encoder: the hidden state and the
# cell of each layer. Read forwards, the first word of a sentence is furthest away when
# its translation is due, and every other word as far as the sentence is long. Read
# backwards, the mean distance is the same, but the first words are next to each other.
# The decoder learns these first, and has a beginning to go on from.

# %%
SIZES = {"source_vocab_size": len(SOURCE), "target_vocab_size": len(TARGET)}
SMALL = {"embed_dim": 24, "hidden_dim": 64, "init": "glorot"}
SYSTEMS = {
    "Seq2Seq, backwards": aj.Seq2Seq(
        aj.Seq2SeqConfig(**SIZES, **SMALL, num_layers=2), rngs=nnx.Rngs(0)
    ),
    "Seq2Seq, forwards": aj.Seq2Seq(
        aj.Seq2SeqConfig(**SIZES, **SMALL, num_layers=2, reverse_source=False),
        rngs=nnx.Rngs(0),
    ),
    "RNNSearch": aj.RNNSearch(
        aj.RNNSearchConfig(**SIZES, **SMALL, align_dim=32, readout_dim=24),
        rngs=nnx.Rngs(0),
    ),
}


def train(model):
    """Trains a model, and returns it as a function of its parameters, them, losses."""
    rebuild, params = aj.split(model)

    def loss_fn(params, batch, rng):
        nats = rebuild(params).cross_entropy(*batch)
        return aj.train.Loss(nats, batch[-1].sum())

    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(5e-3))
    step = aj.train.make_train_step(loss_fn, tx)
    state = aj.train.init_state(params, tx)
    rng, losses = np.random.default_rng(1), []
    for _ in range(STEPS):
        batch = batch_of([sentence(rng) for _ in range(32)])
        state, metrics = step(state, batch, jax.random.key(0))
        losses.append(float(metrics["loss"]))
    return rebuild, state.params, losses


TRAINED, CURVES = {}, {}
for name, model in SYSTEMS.items():
    rebuild, params, losses = train(model)
    TRAINED[name] = rebuild, params
    window = max(1, STEPS // 30)
    means = np.reshape(losses[: STEPS // window * window], (-1, window)).mean(axis=1)
    CURVES[name] = (window * np.arange(1, len(means) + 1), means)
    print(f"{name:20} {means[-1]:.3f} nats per word")
viz.curve_plot(CURVES, x_label="steps", y_label="nats per word", title="training")

# %% [markdown]
# ## Where it fails
#
# Each translates 100 new sentences of each length greedily; a sentence counts if every
# word is right.

# %%
rng = np.random.default_rng(2)
TEST = {n: [sentence(rng, n) for _ in range(100)] for n in range(1, MOST_CLAUSES + 1)}


def translate(name, sentences):
    """Greedy translations, as ids with EOS."""
    rebuild, params = TRAINED[name]
    source, mask, *_ = map(jnp.asarray, batch_of(sentences))

    @jax.jit
    def decode(params, source, mask):
        model = rebuild(params)
        memory = model.encode(source, mask)
        return aj.decode.greedy(
            partial(model.step, memory),
            model.start(memory),
            batch_size=len(sentences),
            bos=BOS,
            eos=EOS,
            max_length=LONGEST["target"],
        )

    return np.asarray(decode(params, source, mask).tokens)[:, 0]


exact = {name: [] for name in SYSTEMS}
for name in SYSTEMS:
    for sentences in TEST.values():
        *_, target, _ = batch_of(sentences)
        right = (translate(name, sentences) == target).all(axis=1)
        exact[name].append(100 * right.mean())
    print(f"{name:20}", *(f"{share:4.0f} %" for share in exact[name]))
viz.length_plot(
    exact,
    [(n, n) for n in TEST],
    score="sentences right, %",
    x_label="clauses",
)

# %% [markdown]
# Read backwards, more of the longer sentences are right. But the state has a fixed
# size, and a sentence has not. RNNSearch goes back to the source for every word: it has
# no such limit, and learns sooner.
#
# ## What is in the vector
#
# The encoder's final state of a few sentences, by its two principal components (figure
# 2 of the paper). A bag of words could not tell *John sees Mary* from *Mary sees John*,
# and would take the passive for another sentence. Those that mean the same have one
# colour.

# %%
people = [("John", "Mary"), ("Mary", "John"), ("Otto", "Rosa"), ("Rosa", "Otto")]
meanings = [(one, "admires", other) for one, other in people]
texts, groups = [], []
for group, meaning in enumerate(meanings):
    for passive in (False, True):
        texts.append(clause(*meaning, passive)[0])
        groups.append(group)
rebuild, params = TRAINED["Seq2Seq, backwards"]
ids, mask = map(jnp.asarray, pad(texts, SOURCE, LONGEST["source"]))
state = rebuild(params).encode(ids, mask)
viz.vector_plot(
    state.vector,
    [" ".join(words) for words in texts],
    groups=groups,
    title="sentences as vectors",
)

# %%
vectors = np.asarray(state.vector)
distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
same = np.equal.outer(groups, groups)
print(f"mean distance, same meaning: {distances[same & (distances > 0)].mean():.2f}")
print(f"mean distance, other meaning: {distances[~same].mean():.2f}")

# %% [markdown]
# The first component tells the pairs of people apart. A model as small as this one also
# keeps how something was said: sentences that mean the same are nearer to each other
# than to others, but not in one place.
#
# ## Several models are better than one
#
# The paper's best result is an ensemble of five. Models that differ by their seeds make
# different mistakes; the mean of their probabilities makes fewer. `aj.decode.ensemble`
# joins their steps into one; on the command line it is the option `--ensemble` of
# `python -m experiments.translate decode`. Its neighbour `rescore` ranks the hypotheses
# of another system with such models, as the paper did.
