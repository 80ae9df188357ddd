"""The papers' matrices as our parameters: `W @ x` there, `x @ w` here.

Every function is differentiable, so that the gradient of one of our cells comes
out in the papers' layout, beside the finite differences of the oracle.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from attnjax.cells.aligners import (
    AdditiveParams,
    BilinearParams,
    HeadParams,
    LocalParams,
    LocationParams,
    WindowParams,
)
from attnjax.cells.gru import GRUParams
from attnjax.cells.lstm import LSTMParams
from attnjax.cells.peephole_lstm import PeepholeLSTMParams
from attnjax.cells.rnnsearch import RNNSearchParams
from tests.core.cases import draw
from tests.oracle_models import layers, part


def side_by_side(p, name, gates):
    """[W_z', W_r', W'] from the paper's W_z, W_r and W."""
    return jnp.concatenate([jnp.asarray(p[name + g]).T for g in gates], axis=-1)


def gru_params(p):
    """From the oracle's dict."""
    z, r, new = "_z", "_r", ""
    return GRUParams(
        w=side_by_side(p, "W", (z, r, new)),
        u_gates=side_by_side(p, "U", (z, r)),
        u_candidate=jnp.asarray(p["U"]).T,
        b=side_by_side(p, "b", (z, r, new)),
    )


def lstm_params(p):
    """From the oracle's dict."""
    gates = "_i", "_f", "_g", "_o"
    return LSTMParams(*(side_by_side(p, name, gates) for name in ("W", "U", "b")))


def peephole_lstm_params(p):
    """From the oracle's dict."""
    peepholes = (jnp.asarray(p[name]) for name in ("P_i", "P_f", "P_o"))
    return PeepholeLSTMParams(*lstm_params(p), *peepholes)


def additive_params(p):
    """W_a, U_a and v_a."""
    return AdditiveParams(
        jnp.asarray(p["W_a"]).T, jnp.asarray(p["U_a"]).T, jnp.asarray(p["v_a"])
    )


def location_params(p):
    """Chorowski's W, V, w and b, named as Bahdanau's; F is K filters in rows."""
    return LocationParams(
        additive_params(p),
        b=jnp.asarray(p["b_l"]),
        filters=jnp.asarray(p["F"]).T,
        w_location=jnp.asarray(p["U_l"]).T,
    )


ALIGNER_PARAMS = {
    "additive": additive_params,
    "dot": lambda p: (),
    "bilinear": lambda p: BilinearParams(jnp.asarray(p["W_b"])),
    "local-p": lambda p: LocalParams(
        additive_params(p), jnp.asarray(p["W_p"]).T, jnp.asarray(p["v_p"])
    ),
    "location": location_params,
    "content": lambda p: HeadParams(jnp.asarray(p["W_c"]).T, jnp.asarray(p["b_c"])),
    "shift": lambda p: HeadParams(jnp.asarray(p["W_n"]).T, jnp.asarray(p["b_n"])),
    "window": lambda p: WindowParams(jnp.asarray(p["W_g"]).T, jnp.asarray(p["b_g"])),
    "diagonal": lambda p: (),
}


class PaperCell(NamedTuple):
    """A recurrent cell in the papers' names, beside the row of `RECURRENT_CELLS`."""

    gates: tuple[str, ...]  # suffixes of W, U, b and C, in the order of our blocks
    params: Callable[[dict], tuple]
    peepholes: tuple[str, ...] = ()  # suffixes of P


PAPER_CELLS = {
    "gru": PaperCell(("_z", "_r", ""), gru_params),
    "lstm": PaperCell(("_i", "_f", "_g", "_o"), lstm_params),
    "peephole_lstm": PaperCell(
        ("_i", "_f", "_g", "_o"), peephole_lstm_params, ("_i", "_f", "_o")
    ),
}


def layer_params(p, name, cell="gru"):
    """The parameters of a stack, bottom first: "name.W", "name.1.W", ..."""
    params = PAPER_CELLS[cell].params
    return tuple(params(layer) for layer in layers(p, name))


def rnnsearch_params(p, aligner="additive", cell="gru"):
    """The decoder's part of the oracle's dict."""
    return RNNSearchParams(
        aligner=ALIGNER_PARAMS[aligner](p),
        w_context=side_by_side(part(p, "decoder"), "C", PAPER_CELLS[cell].gates),
        layers=layer_params(p, "decoder", cell),
    )


def draw_dict(seed, shapes):
    """One float64 array a name; `shapes` maps names to shapes."""
    return {
        name: draw(seed + i, *shape) * 0.7
        for i, (name, shape) in enumerate(shapes.items())
    }


def cell_shapes(gates, M, D, context=0, prefix="", peepholes=()):
    """Shapes of the oracle's cell; with `context`, of one whose gates take c too."""
    shapes = {"P" + gate: (D,) for gate in peepholes}
    for gate in gates:
        shapes |= {"W" + gate: (D, M), "U" + gate: (D, D), "b" + gate: (D,)}
        if context:
            shapes["C" + gate] = (D, context)
    return {prefix + name: shape for name, shape in shapes.items()}


def gru_shapes(M, D, context=0, prefix=""):
    """`cell_shapes` of a GRU."""
    return cell_shapes(PAPER_CELLS["gru"].gates, M, D, context, prefix)


def named_shapes(name, M, D, context=0, prefix=""):
    """`cell_shapes` of a row of `PAPER_CELLS`."""
    cell = PAPER_CELLS[name]
    return cell_shapes(cell.gates, M, D, context, prefix, cell.peepholes)


def lstm_shapes(M, D, prefix=""):
    """`cell_shapes` of an LSTM."""
    return cell_shapes(PAPER_CELLS["lstm"].gates, M, D, prefix=prefix)


def aligner_shapes(D, E, A, K=2, R=5):
    """Shapes of the parameters of all aligners; K filters of width R, K Gaussians."""
    return {
        "W_a": (A, D),
        "U_a": (A, E),
        "v_a": (A,),
        "W_b": (D, E),
        "W_p": (A, D),
        "v_p": (A,),
        "F": (K, R),
        "U_l": (A, K),
        "b_l": (A,),
        "W_c": (E + 1, D),
        "b_c": (E + 1,),
        "W_n": (E + 6, D),
        "b_n": (E + 6,),
        "W_g": (3 * K, D),
        "b_g": (3 * K,),
    }
