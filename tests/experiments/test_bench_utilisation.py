"""How much arithmetic a step is, by hand and as counted; no speed is asserted."""

import json
import types

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from experiments.bench import trials
from experiments.bench.cases import utilisation
from experiments.bench.commands import main
from experiments.bench.flops import product_flops

TINY = ["utilisation", "--tiny", "--repeats", "2"]
OPTIONS = types.SimpleNamespace(tiny=True, rows=None, systems=("attnjax",))
SQUARE = jnp.ones((5, 5))
PRODUCT = 2 * 5**3


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setattr(trials, "installed", lambda package: False)


def looped(x):
    return lax.scan(lambda x, _: (x @ SQUARE, None), x, length=7)[0]


FUNCTIONS = {
    "a product": (lambda x: x @ x, PRODUCT),
    "no product": (lambda x: (x * x).sum(), 0),
    "of a batch": (lambda x: jax.vmap(jnp.dot)(x, x), 2 * 5 * 5),
    "several axes": (lambda x: jnp.tensordot(x, x, 2), 2 * 5 * 5),
    "a scan": (looped, 7 * PRODUCT),
    "a scan of scans": (
        lambda x: lax.scan(lambda x, _: (looped(x), None), x, length=3)[0],
        21 * PRODUCT,
    ),
    "a loop of known length": (
        lambda x: lax.fori_loop(0, 3, lambda _, x: x @ x, x),
        3 * PRODUCT,
    ),
    "the larger branch": (
        lambda x: lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x @ x @ x, x),
        2 * PRODUCT,
    ),
    "inner programs": (jax.jit(jax.checkpoint(lambda x: x @ x)), PRODUCT),
    "its own derivative": (jax.nn.relu, 0),
}


@pytest.mark.parametrize(("function", "flops"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_product_counts_as_often_as_it_runs(function, flops):
    assert product_flops(function, SQUARE) == flops


def test_a_product_in_a_loop_of_unknown_length_is_told():
    def function(x):
        return lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="got a while_loop with a product in it"):
        product_flops(function, SQUARE)
    harmless = lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: 2 * x, x)  # noqa: E731
    assert product_flops(harmless, SQUARE) == 0


def attention(B, T, S, M):
    """Scores and contexts of all heads, of every query and every key."""
    return 2 * 2 * B * T * S * M


def test_gpts_arithmetic_is_what_its_shapes_imply(without_torch):
    work = utilisation.gpt_work(OPTIONS, "float32")
    B, T, M, F, L, V = 6, 11, 12, 17, 2, 23
    assert work.shape == {"B": B, "T": T, "V": V}
    assert work.tokens == B * T
    weights = L * (4 * M * M + 2 * M * F) + M * V
    forward = 2 * B * T * weights + L * attention(B, T, T, M)
    assert work.flops == 3 * forward


def test_the_transformers_arithmetic_is_what_its_shapes_imply(without_torch):
    work = utilisation.transformer_work(OPTIONS, "float32")
    B, S, T, M, F, V = work.shape["B"], 7, 7, 12, 14, 23
    assert work.tokens == B * T
    encoder = 2 * B * S * (4 * M * M + 2 * M * F) + attention(B, S, S, M)
    own = 2 * B * T * 4 * M * M + attention(B, T, T, M)
    reading = 2 * B * (T + S) * 2 * M * M + attention(B, T, S, M)
    decoder = own + reading + 2 * B * T * 2 * M * F
    assert work.flops == 3 * (2 * encoder + 3 * decoder + 2 * B * T * M * V)


def test_published_sizes_are_published():
    options = types.SimpleNamespace(tiny=False, rows=None)
    gpt = utilisation._gpt_config(options, "bfloat16")
    assert gpt.batch_size * gpt.model.max_length == 491_520
    big = utilisation._transformer_config(options, "bfloat16")
    assert (big.batch_tokens, big.model.block.d_model) == (25_000, 1_024)
    fewer = types.SimpleNamespace(tiny=False, rows=7)
    gpt = utilisation._gpt_config(fewer, "bfloat16")
    assert (gpt.batch_size, gpt.accumulation_steps) == (7, 1)


def test_a_share_of_the_products_rate_is_written(tmp_path, capsys, without_torch):
    out = tmp_path / "figures.json"
    main([*TINY, "--dtypes", "float32", "--rows", "3", "--out", str(out)])
    printed = capsys.readouterr().out
    for word in ("gpt2-124m", "wmt14-transformer-big", "tokens/s", "share"):
        assert word in printed
    records = json.loads(out.read_text())["records"]
    assert [r["system"] for r in records] == ["attnjax", "attnjax"]
    for r in records:
        assert r["shape"]["B"] == 3
        assert r["tokens_per_second"] == 3 * r["shape"]["T"] / r["seconds"]
        assert r["utilisation"] * r["matmul_flops_per_second"] == pytest.approx(
            r["flops_per_second"]
        )


def test_pytorch_does_the_same_work(tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "figures.json"
    main([*TINY, "--systems", "attnjax", "torch", "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    assert [r["system"] for r in records] == 2 * ["attnjax", "torch"]
    assert {r["dtype"] for r in records} == {"bfloat16"}
    for ours, theirs in (records[:2], records[2:]):
        work = [r["flops_per_second"] * r["seconds"] for r in (ours, theirs)]
        assert work[0] == pytest.approx(work[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "0"], "error: --rows: expected at least 1, got 0"),
        (["--matmul-size", "0"], "error: --matmul-size: expected at least 1, got 0"),
        (["--systems", "torch"], "error: --systems: expected names among attnjax"),
    ],
)
def test_mistakes_are_told_with_code_2(arguments, message, capsys, without_torch):
    with pytest.raises(SystemExit) as stopped:
        main([*TINY, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
