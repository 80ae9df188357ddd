"""Checkpoints by themselves; what a run makes of them is in test_run."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax

from attnjax.train import init_state
from experiments.runs.checkpoints import Checkpoints

ROUNDS = 20


def test_threads_save_and_read_at_the_same_time(tmp_path):
    """Threads that are left behind, as saves that mix may wait for ever."""
    tx = optax.adam(1e-3)
    params = [{"kernel": jnp.full((30, 20), float(i))} for i in range(2)]
    read = [[], []]

    def save_and_read(number: int) -> None:
        checkpoints = Checkpoints(tmp_path / str(number))
        state = init_state(params[number], tx)
        for step in range(ROUNDS):
            state = state._replace(step=jax.device_put(jnp.int32(step)))
            checkpoints.save(state, {})
            read[number].append(checkpoints.restore(step, state))

    threads = [
        threading.Thread(target=save_and_read, args=(number,), daemon=True)
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number in range(2):
        assert [int(state.step) for state in read[number]] == list(range(ROUNDS))
        for state in read[number]:
            np.testing.assert_array_equal(
                state.params["kernel"], params[number]["kernel"]
            )
