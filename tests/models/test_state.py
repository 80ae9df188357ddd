"""Splitting a model into parameters: paths, metadata, and models that are not drawn."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import split, split_abstract
from attnjax.models._parts import Params
from attnjax.parallel import make_mesh
from tests.drawing import counting_key

pytestmark = pytest.mark.versions

D, E = 3, 4


@pytest.fixture(params=["graph mode", "tree mode"], autouse=True)
def mode(request):
    """flax plans tree mode as the default: every test runs in both."""
    with nnx.set_graph_mode(request.param == "graph mode"):
        yield


class Net(nnx.Module):
    """A drawn layer, a list of layers, and a tree of parameters."""

    def __init__(self, rngs):
        self.first = nnx.Linear(D, E, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(E, E, rngs=rngs) for _ in range(2)])
        self.scale = Params({"w": jax.random.normal(rngs.params(), (E,))})

    def __call__(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x * self.scale(x.dtype)["w"]


X = np.linspace(-1, 1, D, dtype=np.float32)


def make_net(seed=0):
    return Net(nnx.Rngs(seed))


class Layered(nnx.Module):
    """A module with the parameters, lists and dicts that it is given."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, nnx.data(value))


def test_rebuild_inverts_split():
    model = make_net()
    rebuild, params = split(model)
    np.testing.assert_array_equal(rebuild(params)(X), model(X))


def test_paths_are_the_attributes_without_the_holder():
    model = Layered(layers=[Params({"w": jnp.ones(D)}), Params({"w": jnp.ones(E)})])
    _, params = split(model)
    assert jax.tree.map(jnp.shape, params) == {
        "layers": {"0": {"w": (D,)}, "1": {"w": (E,)}}
    }


def test_a_rebuilt_model_keeps_types_and_metadata():
    class Scale(nnx.Param):
        pass

    init = nnx.with_partitioning(nnx.initializers.ones, ("data", None))
    with jax.set_mesh(make_mesh(2)):
        linear = nnx.Linear(E, D, kernel_init=init, rngs=nnx.Rngs(0))
        rebuild, params = split(Layered(linear=linear, scale=Scale(1.0, note="kept")))
    for rebuilt in (rebuild(params), jax.jit(rebuild)(params)):
        kernel = rebuilt.linear.kernel.get_metadata()
        assert kernel == linear.kernel.get_metadata()
        assert kernel["out_sharding"] == ("data", None)
        assert type(rebuilt.scale) is Scale
        assert rebuilt.scale.get_metadata()["note"] == "kept"
    specs = nnx.get_partition_spec(nnx.state(rebuild(params), nnx.Param))
    assert specs["linear"]["kernel"].get_value() == jax.sharding.PartitionSpec(
        "data", None
    )


def test_an_abstract_model_is_never_drawn():
    draws = []
    rngs = lambda: nnx.Rngs(params=counting_key(draws))  # noqa: E731
    _, shapes = split_abstract(lambda: Net(rngs()))
    jax.effects_barrier()
    assert draws == []
    is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    assert all(map(is_shape, jax.tree.leaves(shapes)))
    _, drawn = split(Net(rngs()))
    jax.effects_barrier()
    assert draws  # the assertion above can fail
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, shapes)


def test_an_abstract_model_takes_loaded_parameters():
    _, params = split(make_net(seed=5))
    rebuild, shapes = split_abstract(make_net)
    np.testing.assert_array_equal(rebuild(params)(X), make_net(seed=5)(X))
    assert shapes == jax.eval_shape(lambda: params)


# Error messages


def test_rebuild_pickles():
    """As multiprocessing and cluster launchers need it."""
    rebuild, params = split(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    copy = pickle.loads(pickle.dumps(rebuild))
    x = jnp.ones(2)
    np.testing.assert_array_equal(copy(params)(x), rebuild(params)(x))


def test_other_state_is_refused():
    model = Layered(w=nnx.Param(jnp.ones(D)), count=nnx.Variable(jnp.zeros(())))
    with pytest.raises(
        ValueError, match=r"model: expected parameters only, got other state at .*count"
    ):
        split(model)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (
            {"tree": {"w": nnx.Param(jnp.ones(D))}, "w": nnx.Param(jnp.ones(E))},
            r"got \('tree', 'w'\) and \('w',\), both at 'w' \(rename",
        ),
        (
            {"a": {"tree": nnx.Param(jnp.ones(D)), "w": nnx.Param(jnp.ones(E))}},
            r"got \('a', 'tree'\) and \('a', 'w'\), both at 'a' \(rename",
        ),
        ({"tree": nnx.Param(jnp.ones(D))}, r"got \('tree',\)"),
    ],
    ids=["holder", "leaf and node", "holder alone"],
)
def test_paths_that_collide_are_refused(attributes, text):
    want = f"^model: expected parameters with distinct paths, {text}"
    with pytest.raises(ValueError, match=want):
        split(Layered(**attributes))
