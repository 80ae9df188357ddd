"""One forward and backward pass of recurrent cells over time.

A pass is `jax.vjp` with a given cotangent: the output and the gradients of all inputs
and parameters are returned, so that the compiler cannot remove any of them as dead
code. Parameters are float32; the dtype is the compute dtype.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from attnjax.cells import scan as cells
from attnjax.cells.aligners import ADDITIVE
from attnjax.cells.gru import GRUParams, gru_inputs, gru_recur
from attnjax.cells.initializers import initializers
from attnjax.cells.lstm import LSTMParams, LSTMState, lstm_inputs, lstm_recur
from attnjax.cells.peephole_lstm import peephole_lstm_recur
from attnjax.cells.recurrent import LSTM, PEEPHOLE_LSTM, RecurrentCell
from attnjax.cells.rnnsearch import RNNSearchParams, initial_carry, rnnsearch
from attnjax.cells.skip_layers import (
    SkipLayers,
    init_skip_layers,
    project_skips,
    scan_skip_layers,
)
from attnjax.core.attend import Memory
from experiments.bench.peers.flax_cells import RNNSearchCell
from experiments.bench.recurrent_arrays import decoder_arrays, random_array, source_mask
from experiments.bench.shapes import (
    HANDWRITING_STACK,
    MULTI30K_DECODER,
    MULTI30K_RECURRENT,
    RECURRENT_512,
    TINY_DECODER,
    TINY_RECURRENT,
    TINY_STACK,
    DecoderSpec,
    RecurrentSpec,
    StackSpec,
)
from experiments.bench.systems import ATTNJAX, Calls, is_installed, select_systems
from experiments.bench.timing import measure

Tree = Any
Scan = Callable[..., tuple[Tree, Tree]]


class Workload(NamedTuple):
    """A differentiable function `apply(params, inputs) -> output` and its arguments."""

    apply: Callable[[Tree, Tree], Array]
    params: Tree
    inputs: Tree


def time_recurrent(options: Any) -> list[dict[str, Any]]:
    """Times every cell, shape and dtype; one record per system.

    Args:
      options: a `commands.Recurrent`.

    Returns:
      Records of `timing.measure` with `cell`, `shape` and `dtype`.
    """
    records: list[dict[str, Any]] = []
    for cell in options.cells:
        for spec in (SMOKE_SPECS if options.smoke else SPECS)[cell]:
            for dtype in options.dtypes:
                calls = select_systems(
                    recurrent_calls(cell, spec, dtype), options.systems
                )
                labels = {"cell": cell, "shape": spec._asdict(), "dtype": dtype}
                records += measure(
                    calls, labels, repeats=options.repeats, clock=options.clock
                )
    return records


def recurrent_calls(cell: str, spec: Any, dtype: str) -> Calls:
    """Forward and backward pass of one cell on one shape, by system."""
    workloads = WORKLOADS[cell](spec)
    calls: Calls = {name: jax_call(w, dtype) for name, w in workloads.items()}
    if is_installed("torch"):
        from experiments.bench.peers import torch_cells

        make = getattr(torch_cells, f"torch_{cell}")
        calls["torch"] = make(spec, dtype)
    return calls


def jax_call(workload: Workload, dtype: str) -> Callable[[], Any]:
    """A compiled forward and backward pass in a compute dtype."""

    def cast(tree: Tree) -> Tree:
        return jax.tree.map(lambda x: x.astype(dtype), tree)

    def output(params: Tree, inputs: Tree) -> Array:
        return workload.apply(cast(params), cast(inputs)).astype(jnp.float32)

    @jax.jit
    def forward_backward(params: Tree, inputs: Tree, cotangent: Array) -> Any:
        y, vjp = jax.vjp(output, params, inputs)
        return y, vjp(cotangent)

    params, inputs = workload.params, workload.inputs
    shape = jax.eval_shape(output, params, inputs).shape
    cotangent = random_array(20, *shape)
    return lambda: jax.block_until_ready(forward_backward(params, inputs, cotangent))


def plain_scan(
    cell: Callable[..., Any], params: Tree, carry: Tree, xs: Tree, memory: Tree = None
) -> tuple[Tree, Tree]:
    """The usual way without `attnjax.cells.scan`: `lax.scan` over a vmapped cell."""

    def step(carry: Tree, x: Tree) -> tuple[Tree, Tree]:
        if memory is None:
            return jax.vmap(partial(cell, params))(carry, x)
        row = lambda carry, x, memory: cell(params, carry, x, memory=memory)  # noqa: E731
        return jax.vmap(row)(carry, x, memory)

    # [B, T, ...] -> [T, B, ...], as lax.scan needs time first
    carry, ys = lax.scan(step, carry, jnp.swapaxes(xs, 0, 1))
    # [T, B, ...] -> [B, T, ...]
    return carry, jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), ys)


SCANS: dict[str, Scan] = {ATTNJAX: cells.scan, "lax.scan": plain_scan}


def gru_workloads(spec: RecurrentSpec) -> dict[str, Workload]:
    """A GRU over a batch of sequences: inputs [B, T, M] -> states [B, T, D]."""
    B, T, M, D = spec
    params = GRUParams(
        random_array(0, M, 3 * D),
        random_array(1, D, 2 * D),
        random_array(2, D, D),
        random_array(3, 3 * D),
    )

    def apply(scan: Scan, params: GRUParams, x: Array) -> Array:
        first = jnp.zeros((B, D), x.dtype)
        return scan(gru_recur, params, first, gru_inputs(params, x))[1]

    x = random_array(4, B, T, M)
    workloads = {
        name: Workload(partial(apply, scan), params, x) for name, scan in SCANS.items()
    }
    return workloads | {"flax.nnx.RNN": _nnx_workload(nnx.GRUCell, B, x, D)}


def lstm_workloads(spec: RecurrentSpec) -> dict[str, Workload]:
    """An LSTM over a batch of sequences: inputs [B, T, M] -> states [B, T, D]."""
    B, T, M, D = spec
    params = LSTMParams(
        random_array(0, M, 4 * D), random_array(1, D, 4 * D), random_array(2, 4 * D)
    )

    def apply(scan: Scan, params: LSTMParams, x: Array) -> Array:
        zeros = jnp.zeros((B, D), x.dtype)
        first = LSTMState(zeros, zeros)
        return scan(lstm_recur, params, first, lstm_inputs(params, x))[1]

    x = random_array(4, B, T, M)
    workloads = {
        name: Workload(partial(apply, scan), params, x) for name, scan in SCANS.items()
    }
    return workloads | {"flax.nnx.RNN": _nnx_workload(nnx.OptimizedLSTMCell, B, x, D)}


def deep_lstm_workloads(spec: StackSpec) -> dict[str, Workload]:
    """A deep stack with skip connections: [B, T, M] -> all layers' states [B, T, L*D].

    Its LSTM has no peepholes, as that of PyTorch; attnjax with peepholes and clipped
    derivatives, as in Graves 2013, is a system of its own.
    """
    x = random_array(4, spec.B, spec.T, spec.M)
    published = PEEPHOLE_LSTM._replace(
        step=partial(peephole_lstm_recur, gradient_limit=10.0)
    )
    cells = {ATTNJAX: LSTM, f"{ATTNJAX}, peepholes": published}
    return {
        name: Workload(partial(_apply_stack, cell, spec), _stack(cell, spec), x)
        for name, cell in cells.items()
    }


def _stack(cell: RecurrentCell, spec: StackSpec) -> SkipLayers:
    keys = iter(jax.random.split(jax.random.key(0), 2 * spec.L))
    init = initializers("glorot")
    return init_skip_layers(lambda: next(keys), spec.M, spec.D, spec.L, cell, init)


def _apply_stack(
    cell: RecurrentCell, spec: StackSpec, params: SkipLayers, x: Array
) -> Array:
    first = cell.initial_carry(jnp.zeros((spec.B, spec.D), x.dtype))
    inputs = project_skips(cell, params, x)
    return scan_skip_layers(cell, params, (first,) * spec.L, inputs)[1]


def decoder_workloads(spec: DecoderSpec) -> dict[str, Workload]:
    """The decoder of RNNSearch, from embeddings [B, T, M] and values [B, S, E].

    The output is the input of the readout layer: state and context, [B, T, D+E].
    """
    params, inputs = decoder_arrays(spec)
    mask = source_mask(spec)

    def apply(scan: Scan, params: RNNSearchParams, inputs: dict[str, Array]) -> Array:
        values = inputs["values"]
        memory = Memory(ADDITIVE.project_keys(params.aligner, values), values, mask)
        xs = gru_inputs(params.layers[0], inputs["embedded"])
        first = jax.vmap(partial(initial_carry, params))([inputs["start"]], memory)
        _, out = scan(rnnsearch, params, first, xs, memory=memory)
        return jnp.concatenate([out.hidden, out.context], axis=-1)

    workloads = {
        name: Workload(partial(apply, scan), params, inputs)
        for name, scan in SCANS.items()
    }
    cell = RNNSearchCell(spec, rngs=nnx.Rngs(0))
    graphdef, nnx_params = nnx.split(cell, nnx.Param)

    def apply_nnx(params: Tree, inputs: dict[str, Array]) -> Array:
        cell = nnx.merge(graphdef, params)
        carry = cell.carry_of(inputs["start"], inputs["values"], mask)
        return nnx.RNN(cell)(inputs["embedded"], initial_carry=carry)

    return workloads | {"flax.nnx.RNN": Workload(apply_nnx, nnx_params, inputs)}


def _nnx_workload(cell: Any, B: int, x: Array, D: int) -> Workload:
    module = cell(x.shape[-1], D, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(module, nnx.Param)

    def apply(params: Tree, x: Array) -> Array:
        zeros = jnp.zeros((B, D), x.dtype)
        carry = zeros if cell is nnx.GRUCell else (zeros, zeros)
        return nnx.RNN(nnx.merge(graphdef, params))(x, initial_carry=carry)

    return Workload(apply, params, x)


WORKLOADS: dict[str, Callable[[Any], dict[str, Workload]]] = {
    "gru": gru_workloads,
    "lstm": lstm_workloads,
    "deep_lstm": deep_lstm_workloads,
    "decoder": decoder_workloads,
}
SPECS: dict[str, tuple[Any, ...]] = {
    "gru": (RECURRENT_512, MULTI30K_RECURRENT),
    "lstm": (RECURRENT_512, MULTI30K_RECURRENT),
    "deep_lstm": (HANDWRITING_STACK,),
    "decoder": (MULTI30K_DECODER,),
}
SMOKE_SPECS: dict[str, tuple[Any, ...]] = {
    "gru": (TINY_RECURRENT,),
    "lstm": (TINY_RECURRENT,),
    "deep_lstm": (TINY_STACK,),
    "decoder": (TINY_DECODER,),
}
