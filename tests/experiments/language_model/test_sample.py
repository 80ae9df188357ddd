"""Sampling from the real command line, against sampling without a cache."""

import itertools
import shutil
import subprocess
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from attnjax.decode import keep_min_p, keep_top_k, keep_top_p
from attnjax.decode import sample as draw_whole
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD
from experiments.language_model.sampling import Sampler, stream_samples
from experiments.runs.folder import Run
from tests.experiments import commands
from tests.experiments.commands import finish
from tests.experiments.language_model.stepping import CONTEXT, logits_of

run = partial(commands.run, program="language_model")


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
    "bytes": (
        ("--prompt", "caf\udce9"),  # how Python shows the byte of a command line
        "prompt: expected UTF-8, got the byte 0xe9 (set the terminal to UTF-8)",
    ),
    "large seed": (("--seed", 2**63), "seed: expected at most 9223372036854775807"),
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


def test_what_is_no_run_is_named(sample, tmp_path, language_run):
    code, out, err = sample(folder=tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert "nothing: expected the folder of a run, got no folder" in err
    copy = Path(shutil.copytree(language_run, tmp_path / "run"))
    (copy / "tokenizer.json").unlink()
    code, out, err = sample(folder=copy)
    assert (code, out) == (2, "")
    assert "tokenizer.json is missing (copy it back)" in err
    shutil.rmtree(copy / "checkpoints")
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
