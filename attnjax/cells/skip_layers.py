"""A deep stack with skip connections: input to every layer, every layer to the output.

Graves 2013 (arXiv:1308.0850), section 2 and figure 1. Without the connections a
gradient has to cross all layers; with them it reaches each at once. Apart from them
this is the stack of `attnjax.cells.recurrent`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.initializers import Initializers
from attnjax.cells.recurrent import (
    Layers,
    RecurrentCell,
    Tree,
    init_layers,
    scan_every_layer,
    step_every_layer,
)
from attnjax.core import precision

Projected = tuple[Array, ...]  # inputs of each layer's gates, the bottom layer first


class SkipLayers(NamedTuple):
    """Parameters of a deep stack whose layers all see the input."""

    layers: Tree  # of the cells; the bottom one takes the input, others the layer below
    w_skip: tuple[Float[Array, "M gates*D"], ...]  # from the input to the layers above


def init_skip_layers(
    rngs: Callable[[], Array],
    M: int,
    D: int,
    num_layers: int,
    cell: RecurrentCell,
    initializers: Initializers,
) -> SkipLayers:
    """Draws the parameters of a deep stack with skip connections.

    Args:
      rngs: gives a new random key at each call, as `nnx.Rngs(0).params` does.
      M: width of the input.
      D: width of every layer.
      num_layers: number of layers.
      cell: the recurrent cell of every layer.
      initializers: how each role is initialised.

    Returns:
      The parameters.
    """
    widths = (M, *[D] * (num_layers - 1))
    layers = init_layers(rngs, widths, D, cell, initializers)
    shape = (M, cell.num_gates * D)
    return SkipLayers(
        layers, tuple(initializers.kernel(rngs(), shape) for _ in widths[1:])
    )


def project_skips(cell: RecurrentCell, params: SkipLayers, x: Array) -> Projected:
    """Projects the input for every layer.

    Args:
      cell: the recurrent cell of every layer.
      params: the parameters of the stack.
      x: inputs, shape [..., M].

    Returns:
      One array [..., num_gates*D] for each layer.
    """
    bottom = cell.project_inputs(params.layers[0], x)
    return bottom, *(precision.matmul(x, w) for w in params.w_skip)


def step_skip_layers(
    cell: RecurrentCell, params: SkipLayers, carry: Layers, inputs: Projected
) -> tuple[Layers, Array]:
    r"""Advances a deep stack by one time step.

    .. math:: h^n_t = H(W_{ih^n} x_t + W_{h^{n-1}h^n} h^{n-1}_t
        + W_{h^nh^n} h^n_{t-1} + b^n_h)

    A stack is itself a cell: `partial(step_skip_layers, cell)` has the signature that
    `scan` takes.

    Source: Graves 2013 (arXiv:1308.0850), eqs. 1 to 3.

    Args:
      cell: the recurrent cell H of every layer.
      params: the parameters of the stack.
      carry: the cell's carry for each layer.
      inputs: `project_skips` of the input: [num_gates*D] for each layer.

    Returns:
      The new carries, and the hidden states of all layers side by side, the bottom
      layer first: what the output layer takes, shape [L*D].

    Raises:
      ValueError: if a shape disagrees with the parameters.

    Example:
      >>> from functools import partial
      >>> import jax
      >>> from attnjax.cells.initializers import initializers
      >>> from attnjax.cells.recurrent import PEEPHOLE_LSTM as cell
      >>> keys = iter(jax.random.split(jax.random.key(0), 9))
      >>> sizes = dict(M=5, D=3, num_layers=2, initializers=initializers("glorot"))
      >>> params = init_skip_layers(lambda: next(keys), cell=cell, **sizes)
      >>> carry = (cell.initial_carry(jnp.zeros(3)),) * 2
      >>> inputs = project_skips(cell, params, jnp.ones(5))
      >>> step_skip_layers(cell, params, carry, inputs)[1].shape
      (6,)
    """
    bottom, *skips = inputs
    carry, states = step_every_layer(cell, params.layers, carry, bottom, skips=skips)
    return carry, jnp.concatenate(states, axis=-1)  # L x [D] -> [L*D]


def scan_skip_layers(
    cell: RecurrentCell,
    params: SkipLayers,
    carry: Layers,
    inputs: Projected,
    *,
    mask: Array | None = None,
    rngs: Sequence[Array | None] = (),
    dropout_rate: float = 0.0,
) -> tuple[Layers, Array]:
    """Runs a deep stack over the steps of a batch of sequences, layer after layer.

    The numbers are those of `scan` of `step_skip_layers`; here each layer's inputs are
    projected for all steps in one matmul.

    Args:
      cell: the recurrent cell of every layer.
      params: the parameters of the stack.
      carry: the cell's carry before the first step for each layer, leaves [B, ...].
      inputs: `project_skips` of the inputs: [B, T, num_gates*D] for each layer.
      mask: True = a real step, shape [B, T]; None means all are.
      rngs: as in `scan_layers`: keys of the dropout from layer to layer; the way from
        a layer to the output is the caller's.
      dropout_rate: as in `scan_layers`.

    Returns:
      The final carries, and the hidden states of all layers side by side, shape
      [B, T, L*D].

    Raises:
      ValueError: as `scan`.
    """
    bottom, *skips = inputs
    carry, states = scan_every_layer(
        cell,
        params.layers,
        carry,
        bottom,
        skips=skips,
        mask=mask,
        rngs=rngs,
        dropout_rate=dropout_rate,
    )
    return carry, jnp.concatenate(states, axis=-1)  # L x [B, T, D] -> [B, T, L*D]
