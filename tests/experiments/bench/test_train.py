"""Training steps and their compilation are timed; all systems do the same work."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import systems, tables
from experiments.bench.cases import compiling
from experiments.bench.cases.training import (
    CONFIGS,
    build_config,
    jax_steps,
    random_batch,
    training_calls,
    with_rates,
)
from experiments.bench.commands import main
from experiments.bench.shapes import TINY_BATCHES
from experiments.datasets.pairs.batching import Batch

SMOKE = ["--smoke", "--repeats", "1", "--dtypes", "float32"]
SPEC = TINY_BATCHES[0]
NO_TORCH = "torch is not installed"


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(systems, "find_spec", lambda package: None)


def records_in(path):
    return json.loads(path.read_text())["records"]


def test_train_times_the_parts_of_a_step(tmp_path, capsys, no_peers):
    out = tmp_path / "timings.json"
    main(["train", *SMOKE, "--model", "fixed-vector", "--out", str(out)])
    printed = capsys.readouterr().out
    assert "with padding" in printed
    assert "not installed: torch" in printed
    records = records_in(out)
    assert [r["part"] for r in records] == ["forward", "backward", "step"]
    step = records[-1]
    assert step["tokens_per_second"] == SPEC.target_tokens / step["seconds"]
    assert step["padded_tokens_per_second"] == SPEC.B * SPEC.T / step["seconds"]


@pytest.mark.parametrize("model", CONFIGS)
def test_every_model_has_a_step(model, no_peers):
    """It is built, not compiled: the models' own tests train them."""
    config = build_config(CONFIGS[model], "bfloat16", smoke=True)
    assert config.model.dtype == "bfloat16"
    calls = training_calls(config, SPEC, ())
    assert list(calls) == ["attnjax forward", "attnjax backward", "attnjax step"]


def test_only_whole_steps_have_rates():
    record = with_rates({"system": "torch backward", "seconds": 2.0}, SPEC)
    assert record == {"system": "torch", "part": "backward", "seconds": 2.0}


@pytest.mark.parametrize("model", ["rnnsearch", "transformer"])
def test_the_step_of_pytorch_runs(capsys, model):
    pytest.importorskip("torch", reason=NO_TORCH)
    main(["train", *SMOKE, "--model", model, "--systems", "torch"])
    printed = capsys.readouterr().out
    assert "torch" in printed
    assert "not installed" not in printed


@pytest.mark.parametrize("pre_norm", [True, False])
def test_the_transformer_of_pytorch_has_the_same_loss_and_gradient(pre_norm):
    """The gradient of the shared embedding depends on every other layer."""
    pytest.importorskip("torch", reason=NO_TORCH)
    from experiments.bench.peers.torch_training import module_steps, torch_model

    config = build_config(CONFIGS["transformer"], "float32", smoke=True)
    block = dataclasses.replace(config.model.block, dropout=0.0, pre_norm=pre_norm)
    model = dataclasses.replace(config.model, block=block)
    config = dataclasses.replace(config, model=model)
    host = random_batch(SPEC, model.target_vocab_size)
    loss, gradients = jax_steps(config, Batch(*map(jnp.asarray, host)))["backward"]()
    module = torch_model(model)
    torch_loss = module_steps(module, config, *host)["backward"]()
    np.testing.assert_allclose(torch_loss.detach().cpu().numpy(), loss, rtol=1e-5)
    # PyTorch's gradient is that of the mean loss, ours that of the sum.
    gradient = module.table.grad.cpu().numpy() * (host.target != 0).sum()
    want = gradients["target_embedding"]
    np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-5)


def test_a_compile_call_compiles_the_step_anew():
    config = build_config(CONFIGS["fixed-vector"], "float32", smoke=True)
    compiled = compiling.compile_call(config, SPEC)()
    assert "while" in compiled.as_text()  # the scan over time


def test_the_persistent_cache_is_disabled_only_while_timing():
    cached = jax.config.jax_enable_compilation_cache
    with compiling.no_persistent_cache():
        assert not jax.config.jax_enable_compilation_cache
    assert jax.config.jax_enable_compilation_cache == cached


def test_compile_times_a_stack_of_every_depth(monkeypatch, tmp_path):
    depths = []

    def compile_call(config, spec):
        model = config.model
        depths.append((model.encoder_layers, model.decoder_layers))
        return lambda: None

    monkeypatch.setattr(compiling, "compile_call", compile_call)
    out = tmp_path / "timings.json"
    main(["compile", *SMOKE, "--layers", "4", "24", "--out", str(out)])
    assert depths == [(4, 4), (24, 24)]
    found = [(r["system"], r["layers"], len(r["wall"])) for r in records_in(out)]
    assert found == [("attnjax", 4, 1), ("attnjax", 24, 1)]


def test_the_compile_table_gives_the_ratio_to_the_first_depth(capsys):
    record = {"dtype": "float32", "layers": 4, "seconds": 2.0}
    tables.compile_table([record, record | {"layers": 24, "seconds": 3.0}])
    row = capsys.readouterr().out.splitlines()[-2]
    for word in ("24+24", "3.0", "1.50"):
        assert word in row


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
def test_invalid_options_exit_with_code_2(arguments, message, capsys, no_peers):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--smoke"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
