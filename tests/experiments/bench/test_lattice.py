"""The benchmark of the transducer's loss; no test asserts a speed."""

import json

import jax
import numpy as np
import pytest

from experiments.bench.cases import lattice
from experiments.bench.commands import main


def test_it_times_every_system_and_writes_the_timings(tmp_path, capsys):
    out = tmp_path / "timings.json"
    main(["lattice", "--smoke", "--repeats", "2", "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    assert [r["system"] for r in records][:2] == ["attnjax", lattice.SCAN]
    assert records[0]["shape"] == {"B": 2, "T": 5, "U": 3, "V": 7}
    assert "transducer" in capsys.readouterr().out


def test_all_systems_have_one_loss_and_gradient():
    batch = lattice.random_lattices(**lattice.SMOKE)
    found = {n: call() for n, call in lattice.loss_calls(batch, ()).items()}
    want, gradient = jax.device_get(found["attnjax"])
    for total, of_logits in found.values():
        np.testing.assert_allclose(np.asarray(total), want, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(of_logits), gradient, atol=1e-5)


def test_the_gradient_takes_the_place_of_the_logits():
    """The peak of memory is little more than the lattice, whatever the alphabet."""
    batch = lattice.random_lattices(B=3, T=17, U=7, V=301)
    ours, scanned = (
        lattice.peak_memory(lattice.LOSSES[name], batch)
        for name in ("attnjax", lattice.SCAN)
    )
    assert ours < 1.5 < scanned


@pytest.mark.parametrize("option", ["--frames", "--alphabet"])
def test_a_size_that_makes_no_lattice_is_named(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["lattice", "--smoke", option, "0"])
    assert stopped.value.code == 2
    assert option in capsys.readouterr().err
