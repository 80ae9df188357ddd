"""Fixtures and settings that every test shares."""

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 2)

REPOSITORY = Path(__file__).resolve().parent.parent

# Relative tolerances, derived per dtype (about 100 roundings), never loosened.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 1e-2}


@pytest.fixture
def rng() -> jax.Array:
    """A typed random key; fold or split it, never reuse it."""
    return jax.random.key(20140901)


@pytest.fixture
def shared() -> Path:
    """The folder of real data beside the repository; the test skips without it."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the real data sets in ../shared, which are not here")
    return folder
