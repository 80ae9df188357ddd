"""Sharding arrays over devices, rows of processes, and the rendezvous."""

import contextlib
import socket
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from attnjax import parallel

pytestmark = pytest.mark.versions

B, D = 6, 5


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_is_sharded_by_rows_and_none_is_lost(devices):
    mesh = parallel.make_mesh(devices)
    rows = np.arange(B * D, dtype=np.float32).reshape(B, D)
    placed = parallel.make_global_batch({"x": rows, "n": rows[:, 0]}, mesh)
    np.testing.assert_array_equal(placed["x"], rows)
    assert placed["x"].sharding == parallel.batch_sharding(mesh)
    shards = sorted(placed["x"].addressable_shards, key=lambda s: s.index[0].start or 0)
    got = [np.asarray(shard.data) for shard in shards]
    np.testing.assert_array_equal(np.concatenate(got), rows)
    assert {len(shard) for shard in got} == {B // devices}


@pytest.mark.parametrize("devices", [1, 2])
def test_every_device_holds_a_full_replica(devices):
    mesh = parallel.make_mesh(devices)
    tree = {"w": jnp.arange(D), "rng": jax.random.key(3)}
    placed = parallel.replicate(tree, mesh)
    abstract = parallel.replicate(jax.eval_shape(lambda: tree["w"]), mesh)
    assert (abstract.shape, abstract.dtype) == ((D,), placed["w"].dtype)
    assert abstract.sharding == placed["w"].sharding
    assert len(placed["w"].addressable_shards) == devices
    for shard in placed["w"].addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(D))
    assert jax.random.key_data(placed["rng"]).tolist() == [0, 3]


def test_a_mesh_has_one_automatic_axis_over_all_devices():
    mesh = parallel.make_mesh()
    assert dict(mesh.shape) == {"data": jax.device_count()}
    assert mesh.axis_types == (AxisType.Auto,)
    assert [d.id for d in mesh.devices] == sorted(d.id for d in jax.devices())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_process_rows_cover_the_batch_once(processes):
    slices = [parallel.process_rows(B, index, processes) for index in range(processes)]
    rows = np.concatenate([np.arange(B)[rows] for rows in slices])
    np.testing.assert_array_equal(rows, np.arange(B))


def test_a_single_process_is_the_main_one_and_loads_all_rows():
    assert parallel.is_main_process()
    assert parallel.process_rows(B) == slice(0, B)


def test_without_arguments_nothing_is_initialized():
    assert parallel.initialize_distributed() is False
    assert jax.process_count() == 1


def test_a_mesh_of_too_many_devices_names_the_jax_option():
    with pytest.raises(
        ValueError,
        match=r"data: expected 1 to 2 devices, got 8 .*JAX_NUM_CPU_DEVICES=8",
    ):
        parallel.make_mesh(8)
    with pytest.raises(ValueError, match="data: expected 1 to 2 devices, got 0"):
        parallel.make_mesh(0)


def test_rows_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 2 devices, got shape \[3, 5\]"):
        parallel.make_global_batch(np.zeros((3, D)), parallel.make_mesh(2))
    with pytest.raises(ValueError, match=r"divisible by 2 devices, got shape \[\]"):
        parallel.make_global_batch(np.zeros(()), parallel.make_mesh(2))
    with pytest.raises(ValueError, match=r"rows: .* divisible by 4 processes, got 6"):
        parallel.process_rows(6, 0, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("h:1", None, None), "expected all three or none, got only coordinator"),
        (
            (None, 2, 1),
            "expected all three or none, got only num_processes, process_id",
        ),
        (("localhost", 2, 0), "coordinator: expected host:port, got 'localhost'"),
        (("h:http", 2, 0), "coordinator: expected host:port, got 'h:http'"),
        (("h:99999", 2, 0), "coordinator: expected host:port, got 'h:99999'"),
        (("h:1", 0, 0), "num_processes: expected at least 1, got 0"),
        (("h:1", 2, 2), r"process_id: expected 0 to 1, got 2 \(processes count from 0"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        parallel.initialize_distributed(*arguments)


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            RuntimeError, match=f"cannot listen on port {port}: .*choose another port"
        ):
            parallel.initialize_distributed(f"127.0.0.1:{port}", 2, 0, timeout=1)


def test_missing_processes_are_reported():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RuntimeError, match="expected 2 processes, got only 0 of 2"):
        parallel.initialize_distributed(address, 2, 0, timeout=0)


def test_a_missing_coordinator_is_reported():
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RuntimeError, match=f"process 1 cannot connect to {address}"):
        parallel.initialize_distributed(address, 2, 1, timeout=0)


def test_a_process_of_another_computation_is_rejected():
    port = free_port()
    errors = []

    def await_processes():
        try:
            parallel.initialize_distributed(f"127.0.0.1:{port}", 3, 0, timeout=2)
        except RuntimeError as e:
            errors.append(str(e))

    thread = threading.Thread(target=await_processes)
    thread.start()
    with pytest.raises(
        RuntimeError, match="rejected process 1 of 2: 0 of 3 already connected"
    ):
        parallel.initialize_distributed(f"127.0.0.1:{port}", 2, 1, timeout=2)
    thread.join()
    assert "expected 3 processes, got only 0 of 3" in errors[0]
