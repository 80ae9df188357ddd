"""Measuring language models and letting them write, from the real command line."""

import itertools
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.decode import keep_min_p, keep_top_k, keep_top_p
from attnjax.decode import sample as draw_whole
from attnjax.parallel import make_mesh
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD
from experiments.language_model.loading import load_run
from experiments.language_model.sampling import Sampler, stream_samples
from experiments.runs.folder import Run
from tests.experiments import commands
from tests.experiments.commands import contents, finish

run = partial(commands.run, program="language_model")
CONTEXT = 11


@pytest.fixture(scope="module")
def evaluated(language_run, tmp_path_factory) -> Path:
    """A copy of the run, evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(language_run, folder)
    assert run("evaluate", folder) == 0
    return folder


@pytest.fixture(scope="module")
def loaded(language_run):
    return load_run(language_run, mesh=make_mesh(1))


@pytest.fixture(scope="module")
def pieces(pieces_run, tmp_path_factory):
    """A copy of the run of subword pieces, loaded."""
    folder = tmp_path_factory.mktemp("pieces") / "run"
    shutil.copytree(pieces_run, folder)
    return load_run(folder, mesh=make_mesh(1))


def logits_of(loaded):
    """Gives a function of ids, at most the context: their logits, without a cache.

    Ids are padded at the end, which a causal model cannot see: one program serves all.
    """
    forward = jax.jit(lambda params, ids: loaded.model.rebuild(params)(ids)[0][0])
    length = loaded.model.config.max_length

    def logits(ids):
        padded = jnp.array([[*ids, *[0] * (length - len(ids))]], jnp.int32)
        return forward(loaded.params, padded)[: len(ids)]

    return logits


def nats(loaded, text: str) -> tuple[float, int]:
    """A loop over crops, one token after the other: their nats, and how many."""
    model, tokenizer = logits_of(loaded), loaded.model.tokenizer
    ids = [tokenizer.newline, *tokenizer.tokenize(text)]
    total, count = 0.0, 0
    for start in range(0, len(ids) - 1, CONTEXT):
        crop = ids[start : start + CONTEXT]
        logits = model(crop)
        for t, target in enumerate(ids[start + 1 : start + CONTEXT + 1]):
            row = np.asarray(logits[t], np.float64)
            total += np.log(np.exp(row).sum()) - row[target]
            count += 1
    return total, count


def test_every_token_of_the_validation_text_is_counted_once(evaluated, loaded, corpus):
    text = corpus.read_text(encoding="utf-8")
    text = text[int(len(text) * 0.9) :]
    total, count = nats(loaded, text)
    record = json.loads((evaluated / "evaluation.json").read_text())
    assert list(record["texts"]) == ["validation"]
    score = record["texts"]["validation"]
    assert score["tokens"] == score["characters"] == count == len(text)
    assert count % CONTEXT  # so that the last crop is not full
    assert score["bytes"] == len(text.encode()) > len(text)
    assert score["unknown"] == 0
    np.testing.assert_allclose(score["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(
        [score["perplexity"], score["bits_per_character"], score["bits_per_byte"]],
        [
            np.exp(total / count),
            total / np.log(2) / count,
            total / np.log(2) / score["bytes"],
        ],
        rtol=1e-5,
    )


def test_the_best_checkpoints_loss_is_what_training_found(evaluated, loaded):
    record = json.loads((evaluated / "evaluation.json").read_text())
    lines = {line["step"]: line for line in Run.open(evaluated).metrics()}
    want = lines[record["step"]]["validation/loss"]
    assert want == min(lines[step]["validation/loss"] for step in (4, 8))
    np.testing.assert_allclose(record["texts"]["validation"]["loss"], want, rtol=1e-6)


def test_other_texts_can_be_measured_each_apart(
    language_run, loaded, tmp_path, data_dir, capsys
):
    folder = Path(shutil.copytree(language_run, tmp_path / "run"))
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a café\n")
    two.write_text("words of a line\n" * 5)
    chosen = ("--text", one, two, "--checkpoint", "last")
    assert run("evaluate", folder, *chosen) == 0
    texts = json.loads((folder / "evaluation.json").read_text())["texts"]
    assert list(texts) == [str(one), str(two)]
    last = load_run(language_run, "last", mesh=make_mesh(1))
    for path in (one, two):
        total, count = nats(last, path.read_text())
        np.testing.assert_allclose(texts[str(path)]["loss"], total / count, rtol=1e-5)
    out, err = capsys.readouterr()
    assert f"evaluating {two}: 80 tokens" in err
    table = [line.split() for line in out.splitlines()]
    assert table[0] == ["step", "8,", *out.splitlines()[0].split()[2:]]
    assert table[3][:4] == [str(two), "80", "0", f"{texts[str(two)]['loss']:.4f}"]


def test_bits_of_a_text_with_unknown_words_are_not_claimed(pieces, tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("a line of ζ words\n")
    assert run("evaluate", pieces.run.folder, "--text", text) == 0
    record = json.loads((pieces.run.folder / "evaluation.json").read_text())
    score = record["texts"][str(text)]
    assert score["unknown"] == 1
    assert score["loss"] > 0
    assert "bits_per_character" not in score
    assert "bits_per_byte" not in score


def likely(logits, options):
    """Logits as the public functions truncate them, in the documented order."""
    logits = logits / jnp.float32(options.get("temperature", 1.0))
    if "top_k" in options:
        logits = keep_top_k(logits, options["top_k"])
    logits = keep_top_p(logits, options.get("top_p", 1.0))
    return keep_min_p(logits, options.get("min_p", 0.0))


OPTIONS = {
    "plain": {},
    "sharp": {"temperature": 0.3},
    "truncated": {"top_k": 17, "top_p": 0.9, "min_p": 0.02, "temperature": 1.3},
    "likeliest": {"top_k": 1},
}
each_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@each_options
def test_tokens_are_those_drawn_without_a_cache(loaded, options):
    """To three times the context: when it is full, its last half is read again."""
    model, tokenizer = logits_of(loaded), loaded.model.tokenizer
    sampler = Sampler(loaded.model, loaded.params, **options)
    rng, prompt = jax.random.key(7), tokenizer.tokenize("line")
    got = list(itertools.islice(sampler.tokens(rng, prompt), 3 * CONTEXT))
    row, read, want = jax.random.fold_in(rng, 0), list(prompt), []
    for t in range(3 * CONTEXT):
        logits = likely(model(read)[-1], options)
        token = int(jax.random.categorical(jax.random.fold_in(row, t), logits))
        want.append(token)
        read.append(token)
        if len(read) > CONTEXT:
            read = read[-(CONTEXT // 2) :]
    assert got == want


@each_options
def test_tokens_are_those_of_the_librarys_sample(pieces, options):
    model, tokenizer = pieces.model.rebuild(pieces.params), pieces.model.tokenizer
    prompt = tokenizer.tokenize("line 4 of")
    sampler = Sampler(pieces.model, pieces.params, **options)
    room = 23 - len(prompt)
    cache, _ = model.prefill(model.start(1), jnp.array([prompt[:-1]], jnp.int32))

    def step(carry, token):
        return model.step(carry, jnp.where(token == BOS, prompt[-1], token))

    @jax.jit
    def whole(rng):
        sizes = {"batch_size": 1, "max_length": room + 1}
        return draw_whole(
            rng, step, cache, bos=BOS, eos=EOS, pad=PAD, **sizes, **options
        )

    lengths = []
    for rng in jax.random.split(jax.random.key(3), 5):
        drawn = whole(rng)
        lengths.append(min(int(drawn.lengths[0, 0]), room))  # the library's stop at EOS
        want = drawn.tokens[0, 0, : lengths[-1]].tolist()
        got = list(itertools.islice(sampler.tokens(rng, prompt), room))
        assert got[: lengths[-1]] == want
    assert max(lengths) > 4


@pytest.fixture
def sample(language_run, capsysbinary):
    """Runs `sample`: exit code, stdout, stderr."""

    def call(*arguments: object, folder: Path = language_run):
        capsysbinary.readouterr()
        code = run("sample", folder, *arguments)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


def test_a_sample_is_a_function_of_the_seed_and_its_number(sample):
    code, three, err = sample("--tokens", 9, "--samples", 3, "--prompt", "a café ")
    assert code == 0, err
    texts = three.split("---\n")
    assert len(texts) == len(set(texts)) == 3
    for text in texts:
        assert text.startswith("a café ")
        assert text.endswith("\n")
    assert sample("--tokens", 9, "--prompt", "a café ")[1] == texts[0]
    same = sample("--tokens", 9, "--prompt", "a café ", "--seed", 1)[1]
    assert same != texts[0]
    assert err.count("9 tokens in ") == 3


def test_without_a_prompt_a_text_begins_after_a_newline(sample, loaded):
    code, out, err = sample("--tokens", 3 * CONTEXT)
    assert code == 0, err
    sampler = Sampler(loaded.model, loaded.params)
    rng = jax.random.fold_in(jax.random.key(0), 0)
    drawn = itertools.islice(
        sampler.tokens(rng, [loaded.model.tokenizer.newline]), 3 * CONTEXT
    )
    text = loaded.model.tokenizer.detokenize(list(drawn))
    assert out == text + "\n" * (text[-1] != "\n")


def test_each_token_is_written_when_it_is_drawn(loaded):
    sampler = Sampler(loaded.model, loaded.params)
    steps, flushes = [], []
    step = sampler._step
    sampler._step = lambda *arguments: steps.append(1) or step(*arguments)

    class Sink:
        def write(self, data: bytes) -> None:
            pass

        def flush(self) -> None:
            flushes.append(len(steps))

    stream_samples(sampler, Sink(), tokens=8)
    assert flushes == [*range(8), 7]


def test_a_terminal_is_not_obeyed(loaded):
    written = []

    class Sink:
        write = staticmethod(written.append)
        flush = staticmethod(lambda: None)

    class Hostile(type(loaded.model.tokenizer)):
        def stream(self, ids):
            return ("\x1b[2J\t" for _ in ids)

    hostile = loaded.model._replace(tokenizer=Hostile("ab"))
    sampler = Sampler(loaded.model, loaded.params)
    sampler.model = hostile
    stream_samples(sampler, Sink(), tokens=1, escape_controls=True)
    assert b"".join(written) == "\ufffd[2J\t\n".encode()


def test_pieces_go_on_in_the_line_of_the_prompt(sample, pieces):
    folder = pieces.run.folder
    code, out, err = sample(
        "--tokens", 40, "--prompt", "line 4\n a  line", folder=folder
    )
    assert code == 0, err
    assert out.startswith("line 4\na line")


BAD = {
    "tokens": (("--tokens", 0), "tokens: expected at least 1, got 0"),
    "samples": (("--samples", 0), "samples: expected at least 1, got 0"),
    "seed": (("--seed", -1), "seed: expected at least 0, got -1"),
    "temperature": (
        ("--temperature", 0),
        "temperature: expected a positive number, got 0.0 (for the likeliest tokens, "
        "use --top-k 1)",
    ),
    "no number": (("--temperature", "nan"), "temperature: expected a positive number"),
    "no k": (("--top-k", 0), "top_k: expected at least 1, got 0"),
    "k": (("--top-k", 99), "top_k: expected at most 26 (the vocabulary), got 99"),
    "no p": (("--top-p", 0), "top_p: expected more than 0 and at most 1, got 0.0"),
    "p": (("--top-p", 1.5), "top_p: expected more than 0 and at most 1, got 1.5"),
    "min p": (("--min-p", 2), "min_p: expected from 0 to 1, got 2.0"),
    "character": (
        ("--prompt", "a Z"),
        "prompt: expected the 26 characters of the training data, got 'Z'",
    ),
    "long prompt": (
        ("--prompt", "a line of words"),
        "prompt: expected at most 11 tokens (the context), got 15 (shorten it)",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_settings_are_named_and_nothing_is_written(arguments, message, sample):
    code, out, err = sample(*arguments)
    assert (code, out) == (2, "")
    assert f"error: {message}" in err


def test_unknown_words_and_blanks_are_no_prompt(sample, pieces):
    folder = pieces.run.folder
    code, out, err = sample("--prompt", "a ζ line", folder=folder)
    assert (code, out) == (2, "")
    assert "prompt: expected words of the training data, got 'ζ'" in err
    code, out, err = sample("--prompt", " \t", folder=folder)
    assert (code, out) == (2, "")
    assert "prompt: expected text, got blanks only" in err


BAD_TEXTS = {
    "absent": (("--text", "absent"), "absent: expected a file, got nothing of that"),
    "empty": (("--text", "nothing"), "nothing: expected lines of text, got an empty"),
    "encoding": (("--text", "latin"), "latin: expected UTF-8, got byte 0xe9 in line 1"),
    "character": (
        ("--text", "good", "strange"),
        "strange, line 2: expected the 26 characters of the training data, "
        "got 'Z' (U+005A)",
    ),
    "raw data": (("--raw-dir", "."), "raw_dir: expected none (this run's text is no"),
}


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys()
)
def test_bad_texts_are_named_and_change_nothing(
    arguments, message, language_run, tmp_path, monkeypatch, capsys
):
    (tmp_path / "good").write_text("a line\n")
    (tmp_path / "strange").write_text("a line\nZ\n")
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    (tmp_path / "nothing").write_text("")
    monkeypatch.chdir(tmp_path)
    before = contents(language_run)
    assert run("evaluate", language_run, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error: {message}" in err
    assert contents(language_run) == before


def test_what_is_no_run_is_named(sample, tmp_path, language_run):
    code, out, err = sample(folder=tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert "nothing: expected the folder of a run, got no folder" in err
    copy = Path(shutil.copytree(language_run, tmp_path / "run"))
    (copy / "tokenizer.json").unlink()
    code, out, err = sample(folder=copy)
    assert (code, out) == (2, "")
    assert "expected the run's tokeniser" in err
    Run.create(tmp_path / "other", {"class": "Reversal", "steps": 5})
    code, out, err = sample(folder=tmp_path / "other")
    assert (code, out) == (2, "")
    assert "config: expected Config, got Reversal" in err


def test_a_reader_that_goes_away_ends_it_quietly(language_run, cache):
    process = commands.launch(
        *("sample", language_run, "--tokens", 100_000),
        program="language_model",
        cache=cache,
        stdin=subprocess.DEVNULL,
    )
    process.stdout.close()
    process.stdout = None
    ((code, err),) = finish(process)
    assert (code, err) == (141, "")
