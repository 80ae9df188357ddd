"""Checkpoints alone; how a run uses them is tested in `training/test_fit.py`."""

import errno
import shutil
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from attnjax.train import TrainState, init_state
from experiments.errors import UserError
from experiments.runs.checkpoints import Checkpoints
from tests.experiments.commands import contents

METADATA = {
    "config": {},
    "metrics": {"since_line": {}, "total_tokens": 0.0, "total_seconds": 0.0},
    "line": None,
    "best": ("error", "min"),
}
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
            checkpoints.save(state, METADATA)
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


def state(step: int) -> TrainState:
    """A small train state at a step."""
    initial = init_state({"kernel": jnp.ones((3, 2))}, optax.adam(1e-3))
    return initial._replace(step=jnp.int32(step))


@pytest.mark.parametrize("fault", ["disk", "file system", "array"])
def test_a_checkpoint_that_cannot_be_written_is_named_and_the_earlier_ones_stay(
    fault, tmp_path, monkeypatch
):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(state(1), METADATA)
    before = contents(checkpoints.path(1))

    def no_room(folder):
        return types.SimpleNamespace(free=3)

    def fail(*_: object, **__: object) -> None:
        if fault == "array":  # as Orbax raises TensorStore's errors
            raise ValueError("OUT_OF_RANGE: Error writing local file\nmore")
        raise OSError(errno.EIO, "Input/output error")

    if fault == "disk":
        monkeypatch.setattr(shutil, "disk_usage", no_room)
    else:
        monkeypatch.setattr(ocp.Checkpointer, "save", fail)
    with pytest.raises(
        UserError, match=r"^checkpoint .*00000002: expected to write it"
    ):
        checkpoints.save(state(2), METADATA)
    assert checkpoints.steps() == [1]
    assert contents(checkpoints.path(1)) == before
