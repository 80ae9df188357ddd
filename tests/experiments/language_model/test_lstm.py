"""A deep LSTM as a language model: streams, exact resume, dynamic evaluation."""

import dataclasses
import itertools
import json
import shutil
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from attnjax.parallel import make_mesh
from attnjax.train import init_state, make_train_step
from experiments.datasets.text.streams import Segments, TokenStream
from experiments.errors import UserError
from experiments.language_model.configs import CONFIGS
from experiments.language_model.evaluation import make_evaluators
from experiments.language_model.loading import load_run
from experiments.language_model.model import build_model
from experiments.language_model.sampling import Sampler
from experiments.language_model.stream_evaluation import StreamEvaluator
from experiments.language_model.text_metrics import EvaluationText
from experiments.runs.folder import Run
from experiments.training.parameters import abstract_params, count_parameters
from experiments.training.weight_noise import perturb, with_complexity
from tests.experiments import commands
from tests.experiments.commands import finish, launch, record

pytestmark = pytest.mark.versions

run = partial(commands.run, program="language_model")
LINES = {"train": "the cat saw the N dogs\n" * 19, "valid": "the dogs saw <unk>\n" * 4}
SIZES = (
    *("--model.hidden-dim", 5, "--model.num-layers", 2, "--model.max-length", 7),
    *("--model.dropout", 0.2, "--model.embed-dim", 3, "--batch-size", 4),
    *("--reset-every", 3, "--steps", 8, "--eval-every", 4, "--save-every", 2),
    *("--optimizer.warmup-steps", 0, "--log-every", 1),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("ptb")
    for name, text in (LINES | {"test": LINES["valid"]}).items():
        (folder / f"ptb.{name}.txt").write_text(text)
    return "--data.raw-dir", folder, "--data.data-dir", data_dir


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """Four columns on two devices; adaptive weight noise."""
    out = tmp_path_factory.mktemp("lstm") / "run"
    how = "--weight-noise.kind", "adaptive"
    assert run("train", "ptb-char-laptop", "--out", out, *data, *SIZES, *how) == 0
    return out


@pytest.fixture(scope="module")
def loaded(trained):
    return load_run(trained, mesh=make_mesh(1))


@pytest.fixture(scope="module")
def text(loaded):
    ids = np.array(loaded.model.tokenizer.tokenize(LINES["valid"]))
    return EvaluationText(loaded.model.tokenizer, ids)


def with_length(model, length):
    config = dataclasses.replace(model.config, max_length=length)
    return model._replace(config=config)


def test_the_score_is_that_of_reading_the_text_symbol_by_symbol(loaded, text):
    """Whatever the length of a segment; each symbol is scored once."""
    tokenizer, model = loaded.model.tokenizer, loaded.model.rebuild(loaded.params)
    ids = [tokenizer.newline, *text.tokens.tolist()]
    carry, nats = model.start(1), []
    for token, target in itertools.pairwise(ids):
        carry, logits, _ = model.step(carry, jnp.array([token]))
        row = np.asarray(logits[0], np.float64)
        nats.append(np.log(np.exp(row).sum()) - row[target])
    assert len(nats) == len(LINES["valid"])
    for length, devices in ((1, 1), (5, 1), (5, 2), (1000, 1)):
        evaluate = StreamEvaluator(
            with_length(loaded.model, length), columns=1, mesh=make_mesh(devices)
        )
        found = evaluate(loaded.params, text)
        np.testing.assert_allclose(found.loss, np.mean(nats), rtol=1e-5)
        assert found.tokens == len(nats)


def test_dynamic_evaluation_scores_then_learns_and_leaves_the_parameters(loaded, text):
    """Against a loop of gradient descent over segments of seven."""
    before = jax.tree.map(np.array, loaded.params)
    make = partial(StreamEvaluator, loaded.model, columns=1, mesh=make_mesh(1))
    static = make()(loaded.params, text).loss
    still = make(dynamic_learning_rate=0.0)(loaded.params, text).loss
    np.testing.assert_allclose(still, static, rtol=1e-6)
    stream = TokenStream(text.tokens, first=text.first, columns=1, length=7)
    params, carry = loaded.params, loaded.model.start(loaded.params, 1)
    total = 0.0

    def nats(params, segment, carry):
        loss, new = loaded.model.stream_loss(params, segment, None, carry)
        return loss.total, (loss, new)

    value_and_grad = jax.jit(jax.value_and_grad(nats, has_aux=True))
    for number in range(stream.segments):
        segment = stream.segment(number)
        (value, (loss, carry)), grads = value_and_grad(params, segment, carry)
        total += float(value)
        rate = 0.5 / float(loss.num_tokens)
        params = jax.tree.map(lambda p, g, r=rate: p - r * g, params, grads)
    dynamic = make(dynamic_learning_rate=0.5)(loaded.params, text).loss
    np.testing.assert_allclose(dynamic, total / len(text.tokens), rtol=1e-5)
    assert abs(dynamic - static) > 1e-3
    chex.assert_trees_all_equal(loaded.params, before)


def test_the_command_reports_both_scores_and_their_units(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert run("evaluate", folder, "--dynamic-learning-rate", 0.1) == 0
    assert "test (dynamic)" in capsys.readouterr().out
    saved = json.loads((folder / "evaluation.json").read_text())
    assert saved["columns"] == 1
    score = saved["texts"]["test"]
    assert saved["texts"]["test (dynamic)"]["loss"] != score["loss"]
    # Four words and the end of the line, in each of four lines.
    assert (score["words"], score["characters"]) == (5 * 4, len(LINES["valid"]))
    bits = score["loss"] / np.log(2)
    np.testing.assert_allclose(score["bits_per_character"], bits)
    per_word = np.exp(score["loss"] * len(LINES["valid"]) / 20)
    np.testing.assert_allclose(score["perplexity_per_word"], per_word)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_tokens": 3}, "context_tokens: expected none, got 3"),
        ({"columns": 0}, "columns: expected at least 1, got 0"),
        (
            {"columns": 2, "dynamic_learning_rate": 0.1},
            "columns: expected 1 for dynamic evaluation, got 2",
        ),
        (
            {"dynamic_learning_rate": float("nan")},
            "dynamic_learning_rate: expected a number of at least 0, got nan",
        ),
    ],
)
def test_options_of_evaluation_that_do_not_fit_are_named(loaded, options, message):
    with pytest.raises(UserError, match=message):
        make_evaluators(loaded, **options)


def test_a_killed_run_resumes_with_its_state_to_the_bit(trained, data, tmp_path):
    """Killed at step 5, in the middle of the first epoch, with a state that matters."""
    out = tmp_path / "run"
    how = "--weight-noise.kind", "adaptive"
    arguments = ("train", "ptb-char-laptop", "--out", out, *data, *SIZES, *how)
    killed = launch(*arguments, program="language_model", devices=2, kill_at=5)
    ((code, _),) = finish(killed)
    assert code == -9
    assert Run.open(out).checkpoints.steps()[-1] == 4
    assert run(*arguments, "--resume") == 0
    got, want = (Run.open(f).checkpoints.load_params(8) for f in (out, trained))
    chex.assert_trees_all_equal(got, want)
    assert record(out) == record(trained)


def test_the_saved_state_is_that_after_the_last_segment(loaded, trained):
    """The carry in the checkpoint is what another step begins with."""
    run_ = Run.open(trained)
    shapes = run_.checkpoints.manifest(8)["shapes"]
    carried = {n: s for n, s in shapes.items() if n.startswith("carry/")}
    assert {tuple(shape) for _, shape in carried.values()} == {(4, 5)}
    assert len(carried) == 2 * 2  # h and c of two layers


def test_training_never_recompiles_and_resets_the_state_where_it_must(loaded):
    """A step after a reset does not depend on the carry; all shapes are one."""
    # As arrays of no device in particular, like those that a step returns.
    params = jax.tree.map(jnp.asarray, jax.device_get(loaded.params))
    model = loaded.model
    tokens = np.array(model.tokenizer.tokenize(LINES["train"]))
    stream = TokenStream(tokens, first=0, columns=4, length=7, reset_every=3)
    tx = optax.sgd(0.0)

    def loss(params, batch, rng, carry):
        return model.stream_loss(params, batch, None, carry)

    zeros = model.start(params, 4)
    step = make_train_step(loss, tx)
    key = jax.random.key(0)

    def losses(carry):
        state, found = init_state(params, tx, carry=carry), []
        for number in range(1, 9):
            state, metrics = step(state, stream.segment(number), key)
            found.append(float(metrics["loss"]))
        return np.array(found), state

    got, state = losses(zeros)
    other, _ = losses(jax.tree.map(jnp.ones_like, zeros))
    assert step._cache_size() == 1
    differs = got != other
    # Segments 1 and 2 read the carry; 3 begins anew, and so does all after it.
    assert differs[:2].all()
    assert not differs[2:].any()
    assert all(x.any() for x in jax.tree.leaves(state.carry))


def test_no_gradient_flows_into_the_segment_before(loaded):
    """Two segments at rate 0 have the gradients of each by itself."""
    params = jax.tree.map(jnp.asarray, jax.device_get(loaded.params))
    model = loaded.model
    tokens = np.array(model.tokenizer.tokenize(LINES["train"]))
    stream = TokenStream(tokens, first=0, columns=2, length=7)

    def nats(params, number, carry):
        return model.stream_loss(params, stream.segment(number), None, carry)[0].total

    zeros = model.start(params, 2)
    first = jax.jit(lambda p, c: model.stream_loss(p, stream.segment(0), None, c))
    _, carry = first(params, zeros)
    want = jax.jit(jax.grad(nats), static_argnums=1)(params, 1, carry)
    tx = optax.sgd(1.0)
    step = make_train_step(lambda p, b, r, c: model.stream_loss(p, b, None, c), tx)
    state = init_state(params, tx, carry=carry)
    state, _ = step(state, stream.segment(1), jax.random.key(0))
    got = jax.tree.map(lambda a, b: (a - b) * 14, params, state.params)
    chex.assert_trees_all_close(got.mean, want.mean, rtol=1e-4, atol=1e-5)


def test_samples_go_on_beyond_a_segment_and_prompts_may_be_longer(loaded):
    sampler = Sampler(loaded.model, loaded.params, top_k=1)
    prompt = sampler.tokenize_prompt("the cat saw the N dogs")
    assert len(prompt) > sampler.max_length
    tokens = sampler.tokens(jax.random.key(0), prompt)
    found = [next(tokens) for _ in range(12)]
    model = loaded.model.rebuild(loaded.params)
    logits, _ = model(jnp.array([[*prompt, *found[:-1]]]))
    np.testing.assert_array_equal(logits[0, len(prompt) - 1 :].argmax(-1), found)


class _Sized:
    """A tokeniser of which only the size matters."""

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size


# The size of the vocabulary, and millions of parameters.
PUBLISHED = {
    "ptb-char": (49, 4.3),
    "ptb-word": (10_000, 54.0),
    "hutter": (205, 30.5),
    "wikitext2-lstm": (33_281, 73.4),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_configs_have_the_papers_sizes(name):
    """None of their parameters is drawn; of `hutter` see the config's header."""
    vocab_size, millions = PUBLISHED[name]
    config = CONFIGS[name][1]
    _, shapes = abstract_params(lambda: build_model(config, _Sized(vocab_size)))
    assert round(count_parameters(shapes) / 1e6, 1) == millions


@pytest.mark.parametrize("noise", ["none", "adaptive"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_configs_take_a_step(name, noise):
    """At full width, of two layers, over two symbols; nothing is computed."""
    config = CONFIGS[name][1]
    layers = min(2, config.model.num_layers)
    small = dataclasses.replace(config.model, num_layers=layers, max_length=2)
    noise = dataclasses.replace(config.weight_noise, kind=noise)
    config = dataclasses.replace(config, model=small, weight_noise=noise)
    built = partial(build_model, config, _Sized(PUBLISHED[name][0]))
    model, shapes = abstract_params(built)
    tx, rows = config.optimizer.build(config.steps), config.batch_size

    def loss(params, segment, rng, carry):
        noisy, rng = perturb(noise, params, rng)
        found, carry = model.stream_loss(noisy, segment, rng, carry)
        return with_complexity(noise, found, params, num_batches=7), carry

    def start(params):
        return init_state(params, tx, carry=model.start(params, rows))

    state = jax.eval_shape(start, shapes)
    ids, resets = np.zeros((rows, 3), np.int32), np.zeros(rows, bool)
    step = make_train_step(loss, tx)
    after, _ = jax.eval_shape(step, state, Segments(ids, resets), jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch-size", 100), "train: expected a text of at least 700 tokens, got"),
        (
            ("--context-tokens", 2),
            "context_tokens: expected 0 for a model that",
        ),
        (
            ("--accumulation-steps", 2),
            "accumulation_steps: expected 1 for a model",
        ),
        (("--model.cell", "lstm"), "gradient_limit: expected None with lstm, got 1.0"),
        (("--optimizer.momentum", 0.9), "momentum: expected 0 with adam, got 0.9"),
        (("--reset-every", 0), "reset_every: expected at least 1, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_named_and_nothing_is_written(
    data, tmp_path, capsys, options, message
):
    out = tmp_path / "run"
    arguments = ("train", "ptb-char-laptop", "--out", out, *data, *SIZES, *options)
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
