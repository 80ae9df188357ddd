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
# # The first moving window
#
# In 2013, a year before attention had its name, Alex Graves taught a network to write
# by hand (arXiv:1308.0850). It has to know *which letter* it is drawing. So it looks at
# the text through a window: weights over the characters, made by Gaussians that the
# network moves along. **Score → weights → context**, where the score is only a
# position.
#
# Here a small network learns to write four letters, and we watch its window find the
# way.

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

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "450"))

# %% [markdown]
# ## The window
#
# Each Gaussian has an importance α, a sharpness β and a centre κ. The weights of the
# characters are the sum of the Gaussians; they need not sum to 1. The context is the
# sum of the characters by these weights. When κ moves on, so does what is read.

# %%
text = jnp.eye(4)  # four characters, one-hot
for centre in (1.0, 2.5, 4.0):
    weights = aj.soft_window(
        jnp.ones(1), jnp.full(1, 2.0), jnp.full(1, centre), jnp.ones(4, bool)
    )
    print(f"centre {centre}: weights {weights.round(2)}")

# %% [markdown]
# ## A pen that writes
#
# Four letters as a few places each. A line is a random word; the pen shakes a little,
# and every word has a slant of its own. A point is an offset and whether it ends a
# stroke.

# %%
LETTERS = {
    "l": [[(0, 2), (0, 1.3), (0, 0.6), (0.2, 0.1), (0.6, 0)]],
    "o": [[(0.5, 1), (0.1, 0.8), (0, 0.4), (0.4, 0), (0.8, 0.3), (0.8, 0.8), (0.5, 1)]],
    "v": [[(0, 1), (0.2, 0.5), (0.4, 0), (0.6, 0.5), (0.8, 1)]],
    "t": [
        [(0.4, 1.6), (0.4, 0.8), (0.5, 0.1), (0.8, 0)],
        [(0, 1.1), (0.4, 1.1), (0.9, 1.1)],
    ],
}
ALPHABET = sorted(LETTERS)
LONGEST = 6


def write(rng, word):
    """The pen points of a word, and the letter that each of them belongs to."""
    slant, places, ends, owners = rng.normal(0.2, 0.1), [], [], []
    for number, letter in enumerate(word):
        for stroke in LETTERS[letter]:
            x, y = np.array(stroke).T + rng.normal(0, 0.03, (2, len(stroke)))
            places += list(zip(x + slant * y + 1.2 * number, -y, strict=True))
            ends += [0] * (len(stroke) - 1) + [1]
            owners += [number] * len(stroke)
    offsets = np.diff(np.array(places), axis=0, prepend=places[:1])
    return np.column_stack([offsets, ends]).astype(np.float32), np.array(owners)


def lines(rng, count):
    """A batch of words: points, mask, text, and a mask of the text."""
    T, S = 10 * LONGEST, LONGEST + 1  # one position after the last letter
    points, mask = np.zeros((count, T, 3), np.float32), np.zeros((count, T), bool)
    text, text_mask = np.zeros((count, S), np.int32), np.zeros((count, S), bool)
    for row in range(count):
        word = "".join(rng.choice(ALPHABET, rng.integers(3, LONGEST + 1)))
        drawn, _ = write(rng, word)
        points[row, : len(drawn)], mask[row, : len(drawn)] = drawn, True
        text[row, : len(word)] = [ALPHABET.index(c) for c in word]
        text_mask[row, : len(word)] = True
    return points, mask, text, text_mask


viz.pen_plot([viz.Writing(write(np.random.default_rng(0), "lovvolt")[0])])

# %% [markdown]
# ## Training
#
# The network puts out the density of the next point: Gaussians of the offset, and the
# probability that the stroke ends. The loss is the negative log-density, in nats.
# Nobody tells the window where to stand.

# %%
config = aj.HandwritingConfig(
    num_symbols=len(ALPHABET),
    hidden_dim=64,
    num_layers=1,
    window_gaussians=3,
    points_per_character=6.0,
    mixture_components=5,
)
rebuild, params = aj.split(aj.Handwriting(config, rngs=nnx.Rngs(0)))


def loss_fn(params, batch, rng):
    points, mask, text, text_mask = batch
    model = rebuild(params)
    _, out = model(model.encode(text, text_mask), points[:, :-1], mask[:, :-1])

    def nats(outputs, point):
        return -aj.pen_log_density(aj.pen_mixture(outputs), point)

    every = jax.vmap(jax.vmap(nats))(out.outputs, points[:, 1:])
    total = jnp.sum(jnp.where(mask[:, 1:], every, 0))
    return aj.train.Loss(total, jnp.float32(len(points)))


tx = optax.chain(
    optax.clip_by_global_norm(50.0),
    optax.adam(optax.cosine_decay_schedule(1e-2, STEPS, 0.02)),
)
train_step = aj.train.make_train_step(loss_fn, tx)
state = aj.train.init_state(params, tx)
rng = np.random.default_rng(0)
for n in range(STEPS):
    batch = jax.tree.map(jnp.asarray, lines(rng, 32))
    state, metrics = train_step(state, batch, jax.random.key(0))
    if n % 50 == 0 or n == STEPS - 1:
        print(f"step {n:4}  {float(metrics['loss']):7.1f} nats per line")

# %% [markdown]
# ## Does the window know which letter is being drawn?
#
# The character with the largest weight, against the letter that the pen is really on.

# %%
right, count = 0, 0
for seed in range(20):
    word = "".join(np.random.default_rng(seed).choice(ALPHABET, LONGEST))
    points, owners = write(np.random.default_rng(seed), word)
    model = rebuild(state.params)
    ids = np.array([[*map(ALPHABET.index, word), 0]])
    memory = model.encode(ids, np.arange(LONGEST + 1)[None] < LONGEST)
    _, out = model(memory, points[None, :-1])
    under = out.weights[0].argmax(axis=1)
    right, count = right + int((under == owners[1:]).sum()), count + len(owners) - 1
print(f"{100 * right / count:.1f} % of the points")

# %% [markdown]
# ## Writing
#
# Each point is drawn from its density, and fed back. The line stops when the window
# stands behind the last letter. Beneath each word: the window, as time runs to the
# right.


# %%
@partial(jax.jit, static_argnames="bias")
def compose(params, rng, text, text_mask, bias=0.0):
    model = rebuild(params)
    memory = model.encode(text, text_mask)
    return aj.decode.sample_strokes(
        rng,
        partial(model.step, memory),
        model.start(memory, len(text)),
        jnp.zeros((len(text), 3)),
        max_length=120,
        ends=text_mask.sum(axis=1),
        bias=bias,
    )


words = ["volt", "tool", "lottot"]
text = np.zeros((len(words), LONGEST + 1), np.int32)
for row, word in enumerate(words):
    text[row, : len(word)] = [ALPHABET.index(c) for c in word]
text_mask = np.arange(LONGEST + 1) < np.array([[len(word)] for word in words])
drawn = compose(state.params, jax.random.key(1), text, text_mask, bias=0.5)
viz.pen_plot(
    [
        viz.Writing(drawn.points[row, :length], word, drawn.weights[row, :length])
        for row, (word, length) in enumerate(zip(words, drawn.lengths, strict=True))
        if length > 1
    ]
    or [viz.Writing(write(rng, "volt")[0])]
)

# %% [markdown]
# With all letters, a writer's style to continue (`--prime`) and a pen that moves in the
# browser: `python -m experiments.handwriting` in the repository.
