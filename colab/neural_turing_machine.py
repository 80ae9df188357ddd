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
# # The Neural Turing Machine: attention that also writes
#
# A Neural Turing Machine (Graves, Wayne & Danihelka 2014, arXiv:1410.5401) has a
# *tape*: a matrix of N rows. A read head attends to it by the line **score → weights →
# context**. A write head makes weights in the same way, and by these weights it erases
# rows and adds to them. Here one learns to copy, and we watch its tape.

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

STEPS = int(os.environ.get("NOTEBOOK_STEPS", "900"))

# %% [markdown]
# ## Where a head attends
#
# A head compares a key with the rows of the tape, mixes the result with where it was,
# moves along, and sharpens. Two extremes: by content alone, and by location alone.

# %%
tape = jnp.eye(4)
last = jnp.array([1.0, 0.0, 0.0, 0.0])
step_on = jnp.array([0.0, 0.0, 1.0])  # back, stay, forward
stay = jnp.array([0.0, 1.0, 0.0])
by_content = partial(aj.address, tape, last, key=tape[2], strength=jnp.array(20.0))
print(
    "by content ", by_content(gate=jnp.array(1.0), shift=stay, exponent=jnp.array(1.0))
)
print(
    "by location",
    by_content(gate=jnp.array(0.0), shift=step_on, exponent=jnp.array(1.0)),
)

# %% [markdown]
# Copying is then a program of three lines: write and step on, for each input; return to
# the first row; read and step on. Nobody tells the network. It has to find the keys,
# gates and shifts by gradient descent.

# %% [markdown]
# ## Sequences to copy
#
# Random vectors of bits, and a delimiter; then, without input, the same vectors are
# expected.

# %%
BITS, LONGEST = 4, 6
T = 2 * LONGEST + 1


def sequences(rng, count, shortest=1, longest=LONGEST):
    """Inputs, targets and a mask of the steps that are predicted."""
    T = 2 * longest + 1
    inputs = np.zeros((count, T, BITS + 1), np.float32)
    targets = np.zeros((count, T, BITS), np.float32)
    mask = np.zeros((count, T), bool)
    for row, length in enumerate(rng.integers(shortest, longest + 1, count)):
        vectors = rng.integers(0, 2, (length, BITS))
        inputs[row, :length, :BITS] = vectors
        inputs[row, length, BITS] = 1
        targets[row, length + 1 : 2 * length + 1] = vectors
        mask[row, length + 1 : 2 * length + 1] = True
    return inputs, targets, mask


# %% [markdown]
# ## Training
#
# The loss is the cross-entropy of the bits, summed over a sequence: in bits per
# sequence, 0 is a perfect copy.

# %%
config = aj.NTMConfig(
    input_dim=BITS + 1, output_dim=BITS, hidden_dim=50, tape_size=24, tape_width=10
)
rebuild, params = aj.split(aj.NTM(config, rngs=nnx.Rngs(0)))


def loss_fn(params, batch, rng):
    inputs, targets, mask = batch
    logits, _ = rebuild(params)(inputs)
    nats = optax.sigmoid_binary_cross_entropy(logits, targets)
    total = jnp.sum(jnp.where(mask[..., None], nats, 0))
    return aj.train.Loss(total, jnp.float32(len(inputs)))


tx = optax.chain(optax.clip_by_global_norm(50.0), optax.adam(3e-3))
train_step = aj.train.make_train_step(loss_fn, tx)
state = aj.train.init_state(params, tx)
rng = np.random.default_rng(0)
for n in range(STEPS):
    batch = jax.tree.map(jnp.asarray, sequences(rng, 16))
    state, metrics = train_step(state, batch, jax.random.key(0))
    if n % 100 == 0 or n == STEPS - 1:
        print(
            f"step {n:4}  {float(metrics['loss']) / np.log(2):6.2f} bits per sequence"
        )

# %% [markdown]
# ## Watching the tape
#
# Time runs to the right. The write weights step along the tape while the input comes
# in; at the delimiter the read head goes back to where writing began, and follows.

# %%
inputs, targets, mask = sequences(np.random.default_rng(1), 1, LONGEST)
logits, heads = rebuild(state.params)(jnp.asarray(inputs))
outputs = np.where(mask[0][:, None], jax.nn.sigmoid(logits[0]), 0)
figure = viz.tape_plot(
    [
        {"inputs": inputs[0].T, "outputs": outputs.T},
        {"adds": heads.adds[0, :, 0].T, "reads": heads.reads[0, :, 0].T},
        {
            "write weights": heads.write_weights[0, :, 0].T,
            "read weights": heads.read_weights[0, :, 0].T,
        },
    ],
    title="copying, watched",
)
figure  # noqa: B018

# %% [markdown]
# ## Longer than any sequence it was trained on
#
# What it learned is a loop, not a table: it goes on to sequences twice as long.

# %%
for length in (LONGEST, 9, 12):
    inputs, targets, mask = sequences(np.random.default_rng(2), 50, length, length)
    logits, _ = rebuild(state.params)(jnp.asarray(inputs))
    wrong = ((np.asarray(logits) > 0) != (targets > 0.5)) & mask[..., None]
    print(f"length {length:2}: {wrong.sum() / 50:.2f} wrong bits of {length * BITS}")

# %% [markdown]
# The five tasks of the paper, at full size, are `python -m experiments.algorithms` in
# the repository.
