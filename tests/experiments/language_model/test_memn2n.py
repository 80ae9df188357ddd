"""A memory network as a language model: trained, evaluated and sampled from."""

import itertools
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.parallel import make_mesh
from experiments.language_model.loading import load_run
from experiments.language_model.sampling import Sampler
from tests.experiments import commands

run = partial(commands.run, program="language_model")
LINES = {"train": "the cat saw the N dogs\n" * 9, "valid": "the dogs saw <unk>\n" * 4}
SIZES = (
    *("--model.embed-dim", 6, "--model.num-hops", 2, "--model.memory-size", 4),
    *("--model.max-length", 7, "--context-tokens", 3, "--batch-size", 2),
    *("--steps", 2, "--eval-every", 2, "--optimizer.warmup-steps", 0),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("memn2n")
    for name, text in (LINES | {"test": LINES["valid"]}).items():
        (folder / f"ptb.{name}.txt").write_text(text)
    data = ("--data.raw-dir", folder, "--data.data-dir", data_dir)
    out = folder / "run"
    assert run("train", "ptb-memn2n", "--out", out, *data, *SIZES) == 0
    return out


def test_a_text_is_evaluated_as_it_is_read_word_by_word(trained):
    assert run("evaluate", trained) == 0
    record = json.loads((trained / "evaluation.json").read_text())
    loaded = load_run(trained, mesh=make_mesh(1))
    tokenizer, model = loaded.model.tokenizer, loaded.model.rebuild(loaded.params)
    ids = [tokenizer.newline, *tokenizer.tokenize(LINES["valid"])]
    carry, nats = model.start(1), []
    for token, target in itertools.pairwise(ids):
        carry, logits, _ = model.step(carry, jnp.array([token]))
        row = np.asarray(logits[0], np.float64)
        nats.append(np.log(np.exp(row).sum()) - row[target])
    assert record["texts"]["test"]["tokens"] == len(nats) == 4 * 5
    np.testing.assert_allclose(
        record["texts"]["test"]["loss"], np.mean(nats), rtol=1e-5
    )


def test_samples_go_on_beyond_a_window_and_prompts_may_be_longer(trained):
    loaded = load_run(trained, mesh=make_mesh(1))
    sampler = Sampler(loaded.model, loaded.params, top_k=1)
    prompt = sampler.tokenize_prompt("the cat saw the N dogs the cat saw the dogs")
    assert len(prompt) > sampler.max_length
    tokens = sampler.tokens(jax.random.key(0), prompt)
    found = [next(tokens) for _ in range(12)]
    # Greedily, from the last four words alone.
    model, context = loaded.model.rebuild(loaded.params), list(prompt)
    for token in found:
        logits, _ = model(jnp.array([context[-4:]]))
        row = np.asarray(logits[0, -1]).copy()
        row[list(loaded.model.tokenizer.unused)] = -np.inf
        assert token == row.argmax()
        context.append(token)
