"""Collective operations of the processes of one run; with one process they are free."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from attnjax.parallel import is_main_process, make_global_batch, process_rows
from experiments.errors import UserError


def on_main(action: Callable[[], None]) -> None:
    """Runs an action in the main process while all others wait for it.

    Raises:
      UserError: in the other processes, if the action raised in the main process,
        where its own exception is raised.
    """
    error: Exception | None = None
    if is_main_process():
        try:
            action()
        except Exception as e:
            error = e
    failed = from_main(0 if error is None else 1)
    if error is not None:
        raise error
    if failed:
        raise UserError("process 0: failed (its own error message says why)")


def from_main(number: int) -> int:
    """Returns the main process's number in every process."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def largest(number: int) -> int:
    """Returns the largest number of all processes in every process."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Shards the rows of a batch, which every process holds whole, over all devices."""
    mine = jax.tree.map(lambda x: x[process_rows(len(x))], batch)
    return make_global_batch(mine, mesh)


def gather_rows(tree: Any) -> Any:
    """Gathers the rows of all processes as NumPy arrays."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)
