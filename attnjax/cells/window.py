"""Recurrent layers that read a text through a soft window: recur, attend, recur.

The bottom layer moves the window, and what the window reads enters the layers above at
once and the bottom layer at the next step. It is attention's first appearance.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.aligners import Aligner, soft_window
from attnjax.cells.recurrent import LSTM, Layers, RecurrentCell
from attnjax.core import context as contexts
from attnjax.core._checks import shaped
from attnjax.core.attend import Memory

WINDOW = soft_window(first_step=1 / 25)


class WindowLayersParams(NamedTuple):
    """Parameters of the layers and of their window."""

    layers: Layers  # of the recurrent cell, the bottom layer first
    aligner: Any  # that makes the weights from the bottom layer's state


class WindowLayersState(NamedTuple):
    """The carry of the layers."""

    layers: Layers  # carries of the recurrent cell, the bottom layer first
    aligner: Any  # the centres of the window, [K]
    context: Float[Array, "E"]  # what the window read at the last step


class WindowLayersOutput(NamedTuple):
    """What the layers put out at one step."""

    hidden: Float[Array, "LD"]  # the states of all layers side by side
    context: Float[Array, "E"]
    weights: Float[Array, "S"]


@shaped
def window_layers(
    params: WindowLayersParams,
    carry: WindowLayersState,
    x: Float[Array, "M"],
    *,
    memory: Memory | None = None,
    aligner: Aligner = WINDOW,
    cell: RecurrentCell = LSTM,
) -> tuple[WindowLayersState, WindowLayersOutput]:
    r"""Advances the layers and the window by one step.

    .. math::
        h^1_t &= \mathcal{H}(x_t, h^1_{t-1}, w_{t-1}) \\
        w_t &= \sum_u \phi(t, u)\, c_u, \qquad \phi(t, \cdot) = \mathrm{align}(h^1_t) \\
        h^n_t &= \mathcal{H}(x_t, h^{n-1}_t, h^n_{t-1}, w_t)

    Skip connections: the input and the window enter every layer, and the states of all
    layers are put out.

    Source: Graves 2013 (arXiv:1308.0850), section 5.1, eqs. 46 to 53.

    Args:
      params: parameters of the layers and of the window.
      carry: their states, the window's centres, and w_{t-1}.
      x: x_t, shape [M].
      memory: keys, values and mask of one text; its values c are one-hot characters.
        Let the mask include one position after the last character, whose value is 0:
        the window that stands there has come to the end. None: there is no text, and
        no window; the context and the weights have width 0.
      aligner: makes the weights.
      cell: the recurrent cell of every layer.

    Returns:
      The new carry, and the states of all layers with the window.

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    inputs = jnp.concatenate([x, carry.context])  # [M], [E] -> [M+E]
    bottom, hidden = _advance(cell, params.layers[0], carry.layers[0], inputs)
    moved, context, weights = carry.aligner, carry.context, jnp.zeros(0, x.dtype)
    if memory is not None:
        position = jnp.zeros((), jnp.int32)  # the window keeps its own
        moved, weights = aligner.weigh(params.aligner, moved, hidden, position, memory)
        context = contexts.read(weights, memory.values)
    carries, states = [bottom], [hidden]
    for layer, last in zip(params.layers[1:], carry.layers[1:], strict=True):
        # [M], [E], [D] -> [M+E+D]
        inputs = jnp.concatenate([x, context, states[-1]])
        new, hidden = _advance(cell, layer, last, inputs)
        carries.append(new)
        states.append(hidden)
    return (
        WindowLayersState(tuple(carries), moved, context),
        # L x [D] -> [L*D]
        WindowLayersOutput(jnp.concatenate(states), context, weights),
    )


def _advance(
    cell: RecurrentCell, params: Any, carry: Any, x: Array
) -> tuple[Any, Array]:
    """Steps a recurrent cell by an input that is not projected yet."""
    return cell.step(params, carry, cell.project_inputs(params, x))
