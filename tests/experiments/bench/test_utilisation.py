"""FLOPs of a step, counted and by hand; no test asserts a speed."""

import json
import types

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.bench import systems
from experiments.bench.cases import utilisation
from experiments.bench.commands import main
from experiments.bench.flops import matmul_flops
from experiments.bench.shapes import BatchSpec

SMOKE = ["utilisation", "--smoke", "--repeats", "1"]
OPTIONS = types.SimpleNamespace(smoke=True, rows=None)
SQUARE = jnp.ones((5, 5))
MATMUL = 2 * 5**3


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(systems, "find_spec", lambda package: None)


def looped(x):
    return lax.scan(lambda x, _: (x @ SQUARE, None), x, length=7)[0]


FUNCTIONS = {
    "a matmul": (lambda x: x @ x, MATMUL),
    "no matmul": (lambda x: (x * x).sum(), 0),
    "a batch of dots": (lambda x: jax.vmap(jnp.dot)(x, x), 2 * 5 * 5),
    "two contracted axes": (lambda x: jnp.tensordot(x, x, 2), 2 * 5 * 5),
    "a scan": (looped, 7 * MATMUL),
    "a scan of scans": (
        lambda x: lax.scan(lambda x, _: (looped(x), None), x, length=3)[0],
        21 * MATMUL,
    ),
    "a loop of known length": (
        lambda x: lax.fori_loop(0, 3, lambda _, x: x @ x, x),
        3 * MATMUL,
    ),
    "the larger branch": (
        lambda x: lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x @ x @ x, x),
        2 * MATMUL,
    ),
    "jit and checkpoint": (jax.jit(jax.checkpoint(lambda x: x @ x)), MATMUL),
    "a custom derivative": (jax.nn.relu, 0),
}


@pytest.mark.parametrize(("function", "flops"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_matmul_counts_as_often_as_it_runs(function, flops):
    assert matmul_flops(function, SQUARE) == flops


def test_a_matmul_in_a_loop_of_unknown_length_is_an_error():
    def function(x):
        return lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)

    with pytest.raises(
        ValueError, match="got a while_loop with a matrix product in it"
    ):
        matmul_flops(function, SQUARE)
    harmless = lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: 2 * x, x)  # noqa: E731
    assert matmul_flops(harmless, SQUARE) == 0


def attention(B, T, S, M):
    """FLOPs of scores and contexts of all heads."""
    return 2 * 2 * B * T * S * M


def test_the_flops_of_a_gpt_follow_from_its_shapes():
    config = utilisation.gpt_config(OPTIONS, "float32")
    B, T, M, F, L, V = 6, 11, 12, 17, 2, 23
    matrices = L * (4 * M * M + 2 * M * F) + M * V
    forward = 2 * B * T * matrices + L * attention(B, T, T, M)
    assert utilisation.gpt_flops(config) == 3 * forward


def test_the_flops_of_a_transformer_follow_from_its_shapes():
    config = utilisation.transformer_config(OPTIONS, "float32")
    B, S, T, M, F, V = 5, 7, 11, 12, 14, 23
    spec = BatchSpec(B, S, T, batches=1, source_tokens=B * S, target_tokens=B * T)
    encoder = 2 * B * S * (4 * M * M + 2 * M * F) + attention(B, S, S, M)
    self_attention = 2 * B * T * 4 * M * M + attention(B, T, T, M)
    cross_attention = 2 * B * (T + S) * 2 * M * M + attention(B, T, S, M)
    decoder = self_attention + cross_attention + 2 * B * T * 2 * M * F
    forward = 2 * encoder + 3 * decoder + 2 * B * T * M * V
    assert utilisation.transformer_flops(config, spec) == 3 * forward


def test_batches_have_the_published_sizes():
    options = types.SimpleNamespace(smoke=False, rows=None)
    gpt = utilisation.gpt_config(options, "bfloat16")
    assert gpt.batch_size * gpt.model.max_length == 491_520
    big = utilisation.transformer_config(options, "bfloat16")
    assert (big.batch_tokens, big.model.block.d_model) == (25_000, 1_024)
    fewer = types.SimpleNamespace(smoke=False, rows=7)
    gpt = utilisation.gpt_config(fewer, "bfloat16")
    assert (gpt.batch_size, gpt.accumulation_steps) == (7, 1)


def test_utilisation_is_the_ratio_of_model_and_matmul_flops(tmp_path, capsys, no_peers):
    out = tmp_path / "timings.json"
    options = ["--models", "gpt2-124m", "--dtypes", "float32", "--rows", "3"]
    main([*SMOKE, *options, "--out", str(out)])
    printed = capsys.readouterr().out
    for word in ("gpt2-124m", "tokens/s", "utilisation"):
        assert word in printed
    (record,) = json.loads(out.read_text())["records"]
    assert record["system"] == "attnjax"
    assert record["shape"]["B"] == 3
    assert record["tokens_per_second"] == 3 * record["shape"]["T"] / record["seconds"]
    matmul = record["matmul_flops_per_second"]
    assert record["utilisation"] == record["flops_per_second"] / matmul


def test_the_big_transformer_has_a_step(no_peers):
    """It is built, not compiled: the tests of training do that."""
    options = types.SimpleNamespace(smoke=True, rows=3, systems=())
    step = utilisation.transformer_step(options, "bfloat16")
    assert list(step.calls) == ["attnjax"]
    assert step.shape == {"B": 3, "S": 7, "T": 7, "V": 23}
    assert step.tokens == 3 * 7


def test_pytorch_is_credited_with_the_same_flops(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    out = tmp_path / "timings.json"
    main([*SMOKE, "--systems", "attnjax", "torch", "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    assert [r["system"] for r in records] == 2 * ["attnjax", "torch"]
    assert {r["dtype"] for r in records} == {"bfloat16"}
    for pair in (records[:2], records[2:]):
        ours, peer = (r["flops_per_second"] * r["seconds"] for r in pair)
        assert ours == pytest.approx(peer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "error: --rows: expected at least 1, got 0"),
        (["--matmul-size", "0"], "error: --matmul-size: expected at least 1, got 0"),
        (["--systems", "torch"], "error: --systems: expected names among attnjax"),
    ],
)
def test_invalid_options_exit_with_code_2(arguments, message, capsys, no_peers):
    with pytest.raises(SystemExit) as stopped:
        main([*SMOKE, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
