"""Training steps and their compiling are timed; the systems do the same work."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import trials
from experiments.bench.cases.training import CONFIGS, jax_steps, random_batch, sized
from experiments.bench.commands import main
from experiments.bench.shapes import TINY_BATCHES
from experiments.datasets.pairs.batching import Batch

TINY = ["--tiny", "--repeats", "2", "--dtypes", "float32"]


@pytest.fixture
def without_peers(monkeypatch):
    monkeypatch.setattr(trials, "installed", lambda package: False)


def figures(path):
    return json.loads(path.read_text())["records"]


@pytest.mark.parametrize("model", ["rnnsearch", "fixed-vector", "transformer"])
def test_train_splits_the_step_and_counts_tokens(
    tmp_path, capsys, without_peers, model
):
    out = tmp_path / "figures.json"
    main(["train", *TINY, "--model", model, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "tokens/s" in printed
    assert "not installed: torch" in printed
    records = figures(out)
    assert [r["part"] for r in records] == ["forward", "backward", "step"]
    step, spec = records[-1], TINY_BATCHES[0]
    assert step["tokens_per_second"] == spec.target_tokens / step["seconds"]
    assert step["padded_tokens_per_second"] == spec.B * spec.T / step["seconds"]


@pytest.mark.parametrize("model", ["rnnsearch", "transformer"])
def test_pytorchs_step_runs_where_it_is_installed(capsys, model):
    pytest.importorskip("torch")
    main(["train", *TINY, "--model", model, "--systems", "torch"])
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert "not installed" not in printed


@pytest.mark.parametrize("pre_norm", [True, False])
def test_both_transformers_have_one_loss_and_one_gradient(pre_norm):
    """The gradient of the shared table, to which it comes from everywhere."""
    pytest.importorskip("torch")
    from experiments.bench.peers.torch_training import steps_of, torch_model

    config = sized(CONFIGS["transformer"], "float32", tiny=True)
    block = dataclasses.replace(config.model.block, dropout=0.0, pre_norm=pre_norm)
    model = dataclasses.replace(config.model, block=block)
    config = dataclasses.replace(config, model=model)
    host = random_batch(TINY_BATCHES[0], model.target_vocab_size)
    ours = jax_steps(config, Batch(*map(jnp.asarray, host)))["backward"]()
    module = torch_model(model)
    theirs = steps_of(module, config, *host)["backward"]()
    np.testing.assert_allclose(theirs.detach().cpu().numpy(), ours[0], rtol=1e-5)
    slope = (
        module.table.grad.cpu().numpy() * (host.target != 0).sum()
    )  # theirs is a mean
    want = ours[1]["target_embedding"]
    np.testing.assert_allclose(slope, want, rtol=1e-4, atol=1e-5)


def test_compile_compares_depths(tmp_path, capsys):
    out = tmp_path / "figures.json"
    main(["compile", *TINY[:3], "--layers", "1", "2", "--out", str(out)])
    printed = capsys.readouterr().out
    for word in ("1+1", "2+2", "x the first"):
        assert word in printed
    records = figures(out)
    assert [(r["layers"], len(r["wall"])) for r in records] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--shapes", "0"], "error: --shapes: expected at least 1, got 0"),
        (["compile", "--layers", "0"], "error: --layers: expected at least 1, got 0"),
        (
            ["train", "--systems", "torch"],
            "error: --systems: expected names among attnjax, got torch",
        ),
    ],
)
def test_mistakes_are_told_with_code_2(arguments, message, capsys, without_peers):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--tiny"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
