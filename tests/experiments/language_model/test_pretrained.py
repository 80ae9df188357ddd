"""`sample --pretrained`: a folder in Hugging Face's format, with its own tokeniser."""

import json
import re
import sys
from functools import partial

import jax
import numpy as np
import pytest

from experiments.language_model.pretrained import PretrainedTokenizer, load_sampler
from tests.experiments import commands
from tests.pretrained.folders import LLAMA, MARIAN, llama_logits, tensors_of, write

pytest.importorskip("safetensors", reason="safetensors is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
run = partial(commands.run, program="language_model")
TEXT = "the cat sat on the mat, and the hat sat on the cat"
SETTINGS = LLAMA | {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 40}


def make_tokenizer():
    """Pieces of a text, with BOS before each text, as Llama's."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=27, special_tokens=["<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return made


@pytest.fixture
def folder(tmp_path):
    folder = write(tmp_path / "model", SETTINGS, tensors_of(SETTINGS))
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def likeliest(tokenizer, prompt, tokens):
    """The likeliest continuation, without a cache; rows without a token are none."""
    ids = tokenizer.encode(prompt).ids
    tensors = tensors_of(SETTINGS)
    for _ in range(tokens):
        logits = llama_logits(tensors, ids)[-1, : tokenizer.get_vocab_size()]
        ids.append(int(np.argmax(logits)))
    return ids


def sample(folder, capsysbinary, *arguments):
    code = run("sample", "--pretrained", folder, *arguments)
    out, err = capsysbinary.readouterr()
    return code, out.decode(), err.decode()


@pytest.mark.parametrize("prompt", ["", "the cat", "sat on  the mat, and"])
def test_tokens_are_the_likeliest_of_the_folders_model(prompt, folder, capsysbinary):
    tokenizer = make_tokenizer()
    ids = likeliest(tokenizer, prompt, 9)
    assert 1 not in ids
    code, out, err = sample(
        folder, capsysbinary, "--prompt", prompt, "--tokens", 9, "--top-k", 1
    )
    assert code == 0, err
    assert out.rstrip("\n") == tokenizer.decode(ids).rstrip("\n")


def test_a_sample_ends_at_eos(folder, capsysbinary):
    tokenizer = make_tokenizer()
    prompt = "the cat"
    start = len(tokenizer.encode(prompt).ids)
    ids = likeliest(tokenizer, prompt, 9)
    end = ids[start + 4]
    first = ids.index(end, start)
    # As generation_config.json may have it: one id, or several.
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, end]})
    )
    code, out, err = sample(
        folder, capsysbinary, "--prompt", prompt, "--tokens", 9, "--top-k", 1
    )
    assert code == 0, err
    assert out.rstrip("\n") == tokenizer.decode(ids[:first])
    assert f"{first - start} tokens in" in err


def test_a_text_may_be_longer_than_the_context(folder, capsysbinary):
    values = SETTINGS | {"max_position_embeddings": 7, "eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(values))
    code, out, err = sample(folder, capsysbinary, "--tokens", 25, "--samples", 2)
    assert code == 0, err
    assert out.count("---\n") == 1


def test_the_cache_has_no_more_slots_than_the_sample_needs(folder):
    settings = SETTINGS | {"max_position_embeddings": 131_072}
    (folder / "config.json").write_text(json.dumps(settings))
    sampler = load_sampler(folder, prompt="the cat", tokens=9)
    cache = jax.eval_shape(lambda: sampler.model.start(sampler._params, 1))
    longest = len(make_tokenizer().encode("the cat").ids) + 9
    assert cache.positions.shape[1] == longest


def test_a_stream_is_the_whole_text_though_its_last_character_is_cut(folder):
    made = make_tokenizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    made.save(str(folder / "tokenizer.json"))
    tokenizer = PretrainedTokenizer(folder, {})
    ids = tokenizer.tokenize("né café 駅")
    for end in range(len(ids) + 1):
        pieces = "".join(tokenizer.stream(ids[:end]))
        assert pieces == tokenizer.detokenize(ids[:end])
    assert pieces == "né café 駅"


ERRORS = {
    "both": (
        ["runs/x"],
        "run: expected the folder of a run, or --pretrained FOLDER, got",
    ),
    "checkpoint": (
        ["--checkpoint", "last"],
        "checkpoint: expected none with --pretrain",
    ),
    "long": (["--prompt", "the cat " * 30], "prompt: expected at most 40 tokens"),
    "tokens": (["--tokens", "0"], "tokens: expected at least 1, got 0"),
    "top-k": (["--top-k", "77"], "top_k: expected at most 29"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_invalid_arguments_are_one_line(name, folder, capsysbinary):
    arguments, message = ERRORS[name]
    code, out, err = sample(folder, capsysbinary, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")


def test_neither_a_run_nor_a_folder_is_an_error(capsysbinary):
    assert run("sample") == 2
    assert b"got neither" in capsysbinary.readouterr().err


DAMAGES = {
    "folder": ("config.json", None, "pretrained: expected a folder with config.json"),
    "config": ("config.json", "{", "expected JSON, got"),
    "tokenizer": (
        "tokenizer.json",
        None,
        "pretrained: expected .*tokenizer.json, found",
    ),
    "damaged": ("tokenizer.json", "{}", "tokenizer.json: expected a tokeniser, got"),
    "tensors": ("model.safetensors", None, "pretrained: .*no model.safetensors in it"),
    "kind": (
        "config.json",
        json.dumps(MARIAN),
        "pretrained: expected a language model, got marian .*translate decode takes it",
    ),
    "unknown kind": (
        "config.json",
        json.dumps(SETTINGS | {"model_type": "bert"}),
        "pretrained: model_type: expected one of gpt2",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_folder_that_lacks_something_is_one_line(name, folder, capsysbinary):
    file, content, message = DAMAGES[name]
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    code, out, err = sample(folder, capsysbinary)
    assert (code, out) == (2, "")
    assert re.match(f"error: .*{message}", err.splitlines()[-1])


@pytest.mark.parametrize("package", ["tokenizers", "safetensors"])
def test_a_missing_package_is_named(package, folder, capsysbinary, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = sample(folder, capsysbinary)
    assert (code, out) == (2, "")
    assert package in err
    assert "pretrained]" in err


def test_greedy_text_is_that_of_transformers(tmp_path, capsysbinary):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", minversion="5")
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=29,
        hidden_size=24,
        intermediate_size=31,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = transformers.Qwen2ForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for prompt in ("the cat", "and the mat", "on"):
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        found = model.generate(
            ids,
            do_sample=False,
            max_new_tokens=20,
            pad_token_id=1,
            suppress_tokens=[27, 28],  # rows without a token
        )
        arguments = ("--prompt", prompt, "--tokens", 20, "--top-k", 1)
        code, out, err = sample(tmp_path, capsysbinary, *arguments)
        assert code == 0, err
        assert out.rstrip("\n") == tokenizer.decode(found[0].tolist())
