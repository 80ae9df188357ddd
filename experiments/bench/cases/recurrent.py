"""One forward and backward pass of cells over time, in JAX: ours and Flax's.

A pass is a pullback with given cotangents: outputs, and gradients of inputs and of all
weights, are all returned, so that nothing of it is dead code. Weights are float32;
the dtype is that of computation.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax

from attnjax.cells import scan as cells
from attnjax.cells.aligners import ADDITIVE, AdditiveParams
from attnjax.cells.gru import GRUParams, gru_inputs, gru_recur
from attnjax.cells.lstm import LSTMParams, LSTMState, lstm_inputs, lstm_recur
from attnjax.cells.rnnsearch import RNNSearchParams, initial_carry, rnnsearch
from attnjax.core.attend import Memory
from experiments.bench.peers.flax_cells import SearchCell
from experiments.bench.shapes import DecoderSpec, RecurrentSpec

Tree = Any
Scan = Callable[..., tuple[Tree, Tree]]


class Pass(NamedTuple):
    """A differentiable function `run(weights, inputs) -> output`, and arguments."""

    run: Callable[[Tree, Tree], Array]
    weights: Tree
    inputs: Tree


def lax_scan(
    cell: Callable[..., Any], params: Tree, carry: Tree, xs: Tree, memory: Tree = None
) -> tuple[Tree, Tree]:
    """What one writes without `attnjax.cells.scan`: lax.scan over vmap of a cell."""

    def step(carry: Tree, x: Tree) -> tuple[Tree, Tree]:
        if memory is None:
            return jax.vmap(partial(cell, params))(carry, x)
        row = lambda carry, x, memory: cell(params, carry, x, memory=memory)  # noqa: E731
        return jax.vmap(row)(carry, x, memory)

    carry, ys = lax.scan(step, carry, jnp.swapaxes(xs, 0, 1))
    return carry, jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), ys)


SCANS: dict[str, Scan] = {"attnjax": cells.scan, "lax.scan": lax_scan}


def gru_passes(spec: RecurrentSpec) -> dict[str, Pass]:
    """A GRU over a batch of sequences: inputs [B, T, M] -> states [B, T, D]."""
    B, T, M, D = spec
    weights = GRUParams(
        draw(0, M, 3 * D), draw(1, D, 2 * D), draw(2, D, D), draw(3, 3 * D)
    )

    def run(scan: Scan, params: GRUParams, x: Array) -> Array:
        first = jnp.zeros((B, D), x.dtype)
        return scan(gru_recur, params, first, gru_inputs(params, x))[1]

    x = draw(4, B, T, M)
    passes = {n: Pass(partial(run, scan), weights, x) for n, scan in SCANS.items()}
    return passes | {"flax.nnx.RNN": _nnx_pass(nnx.GRUCell, B, x, D)}


def lstm_passes(spec: RecurrentSpec) -> dict[str, Pass]:
    """An LSTM over a batch of sequences: inputs [B, T, M] -> states [B, T, D]."""
    B, T, M, D = spec
    weights = LSTMParams(draw(0, M, 4 * D), draw(1, D, 4 * D), draw(2, 4 * D))

    def run(scan: Scan, params: LSTMParams, x: Array) -> Array:
        zeros = jnp.zeros((B, D), x.dtype)
        first = LSTMState(zeros, zeros)
        return scan(lstm_recur, params, first, lstm_inputs(params, x))[1]

    x = draw(4, B, T, M)
    passes = {n: Pass(partial(run, scan), weights, x) for n, scan in SCANS.items()}
    return passes | {"flax.nnx.RNN": _nnx_pass(nnx.OptimizedLSTMCell, B, x, D)}


def decoder_passes(spec: DecoderSpec) -> dict[str, Pass]:
    """The decoder of RNNSearch, from embeddings [B, T, M] and values [B, S, E].

    The output is what the output layer reads: state and context, [B, T, D+E].
    """
    weights, inputs = decoder_arrays(spec)
    mask = source_mask(spec)

    def run(scan: Scan, params: RNNSearchParams, inputs: dict[str, Array]) -> Array:
        values = inputs["values"]
        memory = Memory(ADDITIVE.project_keys(params.aligner, values), values, mask)
        xs = gru_inputs(params.layers[0], inputs["embedded"])
        first = jax.vmap(partial(initial_carry, params))([inputs["start"]], memory)
        _, read = scan(rnnsearch, params, first, xs, memory=memory)
        return jnp.concatenate([read.hidden, read.context], axis=-1)

    passes = {n: Pass(partial(run, s), weights, inputs) for n, s in SCANS.items()}
    cell = SearchCell(spec, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(cell, nnx.Param)

    def run_nnx(params: Tree, inputs: dict[str, Array]) -> Array:
        cell = nnx.merge(graphdef, params)
        carry = cell.carry(inputs["start"], inputs["values"], mask)
        return nnx.RNN(cell)(inputs["embedded"], initial_carry=carry)

    return passes | {"flax.nnx.RNN": Pass(run_nnx, params, inputs)}


def decoder_arrays(spec: DecoderSpec) -> tuple[RNNSearchParams, dict[str, Array]]:
    """Weights and inputs of a decoder, the same for every system."""
    B, S, T, D, M, E, A, *_ = spec
    weights = RNNSearchParams(
        aligner=AdditiveParams(draw(0, D, A), draw(1, E, A), draw(2, A)),
        w_context=draw(3, E, 3 * D),
        layers=(
            GRUParams(
                draw(4, M, 3 * D), draw(5, D, 2 * D), draw(6, D, D), draw(7, 3 * D)
            ),
        ),
    )
    inputs = {
        "embedded": draw(8, B, T, M),
        "values": draw(9, B, S, E),
        "start": draw(10, B, D),
    }
    return weights, inputs


def source_mask(spec: DecoderSpec) -> Array:
    """True = a source token: rows of S, S-1, ..., S/2 tokens, in turn, [B, S]."""
    lengths = spec.S - np.arange(spec.B) % (spec.S // 2 + 1)
    return jnp.asarray(np.arange(spec.S) < lengths[:, None])


def jax_call(one: Pass, dtype: str) -> Callable[[], Any]:
    """A compiled forward and backward pass in a dtype of computation."""

    def cast(tree: Tree) -> Tree:
        return jax.tree.map(lambda x: x.astype(dtype), tree)

    def output(weights: Tree, inputs: Tree) -> Array:
        return one.run(cast(weights), cast(inputs)).astype(jnp.float32)

    @jax.jit
    def both(weights: Tree, inputs: Tree, slope: Array) -> Any:
        y, pullback = jax.vjp(output, weights, inputs)
        return y, pullback(slope)

    shape = jax.eval_shape(output, one.weights, one.inputs).shape
    slope = draw(20, *shape)
    return lambda: jax.block_until_ready(both(one.weights, one.inputs, slope))


def draw(seed: int, *shape: int) -> Array:
    """Numbers of the size that weights and activations have."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0, shape[-1] ** -0.5, shape), jnp.float32)


def _nnx_pass(cell: Any, B: int, x: Array, D: int) -> Pass:
    made = cell(x.shape[-1], D, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(made, nnx.Param)

    def run(params: Tree, x: Array) -> Array:
        merged = nnx.merge(graphdef, params)
        zeros = jnp.zeros((B, D), x.dtype)
        carry = zeros if cell is nnx.GRUCell else (zeros, zeros)
        return nnx.RNN(merged)(x, initial_carry=carry)

    return Pass(run, params, x)
