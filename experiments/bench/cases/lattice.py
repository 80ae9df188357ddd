"""The transducer's loss and its gradient: time, and memory beside the lattice's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from attnjax.core.lattice import transducer_loss
from experiments.bench.systems import ATTNJAX, Calls, is_installed, select_systems
from experiments.bench.timing import measure

SCAN = "scan-autodiff"
SMOKE = {"B": 2, "T": 5, "U": 3, "V": 7}


class Lattices(NamedTuple):
    """A batch of lattices, none of them padded."""

    logits: np.ndarray  # [B, T, U + 1, V]
    labels: np.ndarray  # [B, U]


def time_lattice(options: Any) -> list[dict[str, Any]]:
    """Times loss and gradient; one record per system.

    Args:
      options: a `commands.Lattice`.

    Returns:
      Records of `timing.measure` with `shape`, `dtype` and `memory`: the peak of a
      compiled program that may overwrite its logits, in lattices; None of others.
    """
    asked = options.batch, options.frames, options.labels, options.alphabet
    sizes = SMOKE if options.smoke else dict(zip("BTUV", asked, strict=True))
    labels = {"model": "transducer", "shape": sizes, "dtype": "float32"}
    batch = random_lattices(**sizes)
    calls = loss_calls(batch, options.systems)
    peaks = {name: peak_memory(loss, batch) for name, loss in LOSSES.items()}
    return [
        r | {"memory": peaks.get(r["system"])}
        for r in measure(calls, labels, repeats=options.repeats, clock=options.clock)
    ]


def random_lattices(B: int, T: int, U: int, V: int) -> Lattices:
    """Logits of a joint network that adds what both cursors say; blank is 0."""
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((B, T, 1, V), np.float32)
    states = rng.standard_normal((B, 1, U + 1, V), np.float32)
    labels = rng.integers(1, V, (B, U)).astype(np.int32)
    return Lattices(frames + states, labels)


def loss_calls(batch: Lattices, systems: tuple[str, ...]) -> Calls:
    """Loss and gradient of the logits, by selected system."""
    calls: Calls = {name: _jax_call(loss, batch) for name, loss in LOSSES.items()}
    if is_installed("warprnnt_numba"):
        from experiments.bench.peers.torch_transducer import warprnnt_call

        calls["warprnnt-numba"] = warprnnt_call(*batch)
    if is_installed("torchaudio"):
        from experiments.bench.peers.torch_transducer import torchaudio_call

        calls["torchaudio"] = torchaudio_call(*batch)
    return select_systems(calls, systems)


def peak_memory(loss: Callable[..., Array], batch: Lattices) -> float:
    """The peak of the compiled gradient, which may overwrite the logits, in theirs."""
    gradient = jax.jit(jax.value_and_grad(loss), donate_argnums=0)
    found: Any = gradient.lower(*batch).compile().memory_analysis()
    peak = (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        - found.alias_size_in_bytes
    )
    return float(peak / batch.logits.nbytes)


def _jax_call(loss: Callable[..., Array], batch: Lattices) -> Callable[[], Any]:
    run = jax.jit(jax.value_and_grad(loss))
    on_device = jax.tree.map(jnp.asarray, batch)
    return lambda: jax.block_until_ready(run(*on_device))


def _loss(logits: Array, labels: Array) -> Array:
    return jnp.sum(jax.vmap(transducer_loss)(logits, labels))


def _scanned_loss(logits: Array, labels: Array) -> Array:
    """As one would write it: log-softmax, a gather, and a scan over rows of cells."""

    def one(logits: Array, labels: Array) -> Array:
        log_probs = jax.nn.log_softmax(logits)
        blank = log_probs[:, :, 0]
        label = jnp.take_along_axis(log_probs[:, :-1], labels[None, :, None], axis=2)[
            :, :, 0
        ]  # [T, U, 1] -> [T, U]

        def cell(left: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
            below, emitted = x
            alpha = jnp.logaddexp(below, left + emitted)
            return alpha, alpha

        def row(last: Array, x: tuple[Array, Array]) -> tuple[Array, None]:
            blank, label = x
            below = last + blank
            _, rest = lax.scan(cell, below[0], (below[1:], label))
            return jnp.concatenate([below[:1], rest]), None

        first = jnp.cumsum(jnp.pad(label[0], (1, 0)))
        alpha, _ = lax.scan(row, first, (blank[:-1], label[1:]))
        return -(alpha[-1] + blank[-1, -1])

    return jnp.sum(jax.vmap(one)(logits, labels))


LOSSES = {ATTNJAX: _loss, SCAN: _scanned_loss}
