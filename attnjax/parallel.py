"""Data parallelism: a mesh of devices, and the sharding of batches and state.

The same code runs on one device, on several devices of one process and on the devices
of several processes. The state is replicated, the rows of a batch are sharded over the
mesh axis `data`, and `jax.jit` over these global arrays computes the same numbers as
one device.

`make_mesh` keeps its axes in a dict, so that further axes (`fsdp`, `tensor`,
`sequence`) can be added; batches are sharded over `data` only.
"""

import contextlib
import os
import socket
import time
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

DATA = "data"


def initialize_distributed(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> bool:
    """Connects this process to the others, with `jax.distributed.initialize`.

    Call it before any other JAX call that needs a device. Without arguments it does
    nothing, so that a command can pass its options on unconditionally.

    Args:
      coordinator: `host:port` of process 0, the same text in every process.
      num_processes: number of processes.
      process_id: index of this process, from 0.
      timeout: seconds to wait for the other processes.

    Returns:
      Whether this process is now part of a distributed computation.

    Raises:
      ValueError: if only some of the three are given, or one is malformed.
      RuntimeError: if another process does not connect, or the port is in use.
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
        _await_processes(*address, num_processes, deadline)
    else:
        _await_coordinator(*address, process_id, num_processes, deadline)
    # gloo implements collectives between CPU processes; other platforms ignore it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, num_processes, process_id)
    return True


def is_main_process() -> bool:
    """Tells whether this is process 0, which writes files and prints messages."""
    return jax.process_index() == 0


def make_mesh(data: int | None = None) -> Mesh:
    """Makes the mesh of devices, with the axis `data`.

    Args:
      data: number of devices to shard batches over; by default all devices.

    Returns:
      A mesh whose devices are ordered by process, so that the rows of one process are
      contiguous in the global batch.

    Raises:
      ValueError: if there are fewer devices, or if `data` leaves out devices of a
        computation with several processes.

    Example:
      >>> make_mesh(1).shape["data"]
      1
    """
    devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    count = len(devices) if data is None else data
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"data: expected 1 to {len(devices)} devices, got {count} (one CPU can act "
            f"as {count} devices: set JAX_NUM_CPU_DEVICES={count})"
        )
    if jax.process_count() > 1 and count != len(devices):
        raise ValueError(
            f"data: expected all {len(devices)} devices of the "
            f"{jax.process_count()} processes, got {count}"
        )
    axes = {DATA: count}
    return Mesh(
        np.array(devices[:count]).reshape(tuple(axes.values())),  # -> [data]
        tuple(axes),
        axis_types=(AxisType.Auto,) * len(axes),
    )


def replicated_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis is split over `data`."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Replicates every array of a tree over the devices of the mesh.

    Args:
      tree: arrays or random keys that are the same in every process. A
        `jax.ShapeDtypeStruct` gets the sharding, for a checkpoint to be restored to.
      mesh: from `make_mesh`.

    Returns:
      The tree as global arrays.
    """
    sharding = replicated_sharding(mesh)

    def place(x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        if not jax.dtypes.issubdtype(jax.dtypes.result_type(x), jax.dtypes.prng_key):
            return jax.device_put(x, sharding)
        # device_put of a typed key fails on devices of other processes.
        data = jax.device_put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))

    return jax.tree.map(place, tree)


def make_global_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Assembles a global batch from the rows that each process has loaded.

    Args:
      batch: the rows of this process (`process_rows`), arrays of shape
        [B / processes, ...].
      mesh: from `make_mesh`.

    Returns:
      Global arrays of shape [B, ...], with their rows sharded over the devices.

    Raises:
      ValueError: if the rows do not divide evenly among the devices.
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
    """Returns the slice of a global batch that a process loads.

    Args:
      rows: number of rows of the global batch, B.
      process_index: index of the process; by default this one.
      process_count: number of processes; by default that of the computation.

    Returns:
      The slice of rows.

    Raises:
      ValueError: if the rows do not divide evenly among the processes.

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
    size = rows // count
    return slice(index * size, (index + 1) * size)


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(
            f"coordinator: expected host:port, got {coordinator!r} "
            f"(for example 127.0.0.1:12345)"
        )
    return host.strip("[]"), int(port)


# jax.distributed aborts the process if a peer is missing or the port is in use. So the
# processes rendezvous first, for a readable error: each sends its index to process 0,
# which answers all of them once all have connected.
_READY = "ready"


def _await_processes(host: str, port: int, count: int, deadline: float) -> None:
    """Waits in process 0 until all other processes have connected."""
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
        connected: dict[str, socket.socket] = {f"0 of {count}": listener}
        while len(connected) < count:
            try:
                listener.settimeout(max(0.01, deadline - time.monotonic()))
                peer = stack.enter_context(listener.accept()[0])
                peer.settimeout(5)
                name = peer.recv(64).decode(errors="replace").strip()
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue  # a peer that connected and sent nothing
                raise RuntimeError(
                    f"coordinator: expected {count} processes, got only "
                    f"{', '.join(connected)} (start all, with the same coordinator)"
                ) from None
            if name in connected or not name.endswith(f" of {count}"):
                answer = f"{', '.join(connected)} already connected"
                peer.sendall(f"{answer}\n".encode())
            else:
                connected[name] = peer
        del connected[f"0 of {count}"]
        for peer in connected.values():
            peer.sendall(f"{_READY}\n".encode())


def _await_coordinator(
    host: str, port: int, index: int, count: int, deadline: float
) -> None:
    """Sends this process's index to process 0, and waits for its answer."""
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
                    f"coordinator: process {index} cannot connect to {address}: {e} "
                    f"(start all processes; check that this is process 0's address)"
                ) from e
        time.sleep(0.1)
    if answer != _READY:
        raise RuntimeError(
            f"coordinator: {address} rejected process {index} of {count}: "
            f"{answer[:80] or 'no answer'} (number the processes 0 to {count - 1}, "
            f"with one num_processes for all; is another program at this port?)"
        )
