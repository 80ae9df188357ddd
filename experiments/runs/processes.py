"""What the processes of one training run do together; alone, all of it is free."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from attnjax.parallel import is_main_process, process_rows, make_global_batch
from experiments.errors import UserError


def on_main(action: Callable[[], None]) -> None:
    """Does something in the main process only, and waits for it everywhere.

    Raises:
      UserError: in the other processes, if the action raised in the main one
        (which raises what it raised).
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
        raise UserError("process 0 could not go on (it says why)")


def from_main(number: int) -> int:
    """Tells all processes a number that the main one knows."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def largest(number: int) -> int:
    """Tells all processes the largest of their numbers."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts a whole batch, known to every process, on the devices row by row."""
    mine = jax.tree.map(lambda x: x[process_rows(len(x))], batch)
    return make_global_batch(mine, mesh)


def gather_rows(tree: Any) -> Any:
    """Reads the rows of all processes, as numpy arrays."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)
