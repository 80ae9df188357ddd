"""Location-aware scores: where the last query attended enters the next score.

Without this, two keys of equal content get equal scores wherever they stand. The
weights of the last step are convolved with learned filters, so that a score can
prefer, for instance, the position just after the last one.
"""

from jax import lax
from jaxtyping import Array, Float

from attnjax.core import precision, scores
from attnjax.core._checks import shaped


@shaped
def location_features(
    previous: Float[Array, "S"], filters: Float[Array, "R K"]
) -> Float[Array, "S K"]:
    r"""Convolves the weights of the last step with learned filters.

    .. math:: f_{jk} = \sum_{r=1}^{R} F_{rk} \, \alpha_{j + r - (R + 1) / 2}

    with weights of 0 outside the source. This is the cross-correlation that every
    framework calls a convolution.

    Source: Chorowski et al. 2015 (arXiv:1506.07503), eq. 8.

    Args:
      previous: alpha, the weights of the last step, shape [S].
      filters: F, K filters over R neighbouring positions, shape [R, K]; R is odd.

    Returns:
      K features of each position, shape [S, K], in the promoted dtype of the inputs.

    Raises:
      ValueError: if a shape disagrees with the letters above, or R is even.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> one_to_the_right = jnp.array([[1.0], [0.0], [0.0]])
      >>> location_features(jnp.array([0.0, 1.0, 0.0]), one_to_the_right)[:, 0]
      Array([0., 0., 1.], dtype=float32)
    """
    R = filters.shape[0]
    if R % 2 == 0:
        raise ValueError(
            f"filters: expected an odd width R, got {R} (a filter is centred on the "
            "position whose feature it gives)"
        )
    dtype = precision.promoted(previous, filters)
    accumulation = precision.accumulation_dtype(dtype)
    # One example of one channel: [S] -> [1, S, 1]; [R, K] -> [R, 1, K].
    x = previous.astype(accumulation)[None, :, None]
    kernel = filters.astype(accumulation)[:, None, :]
    features = lax.conv_general_dilated(
        x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )
    return features[0].astype(dtype)  # [1, S, K] -> [S, K]


@shaped
def location_aware(
    query: Float[Array, "A"],
    keys: Float[Array, "S A"],
    previous: Float[Array, "S"],
    *,
    filters: Float[Array, "R K"],
    w_location: Float[Array, "K A"],
    v: Float[Array, "A"],
) -> Float[Array, "S"]:
    r"""Scores keys by their content and by where the last query attended.

    .. math:: e_j = v^\top \tanh(q + k_j + U f_j)

    with q = W s_{i-1} and k_j = V h_j + b projected by the caller, and f the
    `location_features` of the last weights. With `w_location` 0 it is `additive`.

    Source: Chorowski et al. 2015 (arXiv:1506.07503), eqs. 8 to 10.

    Args:
      query: projected decoder state, shape [A].
      keys: projected source states, shape [S, A].
      previous: alpha_{i-1}, the weights of the last step, shape [S].
      filters: F, shape [R, K]; R is odd (the paper: R 201, K 10, on speech frames).
      w_location: U, shape [K, A].
      v: scoring vector (the paper's w), shape [A].

    Returns:
      Scores, shape [S], in at least float32.

    Raises:
      ValueError: if a shape disagrees with the letters above, or R is even.
      TypeError: if an argument is not a floating-point array.

    Example:
      >>> last = jnp.array([0.0, 1.0, 0.0])
      >>> location_aware(jnp.zeros(1), jnp.zeros((3, 1)), last, v=jnp.ones(1),
      ...     filters=jnp.array([[1.0], [0.0], [0.0]]), w_location=jnp.ones((1, 1))
      ... )  # doctest: +ELLIPSIS
      Array([0. ..., 0. ..., 0.761...], dtype=float32)
    """
    features = location_features(previous, filters)
    located = keys + precision.matmul(features, w_location)  # [S, K] -> [S, A]
    return scores.additive(query, located, v)
