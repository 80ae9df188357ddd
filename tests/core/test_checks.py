"""`shaped` reads annotations: what it binds, what it lets pass, what it says."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Bool, Float, Int

from attnjax.core._checks import shaped


class Pair(NamedTuple):
    """Two arrays that share a letter with each other and with their neighbours."""

    left: Float[Array, "S D"]
    right: Float[Array, "S"]


@shaped
def one(x: Float[Array, "D"], y: Float[Array, "S D"] | None = None) -> Any:
    """Takes an array, and one more or None."""
    return x, y


@shaped
def many(x: Float[Array, "*B D"], mask: Bool[Array, "*B"], n: int = 0) -> Any:
    """Takes any leading axes."""
    return x, mask, n


@shaped
def pair(query: Float[Array, "D"], *, of: Pair) -> Any:
    """Takes a named tuple."""
    return query, of


@shaped
def sums(x: Float[Array, "D"], y: Float[Array, "3*D"], z: Float[Array, "E D+E"]) -> Any:
    """Takes sizes that are computed from others, which are bound before."""
    return x, y, z


def test_good_arguments_pass():
    one(jnp.ones(3))
    one(jnp.ones(3), None)
    one(jnp.ones(3), y=jnp.ones((2, 3)))
    one(np.ones(3, np.float32))
    many(jnp.ones(3), jnp.array(True))
    many(jnp.ones((2, 5, 3)), jnp.ones((2, 5), bool), 7)
    pair(jnp.ones(3), of=Pair(jnp.ones((2, 3)), jnp.ones(2)))
    sums(jnp.ones(2), jnp.ones(6), jnp.ones((5, 7)))


def test_name_and_docstring_are_kept():
    assert one.__name__ == "one"
    assert one.__doc__ == "Takes an array, and one more or None."


def test_a_check_costs_nothing_when_compiled():
    plain = jax.make_jaxpr(lambda x: x + 1)(jnp.ones(3))
    assert str(jax.make_jaxpr(shaped(_increment))(jnp.ones(3))) == str(plain)


def _increment(x: Float[Array, "D"]) -> Any:
    return x + 1


BAD = {
    "batch": (
        lambda: one(jnp.ones((2, 3))),
        ValueError,
        r"^x: expected shape \[D\], got \[2, 3\] \(a batch\? .* in jax\.vmap\)$",
    ),
    "missing axis": (
        lambda: one(jnp.ones(3), jnp.ones(3)),
        ValueError,
        r"^y: expected shape \[S, D=3\], got \[3\] \(an axis is missing\)$",
    ),
    "letter": (
        lambda: one(jnp.ones(3), jnp.ones((2, 4))),
        ValueError,
        r"^y: expected shape \[S, D=3\], got \[2, 4\] \(sizes of one letter must ag",
    ),
    "leading": (
        lambda: many(jnp.ones((2, 3)), jnp.ones(4, bool)),
        ValueError,
        r"^mask: expected shape \[2\], got \[4\] \(the leading axes must agree\)$",
    ),
    "field": (
        lambda: pair(jnp.ones(3), of=Pair(jnp.ones((2, 4)), jnp.ones(2))),
        ValueError,
        r"^of\.left: expected shape \[S, D=3\], got \[2, 4\] \(",
    ),
    "other field": (
        lambda: pair(jnp.ones(3), of=Pair(jnp.ones((2, 3)), jnp.ones(5))),
        ValueError,
        r"^of\.right: expected shape \[S=2\], got \[5\] \(",
    ),
    "no tuple": (
        lambda: pair(jnp.ones(3), of=jnp.ones(2)),
        TypeError,
        r"^of: expected Pair, got ArrayImpl \(it has no field 'left'\)$",
    ),
    "product": (
        lambda: sums(jnp.ones(2), jnp.ones(5), jnp.ones((5, 7))),
        ValueError,
        r"^y: expected shape \[3\*D=6\], got \[5\] \(",
    ),
    "sum": (
        lambda: sums(jnp.ones(2), jnp.ones(6), jnp.ones((5, 6))),
        ValueError,
        r"^z: expected shape \[E, D\+E\], got \[5, 6\] \(",
    ),
    "list": (
        lambda: one([1.0, 2.0]),
        TypeError,
        r"^x: expected an array, got list \(wrap it in jnp\.asarray\)$",
    ),
    "float": (
        lambda: one(1.0),
        TypeError,
        r"^x: expected an array, got float \(wrap it in jnp\.asarray\)$",
    ),
    "integers": (
        lambda: one(jnp.arange(3)),
        TypeError,
        r"^x: expected float\w* values, got int32 \(",
    ),
    "float mask": (
        lambda: many(jnp.ones(3), jnp.ones(())),
        TypeError,
        r"^mask: expected a boolean mask \(True = attend\), got float32 \(.*`bias`\)$",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_are_told_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_missing_argument_is_pythons_affair():
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        one()


@shaped
def positions(at: Int[Array, "T"]) -> Any:
    """Takes integers."""
    return at


def test_integers_of_any_width_are_integers():
    for dtype in ("int8", "uint8", "int32"):
        positions(jnp.ones(2, dtype))
    with pytest.raises(TypeError, match=r"^at: expected int\w* values, got bool \("):
        positions(jnp.ones(2, bool))
