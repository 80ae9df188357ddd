"""The Neural Turing Machine: a controller that reads from a tape and writes to it.

At each step the controller takes the input and what was read last. Its read heads
attend to the tape, score -> weights -> context, and its write heads make weights in
the same way, by which they erase rows of the tape and add to them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attnjax.cells.aligners.addressing import emit, to_addressing
from attnjax.cells.recurrent import (
    FEED_FORWARD,
    LSTM,
    RECURRENT_CELLS,
    Layers,
    RecurrentCell,
    step_layers,
)
from attnjax.core import addressing, precision
from attnjax.core import context as contexts
from attnjax.core._checks import shaped

CONTROLLERS: dict[str, RecurrentCell] = {
    **RECURRENT_CELLS,
    "feed-forward": FEED_FORWARD,
}


class NTMParams(NamedTuple):
    """Parameters of the cell; what heads of a kind emit is side by side."""

    layers: Layers  # of the controller, the bottom layer first
    w_reads: Float[Array, "HM GD"]  # from what was read to the controller's gates
    read_heads: Any  # HeadParams; for each head: addressing
    write_heads: Any  # HeadParams; for each head: addressing, erase, add


class NTMState(NamedTuple):
    """The carry of the cell."""

    layers: Layers  # carries of the controller, the bottom layer first
    # The memory matrix, transposed: XLA:CPU vectorises over its rows, which are many.
    tape: Float[Array, "M N"]
    read_weights: Float[Array, "H N"]
    write_weights: Float[Array, "W N"]
    reads: Float[Array, "H M"]  # what was read at the last step


class NTMOutput(NamedTuple):
    """What the cell does at one step."""

    hidden: Float[Array, "D"]  # the controller's output
    reads: Float[Array, "H M"]
    read_weights: Float[Array, "H N"]
    write_weights: Float[Array, "W N"]
    erases: Float[Array, "W M"]
    adds: Float[Array, "W M"]


@shaped
def ntm(
    params: NTMParams,
    carry: NTMState,
    inputs: Float[Array, "GD"],
    *,
    cell: RecurrentCell = LSTM,
) -> tuple[NTMState, NTMOutput]:
    r"""Advances the machine by one step.

    .. math::
        h_t &= \mathrm{controller}(x_t, r_{t-1}) \\
        r_t &= \sum_i w^r_t(i)\, M_{t-1}(i) \\
        M_t(i) &= M_{t-1}(i) \prod_W (1 - w^w_t(i)\, e_t) + \sum_W w^w_t(i)\, a_t

    All heads address the tape that the last step left, and the write heads write after
    the read heads have read; the erasures of all write heads come before what any of
    them adds. The paper leaves this order open; it is that of Collier & Beel 2018
    (arXiv:1807.08518), as are the sigmoid of erase vectors and the tanh of add vectors.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), section 3.

    Args:
      params: the cell's parameters.
      carry: the controller's state, the tape, and each head's last weights and reads.
      inputs: the controller's `project_inputs` of x_t with the bottom layer's
        parameters, G gates of width D, shape [G*D].
      cell: the recurrent cell of the controller's layers; `FEED_FORWARD` keeps no
        state outside the tape.

    Returns:
      The new carry, and what the output layer takes and pictures show.

    Raises:
      ValueError: if a shape disagrees with the parameters.
    """
    tape = carry.tape.T  # [M, N] -> [N, M]
    width = tape.shape[1]
    # [H, M] -> [H*M]
    inputs = inputs + precision.matmul(carry.reads.reshape(-1), params.w_reads)
    layers, hidden = step_layers(cell, params.layers, carry.layers, inputs)

    emitted = emit(params.read_heads, hidden)
    heads = emitted.reshape(len(carry.read_weights), -1)  # [H*P] -> [H, P]
    read_weights = _address(tape, carry.read_weights, heads)
    reads = jax.vmap(contexts.read, (0, None))(read_weights, tape)

    emitted = emit(params.write_heads, hidden)
    heads = emitted.reshape(len(carry.write_weights), -1)  # [W*P] -> [W, P]
    # [W, P+2*M] -> [W, P], 2 x [W, M]
    P = heads.shape[1] - 2 * width
    heads, erases, adds = jnp.split(heads, [P, P + width], axis=1)
    write_weights = _address(tape, carry.write_weights, heads)
    erases, adds = jax.nn.sigmoid(erases), jnp.tanh(adds)
    tape = write(tape, write_weights, erases, adds)
    return (
        NTMState(layers, tape.T, read_weights, write_weights, reads),
        NTMOutput(hidden, reads, read_weights, write_weights, erases, adds),
    )


@shaped
def write(
    tape: Float[Array, "N M"],
    write_weights: Float[Array, "W N"],
    erases: Float[Array, "W M"],
    adds: Float[Array, "W M"],
) -> Float[Array, "N M"]:
    """Lets every write head erase, then every write head add.

    Source: Graves, Wayne & Danihelka 2014 (arXiv:1410.5401), eqs. 3 and 4.

    Args:
      tape: the memory matrix, shape [N, M].
      write_weights: of each head, shape [W, N].
      erases: in [0, 1], shape [W, M].
      adds: shape [W, M].

    Returns:
      The tape, shape [N, M], in its own dtype.

    Raises:
      ValueError: if a shape disagrees with the letters above.

    Example:
      >>> one = jnp.ones((1, 1))
      >>> write(jnp.array([[3.0]]), one, one, 7 * one).tolist()
      [[7.0]]
    """
    for given, vector in zip(write_weights, erases, strict=True):
        tape = addressing.erase_tape(tape, given, vector)
    for given, vector in zip(write_weights, adds, strict=True):
        tape = addressing.add_to_tape(tape, given, vector)
    return tape


def _address(tape: Array, last: Array, emitted: Array) -> Array:
    """The weights [H, N] of heads that emit [H, P], in the dtype of their last ones."""

    def one(last: Array, emitted: Array) -> Array:
        head = to_addressing(emitted, tape_width=tape.shape[1])
        return addressing.address(tape, last, **head._asdict()).astype(last.dtype)

    return jax.vmap(one)(last, emitted)
