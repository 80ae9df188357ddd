"""The oracle's flat dict of the paper's matrices as the models' nested dicts."""

import jax.numpy as jnp

from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    alignment_shapes,
    draw_dict,
    gru_params,
    gru_shapes,
    rnnsearch_params,
    side_by_side,
)
from tests.oracle_models import part

_, _, _, D, M, E, A, L, V = TINY_DECODER
GATES = "_z", "_r", ""


def _emitter_shapes(context):
    return {
        "U_o": (2 * L, D),
        "V_o": (2 * L, M),
        "C_o": (2 * L, context),
        "b_t": (2 * L,),
        "W_o": (V, L),
        "b_o": (V,),
    }


RNNSEARCH = draw_dict(
    200,
    {"E_x": (V, M), "E_y": (V, M), "W_s": (D, D)}
    | gru_shapes(M, D, prefix="forward.")
    | gru_shapes(M, D, prefix="backward.")
    | gru_shapes(M, D, E, "decoder.")
    | alignment_shapes(D, E, A)
    | _emitter_shapes(E),
)
FIXED = draw_dict(
    300,
    {"E_x": (V, M), "E_y": (V, M), "V": (D, D), "V_s": (D, D)}
    | gru_shapes(M, D, prefix="encoder.")
    | gru_shapes(M, D, D, "decoder.")
    | _emitter_shapes(D),
)


def nested(params):
    """NamedTuples as dicts, which is how checkpoints hold them."""
    if hasattr(params, "_asdict"):
        return {name: nested(x) for name, x in params._asdict().items()}
    return params


def _emitter(p):
    readout = [jnp.asarray(p[name]).T for name in ("U_o", "V_o", "C_o")]
    return {
        "w_readout": jnp.concatenate(readout),
        "b_readout": jnp.asarray(p["b_t"]),
        "w_output": jnp.asarray(p["W_o"]),
        "b_output": jnp.asarray(p["b_o"]),
    }


def rnnsearch(p, alignment="additive"):
    """Parameters of `RNNSearch`, differentiable in those of the paper."""
    decoder = nested(rnnsearch_params(p, alignment))
    if not decoder["alignment"]:
        del decoder["alignment"]  # nothing to learn, nothing to store
    return {
        "source_embedding": jnp.asarray(p["E_x"]),
        "target_embedding": jnp.asarray(p["E_y"]),
        "forward": nested(gru_params(part(p, "forward"))),
        "backward": nested(gru_params(part(p, "backward"))),
        "w_start": jnp.asarray(p["W_s"]).T,
        "decoder": decoder,
        "emitter": _emitter(p),
    }


def rnn_encoder_decoder(p):
    """Parameters of `RNNEncoderDecoder`, differentiable in those of the paper."""
    decoder = part(p, "decoder")
    return {
        "source_embedding": jnp.asarray(p["E_x"]),
        "target_embedding": jnp.asarray(p["E_y"]),
        "encoder": nested(gru_params(part(p, "encoder"))),
        "w_summary": jnp.asarray(p["V"]).T,
        "w_start": jnp.asarray(p["V_s"]).T,
        "w_context": side_by_side(decoder, "C", GATES),
        "decoder": nested(gru_params(decoder)),
        "emitter": _emitter(p),
    }
