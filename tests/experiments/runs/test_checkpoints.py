"""Checkpoints alone; how a run uses them is tested in `training/test_fit.py`."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attnjax.train import init_state
from experiments.runs.checkpoints import Checkpoints

ROUNDS = 10  # without the lock, 5 rounds already failed in 3 of 4 trials


def test_threads_save_and_restore_at_the_same_time(tmp_path, monkeypatch):
    """Daemon threads, since saves that are not serialised may deadlock."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)
    tx = optax.adam(1e-3)
    params = [{"kernel": jnp.full((30, 20), float(i))} for i in range(2)]
    restored = [[], []]

    def save_and_restore(number: int) -> None:
        checkpoints = Checkpoints(tmp_path / str(number))
        state = init_state(params[number], tx)
        for step in range(ROUNDS):
            state = state._replace(step=jax.device_put(jnp.int32(step)))
            checkpoints.save(state, {})
            restored[number].append(checkpoints.restore(step, state))

    threads = [
        threading.Thread(target=save_and_restore, args=(number,), daemon=True)
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(2):
        assert [int(state.step) for state in restored[number]] == list(range(ROUNDS))
        for state in restored[number]:
            np.testing.assert_array_equal(
                state.params["kernel"], params[number]["kernel"]
            )
