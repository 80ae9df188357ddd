"""Readers of untrained models: paths against the models' own, losses of odd rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.models.ctc import CTCConfig
from attnjax.models.rnnsearch import RNNSearchConfig
from attnjax.models.transducer import TransducerConfig
from attnjax.parallel import make_mesh
from experiments.datasets.pairs.batching import Batch
from experiments.datasets.tokenizers.sentences import BOS, EOS, WordVocabulary
from experiments.transduce.config import SearchConfig
from experiments.transduce.configs import CONFIGS
from experiments.transduce.model import Alphabets, build_model
from experiments.transduce.reading import BatchReader

SIZES = {
    "transducer": TransducerConfig(embed_dim=3, hidden_dim=5, joint_dim=4),
    "ctc": CTCConfig(embed_dim=3, hidden_dim=5),
    "rnnsearch": RNNSearchConfig(
        embed_dim=3, hidden_dim=5, align_dim=4, readout_dim=3, init="glorot"
    ),
}
WORDS, LABELS = ["kate", "x"], [[4, 4, 6], [5]]  # CTC has 5 and 2 frames for them


def untrained(kind, seed=0):
    """A reader with weights of some size, so that its paths are no straight lines."""
    config = dataclasses.replace(CONFIGS["smoke"][1], model=SIZES[kind])
    alphabets = Alphabets(WordVocabulary(tuple("aektx")), WordVocabulary(tuple("XYZ")))
    reader, params = build_model(config, alphabets)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    leaves = [jnp.asarray(rng.normal(0, 2, x.shape), x.dtype) for x in leaves]
    return reader, jax.tree.unflatten(tree, leaves)


def path_alone(reader, params, word, labels):
    """The position of each label, counted from 0, without any padding."""
    source = reader.alphabets.source.tokenize(" ".join(word))
    source = jnp.array([[*source, EOS]])
    mask, model = jnp.ones(source.shape, bool), reader.rebuild(params)
    if reader.kind == "rnnsearch":
        _, weights = model(source, mask, jnp.array([[BOS, *labels]]))
        # Row u is read while label u is put out; the last row puts out EOS.
        return [int(np.argmax(weights[0, u])) for u in range(len(labels))]
    labels = jnp.array([labels])
    path = model.best_path(source, mask, labels, jnp.ones(labels.shape, bool))
    if reader.kind == "transducer":
        return path.frames[0].tolist()
    return [path.positions[0].tolist().index(u) for u in range(labels.size)]


@pytest.mark.parametrize("kind", SIZES)
def test_a_path_is_the_models_own(kind):
    reader, params = untrained(kind)
    read = BatchReader(reader, SearchConfig(), make_mesh())
    found = read.paths(params, WORDS, LABELS)
    want = [path_alone(reader, params, *x) for x in zip(WORDS, LABELS, strict=True)]
    assert found == want
    assert len(set(found[0])) > 1
    assert [read.place(at) for at in (0, 4)] == ["1", "5"]


def test_a_word_without_a_path_costs_an_infinity():
    """Not a NaN, and a row of padding costs nothing."""
    reader, params = untrained("ctc")
    source = np.array([[EOS, 0, 0], [4, 5, EOS], [0, 0, 0]], np.int32)
    target = np.array([[4, 5, 6, EOS], [5, EOS, 0, 0], [0, 0, 0, 0]], np.int32)

    def loss(*rows):
        batch = Batch(source[list(rows)], target[list(rows)])
        return reader.loss(params, batch, None)

    total, count = loss(0, 1, 2)
    assert (total, count) == (np.inf, 4)
    total, count = loss(1, 2)
    assert count == 1
    assert np.isfinite(total)
    np.testing.assert_allclose(total, loss(1)[0], rtol=1e-6)
