"""Fixtures and settings that every test shares.

Arithmetic never promotes by itself here, and there are two CPU devices, so that a
cast or a device that a function forgets shows in its plainest test. Data that are
too large for the repository are asked for with the fixture `shared`.
"""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

pytest_plugins = ["tests.budget"]

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 2)

# No deadline: the first example of a property compiles. Derandomised: the same
# commit draws the same examples everywhere.
hypothesis.settings.register_profile("attnjax", deadline=None, derandomize=True)
hypothesis.settings.load_profile("attnjax")

REPOSITORY = Path(__file__).resolve().parent.parent

# Relative tolerances, derived per dtype (about 100 roundings), never loosened.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 1e-2}


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Lets go of a module's compiled programs when its tests are over.

    Every program holds memory maps, of which Linux grants a process 65,530
    (`vm.max_map_count`): past them the compiler dies of a segmentation fault.
    """
    yield
    jax.clear_caches()


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
