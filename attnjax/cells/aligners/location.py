"""Location-aware attention: the weights of the last step enter the score."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from attnjax.cells.aligners.base import Aligner, Sizes, Weighed, first_position
from attnjax.cells.aligners.content import (
    AdditiveParams,
    additive_init,
    additive_keys,
    normalise,
)
from attnjax.cells.initializers import Initializers
from attnjax.core import location, precision
from attnjax.core.attend import Memory


class LocationParams(NamedTuple):
    """Parameters of an additive score that includes the last step's weights."""

    score: AdditiveParams  # W, V and w in the paper
    b: Float[Array, "A"]
    filters: Float[Array, "R K"]  # F
    w_location: Float[Array, "K A"]  # U


def _location_init(
    rng: Array,
    sizes: Sizes,
    initializers: Initializers,
    *,
    num_filters: int,
    filter_width: int,
) -> LocationParams:
    r_score, r_filters, r_location = jax.random.split(rng, 3)
    return LocationParams(
        score=additive_init(r_score, sizes, initializers),
        b=jnp.zeros(sizes.A),
        filters=initializers.aligner(r_filters, (filter_width, num_filters)),
        w_location=initializers.aligner(r_location, (num_filters, sizes.A)),
    )


def _location_keys(params: LocationParams, values: Array) -> Array:
    # The bias is added here, once for each source, not at every step.
    projected = additive_keys(params.score, values)
    return projected + params.b.astype(projected.dtype)


def _location_weigh(
    params: LocationParams,
    carry: Array,
    query: Array,
    position: Array,
    memory: Memory,
) -> Weighed:
    """Chorowski et al. 2015 (arXiv:1506.07503), eqs. 8 to 10; carries the weights."""
    matched = location.location_aware(
        precision.matmul(query, params.score.w_query),
        memory.keys,
        carry,
        filters=params.filters,
        w_location=params.w_location,
        v=params.score.v,
    )
    given = normalise(matched, query, memory)
    return given, given


def location_aware(num_filters: int = 10, filter_width: int = 31) -> Aligner:
    """Makes the aligner of location-aware attention, which carries its last weights.

    The paper does not say what stands for the weights before the first step; as in its
    authors' code, all weight is on the first source position.

    Source: Chorowski et al. 2015 (arXiv:1506.07503), section 2.1.

    Args:
      num_filters: filters that are convolved with the last weights (the paper: 10).
      filter_width: source positions that a filter covers, odd. The paper uses 201 on
        frames of speech, which are several for each target token; the default suits
        tokens.
    """
    init = partial(_location_init, num_filters=num_filters, filter_width=filter_width)
    return Aligner(init, _location_keys, _location_weigh, first_position)
