"""`decode --pretrained`: a Marian folder, with its own tokenisers."""

import io
import json
import re
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from attnjax import decode as library
from attnjax import pretrained
from experiments.datasets.tokenizers.marian import (
    MarianTokenizer,
    SpecialIds,
    vocabulary_order,
)
from experiments.datasets.tokenizers.sentences import EOS, PAD, UNK
from experiments.errors import UserError
from experiments.translate.pretrained import load_pretrained
from tests.experiments.commands import run
from tests.pretrained.folders import LLAMA, MARIAN, tensors_of, write

sentencepiece = pytest.importorskip("sentencepiece")
pytest.importorskip("safetensors", reason="safetensors is not installed")
TEXT = ["the cat sat on the mat", "a hat on the cat", "the mat, and a hat"] * 3
LINES = ["the cat", "", "a mat on the hat", ">>deu<< the hat", "zebra the cat", " "]


def pieces_of(text, size):
    """A SentencePiece model, and its pieces."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=written,
        vocab_size=size,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    return written.getvalue(), [p for p in pieces if p not in ("<unk>", "<s>", "</s>")]


@pytest.fixture(scope="module")
def vocabulary():
    model, pieces = pieces_of(TEXT, 23)
    names = ["</s>", "<unk>", *pieces, ">>deu<<", "<pad>"]
    return model, {name: i for i, name in enumerate(names)}


def write_tokenizers(folder, model, vocabulary):
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(model)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


def made_tensors(settings):
    """Random tensors of a model that seldom ends a translation at once."""
    tensors = tensors_of(settings)
    tensors["final_logits_bias"][0, 0] = -2.0
    if settings.get("tie_word_embeddings", True):
        return tensors
    # Random tied tables repeat a token, others do not.
    shape = tensors["model.shared.weight"].shape
    head = np.random.default_rng(3).normal(0, 0.6, shape).astype(np.float32)
    return tensors | {"lm_head.weight": head}


@pytest.fixture
def folder(tmp_path, vocabulary):
    model, names = vocabulary
    V = len(names)
    settings = MARIAN | {
        "vocab_size": V,
        "pad_token_id": V - 1,
        "decoder_start_token_id": V - 1,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }
    folder = write(tmp_path / "marian", settings, made_tensors(settings))
    write_tokenizers(folder, model, names)
    generation = {"bad_words_ids": [[V - 1]], "num_beams": 3}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.fixture
def decode(folder, monkeypatch, capsysbinary):
    def call(text, *arguments, at=folder):
        stdin = io.TextIOWrapper(io.BytesIO("\n".join(text).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        code = run("decode", "--pretrained", at, *arguments)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return call


# --- tokenisers ---------------------------------------------------------------


def test_ids_are_those_of_the_vocabulary_file(vocabulary):
    model, names = vocabulary
    V = len(names)
    order = vocabulary_order(V, SpecialIds(pad=V - 1, start=V - 1, eos=0, unk=1))
    assert sorted(order[1:]) == list(range(V))
    tokenizer = MarianTokenizer(model, names, order)
    cutter = sentencepiece.SentencePieceProcessor(model_proto=model)
    for line in TEXT[:3]:
        ids = tokenizer.tokenize(line)
        theirs = [names[piece] for piece in cutter.encode(line, out_type=str)]
        assert [order[i] for i in ids] == theirs
        assert tokenizer.detokenize([*ids, EOS, UNK, PAD]) == line
        assert len(tokenizer.words(ids)) == len(line.split())
    assert order[tokenizer.tokenize(">>deu<< the cat")[0]] == names[">>deu<<"]
    assert UNK in tokenizer.tokenize("zzz")
    assert "⁇" in tokenizer.detokenize(tokenizer.tokenize("the zzz"))


def test_special_ids_must_differ():
    with pytest.raises(UserError, match="special tokens: expected different ids"):
        vocabulary_order(5, SpecialIds(pad=1, start=1, eos=1, unk=2))
    with pytest.raises(UserError, match="pad: expected an id below 5"):
        vocabulary_order(5, SpecialIds(pad=5, start=1, eos=1, unk=2))
    order = vocabulary_order(5, SpecialIds(pad=1, start=4, eos=3, unk=2))
    assert order == [1, 4, 3, 2, 0]


# --- search -------------------------------------------------------------------


TABLES = {
    "one": {"tie_word_embeddings": True},
    "output apart": {},
    "all apart": {"share_encoder_decoder_embeddings": False},
}


@pytest.mark.parametrize("tables", TABLES)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_translations_are_those_of_the_model_with_its_own_ids(
    beam_size, tables, folder, vocabulary
):
    """The order of the vocabulary and the start token change no number."""
    _, names = vocabulary
    settings = json.loads((folder / "config.json").read_text()) | TABLES[tables]
    tensors = made_tensors(settings)
    if tables == "all apart":
        table = tensors.pop("model.shared.weight")
        sides = {"encoder": table, "decoder": table[::-1].copy()}
        tensors |= {f"model.{s}.embed_tokens.weight": x for s, x in sides.items()}
    write(folder, settings, tensors)
    loaded = load_pretrained(folder)
    translator = loaded.build_translator(beam_size=beam_size, length_penalty=0.0)
    found = translator.translate(loaded.params, ["the cat"], n_best=1)[0][0]
    model, pad = pretrained.load_model(folder), len(names) - 1
    order = vocabulary_order(len(names), SpecialIds(pad, pad, 0, 1))
    source = jnp.array([[order[i] for i in found.source_ids]])
    memory = model.encode(source, source != pad)
    want = library.beam_search(
        lambda carry, token: model.step(memory, carry, token),
        model.start(memory, 99),
        batch_size=1,
        beam_size=beam_size,
        max_length=2 * source.shape[1] + 10,
        bos=pad,
        eos=0,
        pad=pad,
    )
    length = int(want.lengths[0, 0])
    assert length > 3
    assert [order[i] for i in found.ids] == want.tokens[0, 0, : length - 1].tolist()
    assert found.log_prob == pytest.approx(float(want.log_probs[0, 0]), rel=1e-4)


def test_every_line_in_gives_a_line_out(decode, tmp_path):
    links, plot = tmp_path / "links", tmp_path / "plot"
    code, out, err = decode(LINES, "--alignments", links, "--n-best", 1)
    assert code == 0, err
    lines = out.split("\n")[:-1]
    assert len(lines) == len(LINES)
    assert (lines[1], lines[5]) == ("", "")
    assert any(lines)
    assert len(links.read_text().splitlines()) == len(LINES)
    code, out, err = decode(LINES[:1], "--n-best", 2, "--suppress-unk", "--plot", plot)
    assert code == 0, err
    assert len(out.splitlines()) == 2


def test_settings_of_generation_are_the_defaults(folder):
    loaded = load_pretrained(folder)
    assert loaded.search.beam_size == 3
    assert loaded.max_source_length == 63


# --- errors -------------------------------------------------------------------

ARGUMENTS = {
    "both": (["runs/x"], "run: expected the folder of a run, or --pretrained"),
    "ensemble": (["--ensemble", "runs/x"], "ensemble: expected none with --pretrained"),
    "beam": (["--beam-size", "0"], "beam_size: expected at least 1, got 0"),
    "long": (["--max-source-length", "2"], "line 1: expected at most 2 tokens"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_invalid_arguments_are_one_line(name, decode):
    arguments, message = ARGUMENTS[name]
    code, out, err = decode(LINES, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")


@pytest.mark.parametrize(
    "setting", [{"forced_bos_token_id": 4}, {"repetition_penalty": 1.2}]
)
def test_settings_of_generation_that_are_not_supported_are_named(setting, folder):
    (name,) = setting
    (folder / "generation_config.json").write_text(json.dumps(setting))
    with pytest.raises(UserError, match=rf"^{name}: expected .* \(it is not supported"):
        load_pretrained(folder)


FILES = {
    "source.spm": (None, r"pretrained: expected source.spm, target.spm, vocab.json in"),
    "target.spm": (b"nonsense", r".*target.spm: expected a tokeniser, got 8 bytes"),
    "vocab.json": (b"{}", r".*vocab.json: expected the token <unk>, found none"),
    "config.json": (
        json.dumps(LLAMA).encode(),
        "pretrained: expected a translation model of type marian, got llama",
    ),
    "generation_config.json": (
        json.dumps({"bad_words_ids": [[4, 5]]}).encode(),
        r"bad_words_ids: expected that of padding alone, \[\[\d+\]\], got \[\[4, 5\]\]",
    ),
    "model.safetensors": (None, "pretrained: .*no model.safetensors in it"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_something_is_one_line(name, folder, decode):
    content, message = FILES[name]
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    code, out, err = decode(LINES)
    assert (code, out) == (2, "")
    assert re.match(f"error: {message}", err.splitlines()[-1])


# --- transformers -------------------------------------------------------------


def names_by_id(names):
    return {i: name for name, i in names.items()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("beams", "renormalize"), [(1, False), (4, False), (4, True)])
def test_translations_are_those_of_transformers(
    beams, renormalize, tmp_path, vocabulary
):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", minversion="5")
    model, names = vocabulary
    V = len(names)
    config = transformers.MarianConfig(
        vocab_size=V,
        d_model=24,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=36,
        decoder_ffn_dim=36,
        max_position_embeddings=64,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=V - 1,
        eos_token_id=0,
        decoder_start_token_id=V - 1,
        tie_word_embeddings=False,  # random tied tables repeat a token
    )
    torch.manual_seed(0)
    theirs = transformers.MarianMTModel(config)
    for parameter in theirs.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    theirs.final_logits_bias[0, 0] = -3.0  # or the best is an empty translation
    theirs.final_logits_bias[0, V - 1] = 2.0  # padding is likely, and not allowed
    theirs.generation_config.renormalize_logits = renormalize
    theirs.eval().save_pretrained(tmp_path)
    write_tokenizers(tmp_path, model, names)
    tokenizer = transformers.MarianTokenizer.from_pretrained(tmp_path)
    loaded = load_pretrained(tmp_path)
    translator = loaded.build_translator(beam_size=beams, length_penalty=0.0)
    order = vocabulary_order(V, SpecialIds(pad=V - 1, start=V - 1, eos=0, unk=1))
    lines = [line for line in LINES if line.strip()]
    ours = translator.translate(loaded.params, lines)
    lengths = set()
    for line, (best, *_) in zip(lines, ours, strict=True):
        inputs = tokenizer([line], return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == [order[i] for i in best.source_ids]
        found = theirs.generate(
            **inputs,
            num_beams=beams,
            length_penalty=0.0,
            do_sample=False,
            max_new_tokens=2 * inputs["input_ids"].shape[1] + 10,
            bad_words_ids=[[V - 1]],
            forced_eos_token_id=0,
            renormalize_logits=renormalize,
        )
        want = found[0].tolist()
        assert [V - 1, *(order[i] for i in best.ids), 0] == want
        lengths.add(len(want))
        words = [names_by_id(names)[i] for i in want[1:-1]]
        assert best.text == " ".join(tokenizer.spm_target.decode(words).split())
        with torch.no_grad():
            logits = theirs(**inputs, decoder_input_ids=found[:, :-1]).logits
        if renormalize:
            logits[..., V - 1] = -torch.inf
        gains = logits.log_softmax(-1)[0].gather(1, found[0, 1:, None])
        assert best.log_prob == pytest.approx(float(gains.sum()), rel=1e-4)
    assert len(lengths) > 1


@pytest.mark.parametrize("option", ["--plot", "--alignments", "--replace-unk"])
def test_words_that_normalisation_splits_are_named(option, decode, tmp_path):
    lines = ["a mat", "the cat\u00b4s hat"]  # NFKC: a blank, and a combining accent
    value = [] if option == "--replace-unk" else [tmp_path / "made"]
    code, out, err = decode(lines, option, *value)
    assert (code, out) == (2, "")
    assert "line 2: expected 3 words in the source, got 4 from the tokeniser" in err
    assert not (tmp_path / "made").exists()
    code, out, err = decode(lines)
    assert code == 0, err
