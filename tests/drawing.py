"""Random keys that count draws, for tests that nothing is initialised."""

import jax
import jax.extend
import jax.numpy as jnp


def counting_key(draws):
    """Makes a random key that appends a shape to `draws` when a program draws bits.

    Tracing appends nothing. Call `jax.effects_barrier` before reading `draws`.
    """

    def random_bits(key, bit_width, shape):
        jax.debug.callback(lambda: draws.append(shape))
        return jnp.zeros(shape, f"uint{bit_width}")

    impl = jax.extend.random.define_prng_impl(
        key_shape=(2,),
        seed=lambda seed: jnp.zeros(2, jnp.uint32),
        split=lambda key, shape: jnp.zeros((*shape, 2), jnp.uint32),
        random_bits=random_bits,
        fold_in=lambda key, data: key,
        name=f"counting {id(draws)}",
        tag="count",
    )
    return jax.random.key(0, impl=impl)
