"""Splitting a model into parameters: paths, metadata, and models that are not drawn."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attnjax import GPT, BlockConfig, GPTConfig, split, split_abstract
from attnjax.models._parts import Params
from attnjax.parallel import make_mesh

D, E = 3, 4
CONFIG = GPTConfig(
    vocab_size=11,
    num_layers=2,
    max_length=7,
    block=BlockConfig(d_model=14, num_heads=1, d_ff=13),
)


@pytest.fixture(params=["graph mode", "tree mode"], autouse=True)
def mode(request):
    """flax plans tree mode as the default: every test runs in both."""
    with nnx.set_graph_mode(request.param == "graph mode"):
        yield


def make_gpt(seed=0):
    return GPT(CONFIG, rngs=nnx.Rngs(seed))


class Layered(nnx.Module):
    """A module with the parameters, lists and dicts that it is given."""

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, nnx.data(value))


def test_rebuild_inverts_split():
    model = make_gpt()
    rebuild, params = split(model)
    tokens = np.array([[5, 3, 7]])
    np.testing.assert_array_equal(rebuild(params)(tokens)[0], model(tokens)[0])


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


def counting_rngs(counts):
    """Random keys that append to `counts` when a program draws from them."""

    def random_bits(key, bit_width, shape):
        jax.debug.callback(lambda: counts.append(shape))
        return jnp.zeros(shape, f"uint{bit_width}")

    impl = jax.extend.random.define_prng_impl(
        key_shape=(2,),
        seed=lambda seed: jnp.zeros(2, jnp.uint32),
        split=lambda key, shape: jnp.zeros((*shape, 2), jnp.uint32),
        random_bits=random_bits,
        fold_in=lambda key, data: key,
        name=f"counting {id(counts)}",
        tag="count",
    )
    return lambda: nnx.Rngs(params=jax.random.key(0, impl=impl))


def test_an_abstract_model_is_never_drawn():
    counts = []
    rngs = counting_rngs(counts)
    _, shapes = split_abstract(lambda: GPT(CONFIG, rngs=rngs()))
    jax.effects_barrier()
    assert counts == []
    is_shape = lambda x: isinstance(x, jax.ShapeDtypeStruct)  # noqa: E731
    assert all(map(is_shape, jax.tree.leaves(shapes)))
    _, drawn = split(GPT(CONFIG, rngs=rngs()))
    jax.effects_barrier()
    assert counts  # the check above can fail
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, shapes)


def test_an_abstract_model_takes_loaded_parameters():
    _, params = split(make_gpt(seed=5))
    rebuild, shapes = split_abstract(make_gpt)
    tokens = np.array([[5, 3, 7]])
    want = make_gpt(seed=5)(tokens)[0]
    np.testing.assert_array_equal(rebuild(params)(tokens)[0], want)
    assert shapes == jax.eval_shape(lambda: params)


# Error messages


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
