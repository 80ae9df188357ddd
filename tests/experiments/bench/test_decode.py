"""CTranslate2 decodes with attnjax's parameters, and beam search is timed beside it."""

import dataclasses
import json
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import beam_search
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from experiments.bench import systems
from experiments.bench.commands import main
from experiments.bench.decode_task import SUPPRESS, source_lengths
from experiments.bench.shapes import MULTI30K_BATCHES
from experiments.bench.transformer_configs import TINY, build, set_vocab_size
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD
from experiments.errors import UserError
from experiments.translate import loading
from tests.experiments.commands import finish, launch

DECODE = ["decode", "--smoke", "--repeats", "1"]
NO_CTRANSLATE2 = "ctranslate2 is not installed"
K, LENGTH = 5, 7  # beam size, and length of hypotheses with EOS


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(systems, "find_spec", lambda package: None)


def noisy_model(*, pre_norm):
    """A model with noise in all parameters, none of them 0 or 1; EOS is suppressed."""
    config = set_vocab_size(TINY, smoke=True, output_bias=True)
    block = dataclasses.replace(TINY.block, pre_norm=pre_norm)
    config = dataclasses.replace(config, block=block)
    rebuild, params = build(config)
    rng = np.random.default_rng(2)
    params = jax.tree.map(
        lambda x: x + rng.normal(0, 0.3, x.shape).astype(np.float32), params
    )
    specials = jnp.array([PAD, BOS, EOS])
    params["b_output"] = params["b_output"].at[specials].set(SUPPRESS)
    return config, rebuild(params), params


def sources():
    rng = np.random.default_rng(3)
    return [[*rng.integers(4, 23, n).tolist(), EOS] for n in (2, 11, 5, 7, 3)]


def our_hypotheses(model, source):
    mask = source != PAD
    memory = model.encode(source, mask)
    found = beam_search(
        partial(model.step, memory),
        model.start(memory, LENGTH),
        batch_size=source.shape[0],
        beam_size=K,
        max_length=LENGTH,
        bos=BOS,
        eos=EOS,
        pad=PAD,
    )
    return found.tokens[:, :, :-1]


@pytest.mark.parametrize("pre_norm", [True, False])
def test_ctranslate2_finds_the_same_hypotheses(pre_norm):
    """All K of each sentence, with the log-probabilities of attnjax's model."""
    pytest.importorskip("ctranslate2", reason=NO_CTRANSLATE2)
    from experiments.bench.peers import ctranslate

    config, model, params = noisy_model(pre_norm=pre_norm)
    found = ctranslate.translator(config, params, "float32", 1).translate_batch(
        [ctranslate.tokens(ids) for ids in sources()],
        beam_size=K,
        num_hypotheses=K,
        length_penalty=0,
        return_scores=True,
        max_decoding_length=LENGTH - 1,
    )
    longest = max(map(len, sources()))
    source = jnp.array([ids + [PAD] * (longest - len(ids)) for ids in sources()])
    ours = jax.jit(partial(our_hypotheses, model))(source)
    theirs = np.array([[*map(ctranslate.ids_of, one.hypotheses)] for one in found])
    for a, b in zip(ours.tolist(), theirs.tolist(), strict=True):
        assert sorted(a) == sorted(b)
    flat = jnp.array(theirs).reshape(-1, LENGTH - 1)  # [B, K, T] -> [B*K, T]
    previous = jnp.pad(flat, ((0, 0), (1, 0)), constant_values=BOS)[:, :-1]
    rows = jnp.repeat(source, K, axis=0)
    logits, _ = jax.jit(model.__call__)(rows, rows != PAD, previous)
    gains = jnp.take_along_axis(jax.nn.log_softmax(logits), flat[..., None], axis=-1)
    scores = np.array([one.scores for one in found]).reshape(-1)
    np.testing.assert_allclose(gains.sum(axis=(1, 2)), scores, rtol=1e-4)


def test_decode_times_every_system(tmp_path, capsys):
    pytest.importorskip("ctranslate2", reason=NO_CTRANSLATE2)
    out = tmp_path / "timings.json"
    main([*DECODE, "--rows", "4", "--out", str(out)])
    printed = capsys.readouterr().out
    for word in ("sentences/s", "ctranslate2-int8", "7 sentences"):
        assert word in printed
    records = json.loads(out.read_text())["records"]
    assert [r["dtype"] for r in records] == ["float32", "float32", "int8"]
    for r in records:
        assert r["sentences_per_second"] == 7 / r["seconds"]


def test_decode_times_attnjax_alone(capsys, no_peers):
    main(DECODE)
    printed = capsys.readouterr().out
    for word in ("not installed: ctranslate2", "attnjax", "7 sentences"):
        assert word in printed


@pytest.fixture(scope="module")
def transformer_run(tmp_path_factory, data_dir, cache):
    """The folder of a Transformer trained on a few lines of words."""
    folder = tmp_path_factory.mktemp("transformer")
    texts = [folder / "a.x", folder / "a.y"]
    lines = [" ".join("abcdefgh"[i % n] for i in range(n)) for n in range(1, 9)]
    for text in texts:
        text.write_text("\n".join(8 * lines) + "\n", encoding="utf-8")
    training = launch(
        *("train", "wmt14-transformer-base", "--out", folder / "run"),
        *("--data.data-dir", data_dir, "--data.train", *texts),
        *("--data.validation", *texts, "--data.test", *texts),
        *("--tokenizer.kind", "words", "--model.block.d-model", 12),
        *("--model.encoder-layers", 2, "--model.decoder-layers", 1),
        *("--model.block.num-heads", 2, "--model.block.d-ff", 14),
        *("--batch-tokens", 96, "--num-buckets", 1, "--max-length", 20),
        *("--steps", 2, "--eval-every", 2, "--save-every", 1),
        cache=cache,
    )
    ((code, err),) = finish(training)
    assert code == 0, err
    return folder / "run"


def test_the_test_set_of_a_run_is_translated(transformer_run, tmp_path):
    out = tmp_path / "timings.json"
    arguments = ["--run", str(transformer_run), "--checkpoint", "last"]
    main([*DECODE, *arguments, "--sentences", "5", "--out", str(out)])
    records = json.loads(out.read_text())["records"]
    for r in records:
        assert (r["model"], r["sentences"]) == ("run test", 5)
        assert 0 <= r["same"] <= 1
    assert (records[0]["system"], records[0]["same"]) == ("attnjax", 1)


def test_a_run_of_another_model_is_an_error(tmp_path, capsys, monkeypatch):
    run = types.SimpleNamespace(
        config=types.SimpleNamespace(model=RNNSearchConfig()),
        model=types.SimpleNamespace(tokenizers=None),
    )
    monkeypatch.setattr(loading, "load_run", lambda folder, checkpoint: run)
    with pytest.raises(SystemExit) as stopped:
        main([*DECODE, "--run", str(tmp_path)])
    assert stopped.value.code == 2
    message = "error: --run: expected a run of a Transformer, got one of a RNNSearch ("
    assert message in capsys.readouterr().err


def test_source_lengths_have_the_mean_and_maximum_of_the_data():
    lengths = source_lengths(MULTI30K_BATCHES, 1_000)
    rows = sum(spec.B * spec.batches for spec in MULTI30K_BATCHES)
    tokens = sum(spec.source_tokens * spec.batches for spec in MULTI30K_BATCHES)
    assert len(lengths) == 1_000
    assert lengths.max() <= 53
    assert lengths.mean() == pytest.approx(tokens / rows, abs=0.1)


def test_a_model_that_ctranslate2_lacks_is_an_error():
    pytest.importorskip("ctranslate2", reason=NO_CTRANSLATE2)
    from experiments.bench.peers.ctranslate import check_convertible

    block = dataclasses.replace(TINY.block, position_embedding="rope")
    with pytest.raises(UserError) as error:
        check_convertible(TransformerConfig(block=block))
    assert str(error.value) == (
        "block.position_embedding: expected one of sinusoidal, got rope (the "
        "benchmark converts no other models to CTranslate2; leave it out with "
        "--systems attnjax)"
    )


@pytest.mark.parametrize("name", ["sentences", "rows", "beam-size"])
def test_counts_below_1_exit_with_code_2(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*DECODE, f"--{name}", "0"])
    assert stopped.value.code == 2
    message = f"error: --{name}: expected at least 1, got 0"
    assert message in capsys.readouterr().err


def test_a_beam_larger_than_the_vocabulary_exits_with_code_2(capsys, no_peers):
    with pytest.raises(SystemExit) as stopped:
        main([*DECODE, "--beam-size", "24"])
    assert stopped.value.code == 2
    message = "error: beam_size: expected at most 23 (the target vocabulary), got 24"
    assert message in capsys.readouterr().err
