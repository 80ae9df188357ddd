"""Logits of a trained run, without a cache: batched and cached code must agree."""

import jax
import jax.numpy as jnp

CONTEXT = 11  # the run's max_length


def logits_of(loaded):
    """Gives a function of ids, at most the context: their logits, without a cache.

    Ids are padded at the end, which a causal model cannot see: one program serves all.
    """
    forward = jax.jit(lambda params, ids: loaded.model.rebuild(params)(ids)[0][0])
    length = loaded.model.config.max_length

    def logits(ids):
        padded = jnp.array([[*ids, *[0] * (length - len(ids))]], jnp.int32)
        return forward(loaded.params, padded)[: len(ids)]

    return logits
