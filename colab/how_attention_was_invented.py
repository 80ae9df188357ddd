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
# # How attention was invented
#
# In 2014 the question was: where in the source sentence should a decoder look? Four
# answers, in the order in which they were tried, each trained here on the same small
# language, and each with the picture of where it looks.
#
# 1. Nowhere: one **fixed vector** holds the whole sentence (Cho et al. 2014).
# 2. **Two cursors**, one over the source and one over the target. Nobody knows the
#    source cursor's path, so all paths are summed over by dynamic programming.
# 3. The **diagonal**: two cursors that are hard-wired to move in step.
# 4. **Soft search**: a softmax over the source, and a weighted average (Bahdanau, Cho &
#    Bengio 2015, arXiv:1409.0473).

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
import math
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import attnjax as aj
from attnjax import viz

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "700"))

# %% [markdown]
# ## A language
#
# A phrase is a list of things, some with a colour. The other language is French of a
# kind: it says the colour after the thing, so that *red hat cup* becomes *chapeau rouge
# tasse*. Order changes, but only between neighbours.

# %%
THINGS = ["hat", "cup", "dog", "tree", "boat", "lamp"]
COLOURS = ["red", "green", "white", "black"]
FRENCH = dict(
    zip(
        THINGS + COLOURS,
        [
            "chapeau",
            "tasse",
            "chien",
            "arbre",
            "bateau",
            "lampe",
            "rouge",
            "vert",
            "blanc",
            "noir",
        ],
        strict=True,
    )
)
BOS, EOS = 1, 2
SOURCE = ["<pad>", "<s>", "</s>", *FRENCH]
TARGET = ["<pad>", "<s>", "</s>", *FRENCH.values()]
MOST = 12  # words of a phrase


def phrase(rng):
    """Words of a phrase, their translation, and which source word each came from."""
    words, links = [], []
    for _ in range(rng.integers(1, MOST // 2 + 1)):
        thing = str(rng.choice(THINGS))
        if rng.random() < 0.5:
            words += [str(rng.choice(COLOURS)), thing]
            links += [len(words) - 1, len(words) - 2]
        else:
            words.append(thing)
            links.append(len(words) - 1)
    return words, [FRENCH[words[i]] for i in links], links


def pad(rows, names):
    """Ids of words, EOS after each phrase, 0 after that; and what is real."""
    ids = np.zeros((len(rows), MOST + 1), np.int32)
    for row, words in zip(ids, rows, strict=True):
        row[: len(words) + 1] = [*map(names.index, words), EOS]
    return ids, ids != 0


def batch_of(phrases):
    """Source, mask, previous target tokens, target and its mask."""
    sources, targets, _ = zip(*phrases, strict=True)
    source, mask = pad(sources, SOURCE)
    target, target_mask = pad(targets, TARGET)
    previous = np.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    return source, mask, previous, target, target_mask


rng = np.random.default_rng(0)
words, translation, _ = phrase(rng)
print(" ".join(words), "->", " ".join(translation))

# %% [markdown]
# ## The systems
#
# They differ in where the decoder looks, and in nothing else.

# %%
SIZES = {
    "source_vocab_size": len(SOURCE),
    "target_vocab_size": len(TARGET),
    "embed_dim": 24,
    "hidden_dim": 40,
    "readout_dim": 24,
    "init": "glorot",
}
SYSTEMS = {
    "fixed vector": aj.RNNEncoderDecoder(
        aj.RNNEncoderDecoderConfig(**SIZES), rngs=nnx.Rngs(0)
    ),
    "monotone cursor": aj.MarginalCursor(
        aj.MarginalCursorConfig(**SIZES, moves="monotone"), rngs=nnx.Rngs(0)
    ),
    "free cursor": aj.MarginalCursor(
        aj.MarginalCursorConfig(**SIZES, moves="first-order"), rngs=nnx.Rngs(0)
    ),
    "diagonal": aj.RNNSearch(
        aj.RNNSearchConfig(**SIZES, aligner="diagonal"), rngs=nnx.Rngs(0)
    ),
    "soft search": aj.RNNSearch(
        aj.RNNSearchConfig(**SIZES, align_dim=24), rngs=nnx.Rngs(0)
    ),
}


def train(model):
    """Trains a model, and returns it as a function of its parameters, and them."""
    rebuild, params = aj.split(model)

    def loss_fn(params, batch, rng):
        nats = rebuild(params).cross_entropy(*batch)
        return aj.train.Loss(nats, batch[-1].sum())

    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(4e-3))
    step = aj.train.make_train_step(loss_fn, tx)
    state = aj.train.init_state(params, tx)
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        batch = batch_of([phrase(rng) for _ in range(32)])
        state, metrics = step(state, batch, jax.random.key(0))
    return rebuild, state.params, float(metrics["loss"])


TRAINED = {}
for name, model in SYSTEMS.items():
    *TRAINED[name], loss = train(model)
    print(f"{name:16} {loss:.3f} nats per word")

# %% [markdown]
# ## Do they translate?
#
# Each decodes 200 new phrases greedily; a phrase counts if every word is right. The
# fixed vector has to squeeze twelve words into forty numbers.

# %%
TEST = [phrase(rng) for _ in range(200)]
source, mask, _, target, target_mask = batch_of(TEST)
lengths = target_mask.sum(1)
for name, (rebuild, params) in TRAINED.items():
    model = rebuild(params)
    memory = model.encode(jnp.asarray(source), jnp.asarray(mask))

    def step(carry, token, model=model, memory=memory):
        return model.step(memory, carry, token)

    decode = partial(aj.decode.greedy, step, batch_size=len(TEST), bos=BOS, eos=EOS)
    found = decode(model.start(memory), max_length=MOST + 1)
    right = (np.asarray(found.tokens)[:, 0] == target).all(1)
    short, long = right[lengths <= 6].mean(), right[lengths > 9].mean()
    print(f"{name:16} short {short:.2f}  long {long:.2f}")

# %% [markdown]
# ## Where do they look?
#
# One phrase, with the gold links as boxes. The fixed vector looks nowhere. The diagonal
# looks where it must, and translates all the same: a state of a bidirectional RNN knows
# its neighbours. The cursors choose one position, and where two words change places,
# both may come from one state. Soft search spreads its weight, and looks at the words
# themselves most often.
#
# Where words move further, as in English and Japanese dates, this is not enough: there
# the diagonal and the monotone cursor fail, and a cursor that may jump back does not
# (`experiments/translate/RESULTS.md`, cursors on generated phrases).

# %%
example = phrase(np.random.default_rng(3))
batch = batch_of([example])
gold = aj.align.alignment([(s, t) for t, s in enumerate(example[2])])
panels = {}
for name, (rebuild, params) in TRAINED.items():
    weights = rebuild(params).align(*map(jnp.asarray, batch))[0]
    S, T = len(example[0]), len(example[1])
    panels[name] = viz.Panel(np.asarray(weights)[:T, :S], *example[:2], gold)
viz.alignment_grid(panels)

# %% [markdown]
# ## Two cursors, and all their paths
#
# With one cursor over the source and one over the target, a translation is a path
# through a lattice: at each node either the target cursor moves on, and a word comes
# out, or the source cursor does. The likelihood is a sum over all paths, of which there
# are exponentially many. Dynamic programming does it node by node: this is the *RNN
# Transducer* (Graves 2012, arXiv:1211.3711), found again in 2014.

# %%
for S in (5, 10, 20, 40):
    print(f"{S:2} words each: {math.comb(2 * S - 1, S):.1e} paths, {S * (S + 1)} nodes")

# %% [markdown]
# The sum has a gradient, which is the probability of each arc, given the words: an
# alignment, in which no path was ever chosen. Here every node prefers to emit where the
# two cursors are level, and the posterior follows the diagonal.

# %%
S, T = 12, 9
level = -0.5 * (np.arange(S)[:, None] / S - np.arange(T + 1)[None] / T) ** 2 / 0.15**2
emit = jax.nn.log_sigmoid(jnp.asarray(level[:, :T], jnp.float32) + 1)
move = jnp.pad(
    jax.nn.log_sigmoid(-jnp.asarray(level[:, :T], jnp.float32) - 1), ((0, 0), (0, 1))
)
posteriors = aj.transducer_posteriors(move, emit)
path = aj.transducer_best_path(move, emit)
total = aj.transducer_log_likelihood(move, emit)
print(f"log-likelihood: of all paths {total:.2f}, of the best {path.log_prob:.2f}")
viz.alignment_plot(
    np.clip(np.asarray(posteriors.weights), 0, 1),
    [f"x{s + 1}" for s in range(S)],
    [f"y{t + 1}" for t in range(T)],
    gold=aj.align.alignment([(int(f), t) for t, f in enumerate(path.frames)]),
    title="posterior of the source cursor, and the best path",
)

# %% [markdown]
# Dzmitry Bahdanau, an intern with five weeks left, thought this too hard to build, and
# took the diagonal first. Why too hard? Every node needs a prediction of its own: a
# network that runs at each pair of positions, a recursion in logarithms that underflows
# without care, and a gradient through all of it, in the tools of 2014. Soft search
# needs one softmax for each target word. It gave up the sum over paths, kept the
# picture, and became attention.
