"""The oracle's flat dict of the paper's matrices as the models' nested dicts."""

import jax.numpy as jnp

from tests.arg_specs import TINY_DECODER
from tests.cells.papers import (
    PAPER_CELLS,
    aligner_shapes,
    draw_dict,
    layer_params,
    named_shapes,
    rnnsearch_params,
    side_by_side,
)
from tests.oracle_models import part

_, _, _, D, M, E, A, L, V = TINY_DECODER


def _deep_output_shapes(context):
    return {
        "U_o": (2 * L, D),
        "V_o": (2 * L, M),
        "C_o": (2 * L, context),
        "b_t": (2 * L,),
        "W_o": (V, L),
        "b_o": (V,),
    }


def _stack_shapes(name, cell, num_layers, above, context=0):
    """Shapes of a stack's layers; those above the bottom take vectors [above]."""
    shapes = named_shapes(cell, M, D, context, f"{name}.")
    for layer in range(1, num_layers):
        shapes |= named_shapes(cell, above, D, prefix=f"{name}.{layer}.")
    return shapes


def rnnsearch_dict(cell="gru", num_layers=1):
    """The paper's matrices of `RNNSearch`, of every aligner."""
    return draw_dict(
        200,
        {"E_x": (V, M), "E_y": (V, M), "W_s": (num_layers * D, D)}
        | _stack_shapes("forward", cell, num_layers, E)
        | _stack_shapes("backward", cell, num_layers, E)
        | _stack_shapes("decoder", cell, num_layers, D, E)
        | aligner_shapes(D, E, A)
        | _deep_output_shapes(E),
    )


def fixed_dict(cell="gru", num_layers=1):
    """The paper's matrices of `RNNEncoderDecoder`."""
    return draw_dict(
        300,
        {"E_x": (V, M), "E_y": (V, M), "V": (D, D), "V_s": (num_layers * D, D)}
        | _stack_shapes("encoder", cell, num_layers, D)
        | _stack_shapes("decoder", cell, num_layers, D, D)
        | _deep_output_shapes(D),
    )


RNNSEARCH, FIXED = rnnsearch_dict(), fixed_dict()


def nested(params):
    """Tuples as dicts, which is how checkpoints hold them."""
    if hasattr(params, "_asdict"):
        return {name: nested(x) for name, x in params._asdict().items()}
    if isinstance(params, tuple):
        return {str(i): nested(x) for i, x in enumerate(params)}
    return params


def _deep_output(p):
    readout = [jnp.asarray(p[name]).T for name in ("U_o", "V_o", "C_o")]
    return {
        "w_readout": jnp.concatenate(readout),
        "b_readout": jnp.asarray(p["b_t"]),
        "w_output": jnp.asarray(p["W_o"]),
        "b_output": jnp.asarray(p["b_o"]),
    }


def rnnsearch(p, aligner="additive", cell="gru"):
    """Parameters of `RNNSearch`, differentiable in those of the paper."""
    decoder = nested(rnnsearch_params(p, aligner, cell))
    if not decoder["aligner"]:
        del decoder["aligner"]  # nothing to learn, nothing to store
    directions = (layer_params(p, name, cell) for name in ("forward", "backward"))
    return {
        "source_embedding": jnp.asarray(p["E_x"]),
        "target_embedding": jnp.asarray(p["E_y"]),
        "encoder": {
            str(i): {"forward": nested(forward), "backward": nested(backward)}
            for i, (forward, backward) in enumerate(zip(*directions, strict=True))
        },
        "w_start": jnp.asarray(p["W_s"]).T,
        "decoder": decoder,
        "deep_output": _deep_output(p),
    }


def rnn_encoder_decoder(p, cell="gru"):
    """Parameters of `RNNEncoderDecoder`, differentiable in those of the paper."""
    gates = PAPER_CELLS[cell].gates
    return {
        "source_embedding": jnp.asarray(p["E_x"]),
        "target_embedding": jnp.asarray(p["E_y"]),
        "encoder": nested(layer_params(p, "encoder", cell)),
        "w_vector": jnp.asarray(p["V"]).T,
        "w_start": jnp.asarray(p["V_s"]).T,
        "w_context": side_by_side(part(p, "decoder"), "C", gates),
        "decoder": nested(layer_params(p, "decoder", cell)),
        "deep_output": _deep_output(p),
    }
