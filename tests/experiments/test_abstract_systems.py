"""Loading a run builds its system from shapes: no parameter is drawn first."""

import jax
import pytest
from flax import nnx

from experiments.bench import transformers
from experiments.datasets.tokenizers.text import Bytes
from experiments.language_model import configs as language_model_configs
from experiments.language_model import loading as language_model_loading
from experiments.language_model import system as language_model
from experiments.translate import configs as translate_configs
from experiments.translate import loading as translate_loading
from experiments.translate import system as translate
from tests.drawing import counting_key

TRANSLATE = translate_configs.CONFIGS["cldr-smoke"][1]
LANGUAGE_MODEL = language_model_configs.CONFIGS["smoke"][1]
BYTES = translate.Tokenizers(Bytes(), Bytes())
BUILDERS = {  # name -> (drawn, abstract): both return a system and its parameters
    "translate": (
        lambda: translate.build_system(TRANSLATE, BYTES),
        lambda: translate.abstract_system(TRANSLATE, BYTES),
    ),
    "language_model": (
        lambda: language_model.build_system(LANGUAGE_MODEL, Bytes()),
        lambda: language_model.abstract_system(LANGUAGE_MODEL, Bytes()),
    ),
    "bench": (
        lambda: transformers.build(transformers.TINY),
        lambda: transformers.build_abstract(transformers.TINY),
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_an_abstract_system_has_the_shapes_and_draws_nothing(name, monkeypatch):
    build, build_abstract = BUILDERS[name]
    draws, rngs = [], nnx.Rngs
    monkeypatch.setattr(nnx, "Rngs", lambda params: rngs(params=counting_key(draws)))
    _, shapes = build_abstract()
    jax.effects_barrier()
    assert draws == []
    _, params = build()
    jax.effects_barrier()
    assert draws  # the assertion above can fail
    assert shapes == jax.eval_shape(lambda: params)


@pytest.mark.parametrize("loading", [translate_loading, language_model_loading])
def test_loading_uses_the_abstract_system(loading):
    assert "abstract_system" in loading.load_run.__code__.co_names
    assert "build_system" not in vars(loading)
