"""Random parameters and inputs of the recurrent benchmarks, for all libraries alike."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from attnjax.cells.aligners import AdditiveParams
from attnjax.cells.gru import GRUParams
from attnjax.cells.rnnsearch import RNNSearchParams
from experiments.bench.shapes import DecoderSpec


def random_array(seed: int, *shape: int) -> Array:
    """A float32 array, drawn from a normal distribution of variance 1 / shape[-1]."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0, shape[-1] ** -0.5, shape), jnp.float32)


def decoder_arrays(spec: DecoderSpec) -> tuple[RNNSearchParams, dict[str, Array]]:
    """Parameters of RNNSearch's decoder, and its inputs by name.

    Args:
      spec: the sizes.

    Returns:
      The parameters, and `embedded` [B, T, M], `values` [B, S, E] and `start` [B, D].
    """
    B, S, T, D, M, E, A, *_ = spec
    params = RNNSearchParams(
        aligner=AdditiveParams(
            random_array(0, D, A), random_array(1, E, A), random_array(2, A)
        ),
        w_context=random_array(3, E, 3 * D),
        layers=(
            GRUParams(
                random_array(4, M, 3 * D),
                random_array(5, D, 2 * D),
                random_array(6, D, D),
                random_array(7, 3 * D),
            ),
        ),
    )
    inputs = {
        "embedded": random_array(8, B, T, M),
        "values": random_array(9, B, S, E),
        "start": random_array(10, B, D),
    }
    return params, inputs


def source_mask(spec: DecoderSpec) -> Array:
    """True = a source token, [B, S]; the lengths of the rows cycle from S to S/2."""
    lengths = spec.S - np.arange(spec.B) % (spec.S // 2 + 1)
    # [B] -> [B, 1], compared with [S] -> [B, S]
    return jnp.asarray(np.arange(spec.S) < lengths[:, None])
