"""Steps a trained model through given translations, for batched code to agree with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets.tokenizers.sentences import BOS, EOS
from experiments.translate.loading import LoadedRun

WIDTH = 61  # of padded sources, so that one program serves all of them

Stepped = tuple[np.ndarray, np.ndarray]


def stepper(loaded: LoadedRun) -> Callable[[str, str], Stepped]:
    """Gives a function of source and target that steps through the target.

    It returns the log-probabilities of the target's tokens and EOS [T], and the
    attention weights [T, S] with which they were predicted.
    """
    rebuild, params = loaded.model.rebuild, loaded.params
    encode = jax.jit(lambda params, ids: rebuild(params).encode(ids, ids > 0))
    start = jax.jit(lambda params, memory: rebuild(params).start(memory))
    step = jax.jit(lambda params, *rest: rebuild(params).step(*rest))

    def through(source: str, target: str) -> Stepped:
        tokenizers = loaded.model.tokenizers
        ids = [*tokenizers.source.tokenize(source), EOS]
        padded = jnp.array([ids + [0] * (WIDTH - len(ids))])
        memory = encode(params, padded)
        carry, previous = start(params, memory), BOS
        log_probs, rows = [], []
        for token in [*tokenizers.target.tokenize(target), EOS]:
            carry, logits, weights = step(params, memory, carry, jnp.array([previous]))
            logits = np.asarray(logits[0], np.float64)
            log_probs.append(logits[token] - np.log(np.exp(logits).sum()))
            rows.append(weights[0, : len(ids)])
            previous = token
        return np.array(log_probs), np.array(rows)

    return through
