"""Loading a run builds its model from shapes: no parameter is drawn first."""

import jax
import pytest
from flax import nnx

from attnjax.parallel import make_mesh
from experiments.datasets.tokenizers.text import ByteTokenizer
from experiments.language_model import configs as language_model_configs
from experiments.language_model import model as language_model
from experiments.training import loading as training_loading
from experiments.training.parameters import abstract_params
from experiments.translate import configs as translate_configs
from experiments.translate import loading as translate_loading
from experiments.translate import model as translate
from tests.drawing import counting_key

pytestmark = pytest.mark.versions

TRANSLATE = translate_configs.CONFIGS["cldr-smoke"][1]
LANGUAGE_MODEL = language_model_configs.CONFIGS["smoke"][1]
BYTES = translate.Tokenizers(ByteTokenizer(), ByteTokenizer())
BUILDERS = {
    "translate": lambda: translate.build_model(TRANSLATE, BYTES),
    "language_model": lambda: language_model.build_model(
        LANGUAGE_MODEL, ByteTokenizer()
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_abstract_parameters_have_the_shapes_and_are_not_drawn(name, monkeypatch):
    build, draws, rngs = BUILDERS[name], [], nnx.Rngs
    monkeypatch.setattr(nnx, "Rngs", lambda params: rngs(params=counting_key(draws)))
    _, abstract = abstract_params(build, make_mesh())
    jax.effects_barrier()
    assert draws == []
    _, params = build()
    jax.effects_barrier()
    assert draws  # the assertion above can fail
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == shapes


@pytest.mark.parametrize("loading", [translate_loading, training_loading])
def test_runs_are_loaded_into_abstract_parameters(loading):
    assert loading.abstract_params is abstract_params
