"""Where arrays live: a mesh of devices, and batch and state placed on it.

One form for every size: a laptop is a mesh of one device, a server a mesh of
several, a cluster a mesh over the devices of several processes. The state is
replicated_sharding, the batch is split by rows over the axis `data`, and `jax.jit` over
these global arrays computes the numbers that one device would compute.

The mesh is written as a table of axes, so that further ones (`fsdp`, `tensor`,
`sequence`) join beside `data`; a batch is always split over `data` alone.
"""

import contextlib
import os
import socket
import time

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

DATA = "data"


def start_distributed(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> bool:
    """Joins this process to the others of one computation, when asked to.

    To be called before anything asks JAX for a device. With no argument it does
    nothing, so a command can pass its options through unconditionally.

    Args:
      coordinator: `host:port` of process 0, the same text in every process.
      num_processes: how many processes there are.
      process_id: which of them this is, from 0.
      timeout: seconds to wait for the others.

    Returns:
      Whether a distributed computation was started.

    Raises:
      ValueError: if only some of the three are given, or one is malformed.
      RuntimeError: if the others do not come, or the port is taken.
    """
    if coordinator is None and num_processes is None and process_id is None:
        return False
    if coordinator is None or num_processes is None or process_id is None:
        given = {
            "coordinator": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
        raise ValueError(
            f"{', '.join(given)}: expected all three or none, got only "
            f"{', '.join(name for name, value in given.items() if value is not None)}"
        )
    address = _address(coordinator)
    if num_processes < 1:
        raise ValueError(f"num_processes: expected at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id: expected 0 to {num_processes - 1}, got {process_id} "
            f"(processes count from 0)"
        )
    deadline = time.monotonic() + timeout
    if process_id == 0:
        _gather(*address, num_processes, deadline)
    else:
        _report(*address, process_id, num_processes, deadline)
    # CPU devices of several processes talk through gloo; other platforms ignore it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, num_processes, process_id)
    return True


def is_main_process() -> bool:
    """Tells whether this is the process that writes files and talks to the user."""
    return jax.process_index() == 0


def make_mesh(data: int | None = None) -> Mesh:
    """Makes the mesh of devices, with the axis `data`.

    Args:
      data: number of devices to split batches over; by default all there are.

    Returns:
      A mesh whose devices are ordered by process, so that the rows of one
      process are neighbours in the global batch.

    Raises:
      ValueError: if there are not that many devices, or, with several processes,
        if some process would be left without one.

    Example:
      >>> make_mesh(1).shape["data"]
      1
    """
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    count = len(devices) if data is None else data
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"data: expected 1 to {len(devices)} devices, got {count} (a CPU can pose "
            f"as {count} devices: set JAX_NUM_CPU_DEVICES={count})"
        )
    if jax.process_count() > 1 and count != len(devices):
        raise ValueError(
            f"data: expected all {len(devices)} devices of the "
            f"{jax.process_count()} processes, got {count}"
        )
    axes = {DATA: count}
    return Mesh(
        np.array(devices[:count]).reshape(tuple(axes.values())),
        tuple(axes),
        axis_types=(AxisType.Auto,) * len(axes),
    )


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Names the placement of an array of which every device holds a copy."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Names the placement of a batch: its first axis split over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Copies every array of a tree to every device of the mesh.

    Args:
      tree: arrays (random keys too) that are the same in every process.
      mesh: from `make_mesh`.

    Returns:
      The tree as global arrays.
    """
    sharding = replicated_sharding(mesh)

    def place(x: jax.Array) -> jax.Array:
        if not jax.dtypes.issubdtype(jax.dtypes.result_type(x), jax.dtypes.prng_key):
            return jax.device_put(x, sharding)
        # device_put of a key stops at devices of other processes.
        data = jax.device_put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))

    return jax.tree.map(place, tree)


def make_global_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Makes a global batch of the rows that each process has read.

    Args:
      batch: this process's rows (`process_rows`), arrays of shape [B / processes, ...].
      mesh: from `make_mesh`.

    Returns:
      Global arrays of shape [B, ...], split by rows over the devices.

    Raises:
      ValueError: if the rows cannot be shared out evenly among the devices.
    """
    sharding = batch_sharding(mesh)
    devices = len(mesh.local_devices)

    def place(x: np.ndarray) -> jax.Array:
        x = np.asarray(x)
        if x.ndim == 0 or x.shape[0] % devices:
            raise ValueError(
                f"batch: expected a number of rows divisible by {devices} devices, got "
                f"shape {list(x.shape)} (pad the batch with empty rows)"
            )
        return jax.make_array_from_process_local_data(sharding, x)

    return jax.tree.map(place, batch)


def process_rows(
    rows: int, process_index: int | None = None, process_count: int | None = None
) -> slice:
    """Finds which rows of a global batch a process has to read.

    Args:
      rows: rows of the global batch, B.
      process_index: the process; by default this one.
      process_count: of how many; by default those there are.

    Returns:
      The slice of rows.

    Raises:
      ValueError: if the rows cannot be shared out evenly.

    Example:
      >>> process_rows(6, 1, 2)
      slice(3, 6, None)
    """
    index = jax.process_index() if process_index is None else process_index
    count = jax.process_count() if process_count is None else process_count
    if rows % count:
        raise ValueError(
            f"rows: expected a number divisible by {count} processes, got {rows}"
        )
    share = rows // count
    return slice(index * share, (index + 1) * share)


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"coordinator: expected host:port, got {coordinator!r} "
            f"(for example 127.0.0.1:12345)"
        )
    return host.strip("[]"), int(port)


# JAX ends the process with a stack dump when a peer does not come or a port is taken.
# So they meet here first, where what went wrong can be said: each process sends its
# number to process 0, which answers all of them when they are complete.
_GO = "go"


def _gather(host: str, port: int, count: int, deadline: float) -> None:
    """Waits in process 0 until all others have reported."""
    with contextlib.ExitStack() as stack:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server(("", port), family=family, backlog=count)
        except OSError as e:
            reason = os.strerror(e.errno or 0)
            raise RuntimeError(
                f"coordinator: cannot listen on port {port}: {reason} "
                f"(choose another port, the same for every process)"
            ) from e
        stack.enter_context(listener)
        here: dict[str, socket.socket] = {f"0 of {count}": listener}
        while len(here) < count:
            try:
                listener.settimeout(max(0.01, deadline - time.monotonic()))
                peer = stack.enter_context(listener.accept()[0])
                peer.settimeout(5)
                name = peer.recv(64).decode(errors="replace").strip()
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue  # connected, and said nothing
                raise RuntimeError(
                    f"coordinator: expected {count} processes, only these came: "
                    f"{', '.join(here)} (start all of them, with the same coordinator)"
                ) from None
            if name in here or not name.endswith(f" of {count}"):
                peer.sendall(f"there is {', '.join(here)} already\n".encode())
            else:
                here[name] = peer
        del here[f"0 of {count}"]
        for peer in here.values():
            peer.sendall(f"{_GO}\n".encode())


def _report(host: str, port: int, index: int, count: int, deadline: float) -> None:
    """Reports to process 0, and waits until all others have."""
    address = f"{host}:{port}"
    while True:
        try:
            left = max(0.01, deadline - time.monotonic())
            with socket.create_connection((host, port), timeout=left) as peer:
                peer.sendall(f"{index} of {count}\n".encode())
                answer = peer.recv(256).decode(errors="replace").partition("\n")[0]
            break
        except OSError as e:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"coordinator: process {index} waited in vain for {address}: {e} "
                    f"(start all processes; see that this address reaches process 0)"
                ) from e
        time.sleep(0.1)
    if answer != _GO:
        raise RuntimeError(
            f"coordinator: {address} did not accept process {index} of {count}: "
            f"{answer[:80] or 'no answer'} (number the processes 0 to {count - 1}, "
            f"with one num_processes for all; is another program at this port?)"
        )
