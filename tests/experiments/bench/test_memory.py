"""The benchmark of the Neural Turing Machine; no test asserts a speed."""

import json

import numpy as np
import pytest

from experiments.bench.cases import memory
from experiments.bench.commands import main


def test_it_times_every_system_and_writes_the_timings(tmp_path, capsys):
    out = tmp_path / "timings.json"
    main(["memory", "--smoke", "--repeats", "2", "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    assert records[0]["system"] == "attnjax"
    assert records[0]["shape"] == {"B": 4, "T": 9, "N": 7, "M": 5}
    for r in records:
        assert r["sequences_per_second"] == pytest.approx(4 / r["seconds"])
    assert "Neural Turing Machine" in capsys.readouterr().out


def test_pytorch_has_the_same_losses_step_by_step():
    pytest.importorskip("torch", reason="torch is not installed")
    calls = memory.step_calls(memory.SMOKE, ("attnjax", "torch"))
    # The loss before each step; Adam's moments are in the later ones.
    losses = {name: [float(call()) for _ in range(4)] for name, call in calls.items()}
    np.testing.assert_allclose(losses["torch"], losses["attnjax"], rtol=1e-4)
    assert losses["attnjax"][3] < losses["attnjax"][0]
