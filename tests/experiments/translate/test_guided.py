"""Guided alignment: batches of links, the loss against loops, training."""

import dataclasses
import io

import jax
import numpy as np
import pytest

from attnjax import BlockConfig
from attnjax.align import alignment, read_pharaoh
from attnjax.core.guidance import alignment_cross_entropy
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transformer import TransformerConfig
from attnjax.parallel import make_mesh
from experiments.cli.commands import print_status
from experiments.datasets.pairs.batching import Batch
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.pairs.guided import TokenLinks
from experiments.datasets.pairs.tokenized import TokenizedPairs
from experiments.datasets.tokenizers.sentences import PAD, SentencePiece, WordVocabulary
from experiments.errors import UserError
from experiments.training.task import TaskSetup
from experiments.translate.aligning import align_pairs, extract_weights
from experiments.translate.alignments import Extraction
from experiments.translate.config import GuidedAlignmentConfig
from experiments.translate.configs import CONFIGS
from experiments.translate.data import read_splits
from experiments.translate.decoding import _word_weights, decode_stream
from experiments.translate.loading import LoadedRun, load_run
from experiments.translate.task import TranslationTask
from tests import oracles
from tests.experiments.commands import TINY, contents, run

MODELS = {
    "rnnsearch": (
        RNNSearchConfig(
            embed_dim=6, hidden_dim=7, align_dim=5, readout_dim=3, init="glorot"
        ),
        {},
    ),
    "transformer": (
        TransformerConfig(
            encoder_layers=1,
            decoder_layers=3,
            block=BlockConfig(d_model=12, num_heads=3, d_ff=7, dropout=0.0),
            share_embeddings=False,
        ),
        {"layer": 2, "heads": (0, 2)},
    ),
}


@pytest.fixture(autouse=True)
def prepared(data_dir, monkeypatch):
    monkeypatch.setenv("ATTNJAX_DATA_DIR", str(data_dir))


@pytest.fixture(scope="module")
def gold(smoke_run, tmp_path_factory):
    """The embedded phrases' own links, as a file."""
    pairs = read_splits(load_run(smoke_run).config.data, ["train"])["train"]
    path = tmp_path_factory.mktemp("links") / "train.talp"
    path.write_text("".join(f"{pair.alignment}\n" for pair in pairs))
    return path


def batches(
    links, unaligned, *, tokenizer=None, texts=("a b c", "x y z"), row="before"
):
    """The links of one pair, [T, S], in a batch of two rows that are too long."""
    tokenizer = tokenizer or WordVocabulary(list("abcxyz"))
    ids = [tokenizer.tokenize(text) for text in texts]
    examples = TokenizedPairs([ids[0]], [ids[1]])
    made = TokenLinks(
        [links], examples, (tokenizer, tokenizer), unaligned=unaligned, row=row
    ).pad_batch(examples, np.array([0, -1]), Shape(2, 9, 8))
    assert made.links.shape == (2, 8, 9)
    assert made.links.dtype == bool
    assert not made.links[1].any()
    for side, own in ((made.source, ids[0]), (made.target, ids[1])):
        assert side[0, : len(own) + 1].tolist() == [*own, 2]
    return np.argwhere(made.links[0]).tolist()


def test_links_are_targets_by_sources():
    assert batches(alignment([(0, 2), (2, 0)], [(1, 0)]), "free") == [
        [0, 1],
        [0, 2],
        [2, 0],
    ]


def test_unaligned_words_and_eos_attend_to_eos():
    found = batches(alignment([(0, 2)]), "eos")
    assert found == [[0, 3], [1, 3], [2, 0], [3, 3]]


def test_the_steps_after_words_are_one_later_and_eos_has_none():
    found = batches(alignment([(0, 2), (2, 0)]), "eos", row="after")
    assert found == [[1, 2], [2, 3], [3, 0]]


def test_words_in_pieces_are_linked_piece_by_piece():
    tokenizer = SentencePiece.train(["ab abab b", "ba b ab"] * 9, 9)
    texts = "abba b", "b abab"
    words = [tokenizer.words(tokenizer.tokenize(text)) for text in texts]
    assert len(words[0][0]) > 1 < len(words[1][1])
    found = batches(alignment([(0, 1)]), "free", tokenizer=tokenizer, texts=texts)
    assert found == [[t, s] for t in words[1][1] for s in words[0][0]]


def test_a_link_outside_the_words_is_named():
    with pytest.raises(UserError, match="line 1: expected the link 3-0 within 3 sour"):
        batches(alignment([(3, 0)]), "free")


def task(name, gold, data_dir, **settings):
    model, where = MODELS[name]
    base = CONFIGS["cldr-smoke"][1]
    config = dataclasses.replace(
        base,
        data=dataclasses.replace(
            base.data, train=120, validation=7, test=11, data_dir=data_dir
        ),
        model=model,
        max_length=40,
        guided_alignment=GuidedAlignmentConfig(links=gold, **where, **settings),
    )
    mesh = jax.make_mesh((1,), ("data",))
    return TranslationTask(config, TaskSetup(mesh, None, print_status))


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradient_are_the_tokens_and_the_weighted_links(name, gold, data_dir):
    """With the weights that `align` returns."""
    made = task(name, gold, data_dir, alignment_weight=0.7)
    batch, params = next(made.batches(0)), made.init_params()
    guided = made.config.guided_alignment

    def tokens(params):
        return made.model.loss(params, batch[:2], None).total

    def weights(params):
        return made.model.align(
            params, batch[:2], layer=guided.layer, heads=guided.heads
        )

    def links(params):
        return alignment_cross_entropy(weights(params), batch.links).sum()

    def loss(params):
        return made.loss(params, batch, None).total

    (got, of_tokens, of_links), gradients = jax.jit(
        lambda p: (
            (loss(p), tokens(p), links(p)),
            (jax.grad(loss)(p), jax.grad(tokens)(p), jax.grad(links)(p)),
        )
    )(params)
    nats = [
        oracles.alignment_cross_entropy(np.asarray(w, np.float64), own).sum()
        for w, own in zip(weights(params), batch.links, strict=True)
    ]
    np.testing.assert_allclose(of_links, sum(nats), rtol=1e-5)
    np.testing.assert_allclose(got, of_tokens + 0.7 * sum(nats), rtol=1e-5)
    largest = max(np.abs(g).max() for g in jax.tree.leaves(gradients[2]))
    assert largest > 1e-3  # the links do pull
    jax.tree.map(
        lambda a, b, c: np.testing.assert_allclose(a, b + 0.7 * c, 1e-4, 1e-4),
        *gradients,
    )
    count = made.loss(params, batch, None).num_tokens
    assert count == (batch.target != PAD).sum()


@pytest.mark.parametrize("name", MODELS)
def test_decoding_aligns_what_it_wrote_as_align_does(name, gold, data_dir, tmp_path):
    """By the row, the layer and the heads that were trained."""
    made = task(name, gold, data_dir, row="after")
    rng = np.random.default_rng(0)  # larger parameters: no two rows are alike
    params = jax.tree.map(
        lambda x: x + rng.normal(size=x.shape).astype(np.float32), made.init_params()
    )
    loaded = LoadedRun(None, made.config, made.model, params, 0, make_mesh(1))
    translator = loaded.build_translator(beam_size=2, suppress_unk=True)
    lines, written = ["3 May", "1 0 : 3 0 PM"], io.BytesIO()
    decode_stream(
        *(translator, loaded.params, io.BytesIO("\n".join(lines).encode()), written),
        alignments=tmp_path / "links",
    )
    pairs = list(zip(lines, written.getvalue().decode().splitlines(), strict=True))
    links = align_pairs(loaded, pairs).links["forward"]
    assert read_pharaoh(tmp_path / "links") == links
    found = [best[0] for best in translator.translate(params, lines)]
    got = [_word_weights(translator, one) for one in found]
    for n, want in enumerate(extract_weights(loaded, pairs)):
        np.testing.assert_allclose(got[n], want, rtol=1e-4, atol=1e-6)
    others = [Extraction(row="before")]
    if name == "transformer":
        others.append(Extraction(layer=1, heads=(0, 1, 2)))  # those of the search
    for other in others:
        for n, weights in enumerate(extract_weights(loaded, pairs, other)):
            assert np.abs(got[n] - weights).max() > 1e-2


def test_without_links_the_loss_is_the_program_that_it_was(gold, data_dir):
    """Also if the other settings of guided alignment are given."""
    made = task("rnnsearch", None, data_dir, alignment_weight=5.0)
    batch, params = next(made.batches(0)), made.init_params()
    assert type(batch) is Batch
    rng = jax.random.key(0)
    got = jax.make_jaxpr(made.loss)(params, batch, rng)
    want = jax.make_jaxpr(made.model.loss)(params, batch, rng)
    assert str(got) == str(want)


def test_a_run_is_trained_on_links_and_knows_them(gold, data_dir, tmp_path, capsys):
    links = tmp_path / "links"
    links.write_bytes(gold.read_bytes())

    def train(steps):
        return run(
            *("train", "cldr-smoke", "--out", tmp_path / "run"),
            *("--data.data-dir", data_dir, *TINY, "--eval-every", 0),
            *("--guided-alignment.links", links, "--resume"),
            *("--guided-alignment.unaligned", "eos", "--steps", steps),
        )

    assert train(2) == 0
    links.write_text("\n" * 120)
    before = contents(tmp_path / "run")
    capsys.readouterr()
    assert train(3) == 2
    assert "expected the links data" in capsys.readouterr().err.splitlines()[-1]
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("links", "options", "message"),
    [
        ("0-0\n" * 3, (), "guided_alignment.links: "),
        ("0-0\n" * 119 + "0-99\n", (), "links:120: line: expected target positions"),
        (None, (), "expected a file, got nothing of that name"),
        ("\n" * 120, ("--model.aligner", "diagonal"), "got diagonal (choose another"),
        (
            "\n" * 120,
            ("--guided-alignment.alignment-weight", -1),
            "guided_alignment.alignment_weight: expected at least 0, got -1",
        ),
        (
            "\n" * 120,
            ("--guided-alignment.layer", 0),
            "layer: expected none, got 0 (only a Transformer",
        ),
    ],
)
def test_bad_settings_are_named(data_dir, tmp_path, capsys, links, options, message):
    if links is not None:
        (tmp_path / "links").write_text(links)
    code = run(
        *("train", "cldr-smoke", "--out", tmp_path / "run"),
        *("--data.data-dir", data_dir, *TINY),
        *("--guided-alignment.links", tmp_path / "links", *options),
    )
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
