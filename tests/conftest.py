"""Fixtures and settings that every test shares.

Arithmetic never promotes by itself here, and there are two CPU devices, so that a
cast or a device that a function forgets shows in its plainest test. Data that are
too large for the repository are asked for with the fixture `shared`.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

pytest_plugins = ["tests.budget"]

# Most of a test's time is compilation. One compilation cache serves all workers and the
# processes that they start: they inherit the environment of this process.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="attnjax-compiled-")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cases",
        type=int,
        metavar="N",
        help="run the first N cases of each parametrised test only",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leaves out all but the first cases of each test, where `--cases` says so."""
    most = config.getoption("--cases")
    if most is None:
        return
    seen: Counter[str] = Counter()
    left_out = []
    for item in list(items):
        test = item.nodeid.partition("[")[0]
        seen[test] += 1
        if seen[test] > most:
            items.remove(item)
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compiles with few optimisations, in half the time, but for slow tests.

    Small programs cost more to compile than to run.
    """
    slow = item.get_closest_marker("slow") is not None
    jax.config.update("jax_disable_most_optimizations", not slow)


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
