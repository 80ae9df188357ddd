"""The papers' matrices as our parameters: `W @ x` there, `x @ w` here.

Every function is differentiable, so that the gradient of one of our cells comes
out in the papers' layout, beside the finite differences of the oracle.
"""

import jax.numpy as jnp

from attnjax.cells.aligners import AdditiveParams, BilinearParams, LocalParams
from attnjax.cells.gru import GRUParams
from attnjax.cells.lstm import LSTMParams
from attnjax.cells.rnnsearch import RNNSearchParams
from tests.core.cases import draw


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


def additive_params(p):
    """W_a, U_a and v_a."""
    return AdditiveParams(
        jnp.asarray(p["W_a"]).T, jnp.asarray(p["U_a"]).T, jnp.asarray(p["v_a"])
    )


ALIGNMENT_PARAMS = {
    "additive": additive_params,
    "dot": lambda p: (),
    "bilinear": lambda p: BilinearParams(jnp.asarray(p["W_b"])),
    "local-p": lambda p: LocalParams(
        additive_params(p), jnp.asarray(p["W_p"]).T, jnp.asarray(p["v_p"])
    ),
    "diagonal": lambda p: (),
}


def rnnsearch_params(p, alignment="additive"):
    """The decoder's part of the oracle's dict."""
    decoder = {k.removeprefix("decoder."): x for k, x in p.items() if "decoder." in k}
    return RNNSearchParams(
        alignment=ALIGNMENT_PARAMS[alignment](p),
        w_context=side_by_side(decoder, "C", ("_z", "_r", "")),
        gru=gru_params(decoder),
    )


def draw_dict(seed, shapes):
    """One float64 array a name; `shapes` maps names to shapes."""
    return {
        name: draw(seed + i, *shape) * 0.7
        for i, (name, shape) in enumerate(shapes.items())
    }


def gru_shapes(M, D, context=0, prefix=""):
    """Shapes of the oracle's GRU; with `context`, of one that reads c too."""
    shapes = {}
    for gate in ("_z", "_r", ""):
        shapes |= {"W" + gate: (D, M), "U" + gate: (D, D), "b" + gate: (D,)}
        if context:
            shapes["C" + gate] = (D, context)
    return {prefix + name: shape for name, shape in shapes.items()}


def lstm_shapes(M, D, prefix=""):
    """Shapes of the oracle's LSTM."""
    shapes = {}
    for gate in "ifgo":
        shapes |= {"W_" + gate: (D, M), "U_" + gate: (D, D), "b_" + gate: (D,)}
    return {prefix + name: shape for name, shape in shapes.items()}


def alignment_shapes(D, E, A):
    """Shapes of what the alignments of RNNSearch and its kin can need."""
    return {
        "W_a": (A, D),
        "U_a": (A, E),
        "v_a": (A,),
        "W_b": (D, E),
        "W_p": (A, D),
        "v_p": (A,),
    }
