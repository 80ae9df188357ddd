"""The house keeps its shape: who imports whom, how long files are, what is said."""

import ast
import doctest
import graphlib
import importlib
import inspect
import itertools
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import attnjax

ROOT = Path(__file__).resolve().parent.parent
STANDARD = sys.stdlib_module_names
# Whole-package arrows: what a part may import besides the standard library.
ARRAYS = {"jax", "jaxtyping", "numpy"}
ARROWS = {
    "attnjax/core": ARRAYS | {"attnjax.core"},
    "attnjax/pretrained": ARRAYS
    | {"flax.nnx", "safetensors", "attnjax.core", "attnjax.models"}
    | {"attnjax.pretrained"},
    "attnjax/cells": ARRAYS | {"attnjax.core", "attnjax.cells"},
    "attnjax/models": ARRAYS
    | {"flax.nnx", "attnjax.core", "attnjax.cells", "attnjax.transformer"}
    | {
        f"attnjax.models.{name}"
        for name in (
            "_checks",
            "_parts",
            "_frames",
            "_block_config",
            "_stacks",
            "_methods",
            "_sequence_model",
            "_stories",
        )
    },
    "attnjax/decode": ARRAYS | {"optax", "attnjax.core", "attnjax.decode"},
    "attnjax/train": ARRAYS | {"optax", "attnjax.core", "attnjax.train"},
    "attnjax/parallel.py": ARRAYS | {"optax", "attnjax.core"},
    "tests/oracles.py": {"numpy"},
    "tests/oracle_cursors.py": {"numpy", "tests.oracle_lattice", "tests.oracle_models"},
    "tests/oracle_handwriting.py": {"numpy", "tests.oracles"},
    "tests/oracle_lattice.py": {"numpy"},
    "tests/oracle_memory.py": {"numpy", "tests.oracles"},
    "tests/oracle_models.py": {"numpy", "tests.oracles"},
    "tests/oracle_ntm.py": {"numpy", "tests.oracles", "tests.oracle_models"},
    "tests/oracle_positions.py": {"numpy"},
    "tests/oracle_transformer.py": {"numpy", "tests.oracles"},
    "tests/arg_specs.py": {"experiments.bench.shapes"},
    "experiments/bench/shapes.py": set(),
}
# Inside experiments, imports go only down: a part may import itself and what stands
# on a lower level, never its neighbours.
LEVELS = (
    ("experiments/errors.py", "experiments/files.py"),
    ("experiments/cli",),
    ("experiments/runs",),
    ("experiments/training", "experiments/datasets"),
    (
        *("experiments/algorithms", "experiments/babi"),
        *("experiments/translate", "experiments/language_model"),
        *("experiments/transduce", "experiments/handwriting"),
    ),
    ("experiments/lineage", "experiments/bench"),
)
# bench has floors of its own: peers know no case.
BENCH = {
    "experiments/bench/peers": "experiments.bench.cases",
    "experiments/bench/shapes.py": "experiments.bench.peers",
}
MAX_FILE, MAX_BODY = 300, 40
SOURCES = sorted(
    path for part in ("attnjax", "experiments") for path in ROOT.glob(f"{part}/**/*.py")
)
LIBRARY = sorted(ROOT.glob("attnjax/**/*.py"))


def _name(path):
    return str(path.relative_to(ROOT))


each_source = pytest.mark.parametrize("path", SOURCES, ids=_name)
each_module = pytest.mark.parametrize(
    "module",
    [m.name for m in pkgutil.walk_packages(attnjax.__path__, "attnjax.")],
)


def _imports(path):
    """Dotted names that a file imports, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}: a relative import hides its arrow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _within(name, allowed):
    return any(name == a or name.startswith(a + ".") for a in allowed)


@pytest.mark.parametrize("part", ARROWS)
def test_arrows_point_one_way(part):
    where = ROOT / part
    paths = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    assert paths
    wrong = [
        f"{_name(path)} imports {name}"
        for path in paths
        for name in _imports(path)
        if name.partition(".")[0] not in STANDARD and not _within(name, ARROWS[part])
    ]
    assert not wrong


def test_nothing_in_the_library_imports_experiments_or_tests():
    wrong = [
        f"{_name(path)} imports {name}"
        for path in LIBRARY
        for name in _imports(path)
        if _within(name, {"experiments", "tests"})
    ]
    assert not wrong


def _dotted(part):
    return part.removesuffix(".py").replace("/", ".")


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_experiments_import_only_what_is_below(level):
    above = {_dotted(part) for parts in LEVELS[level:] for part in parts}
    wrong = [
        f"{_name(path)} imports {name}"
        for part in LEVELS[level]
        for path in sorted(ROOT.glob(f"{part}/**/*.py")) or [ROOT / part]
        for name in _imports(path)
        if _within(name, above - {_dotted(part)})
    ]
    assert not wrong


def test_every_part_of_experiments_has_a_level():
    parts = {_name(p) for p in (ROOT / "experiments").iterdir() if p.suffix == ".py"}
    parts |= {_name(p.parent) for p in (ROOT / "experiments").glob("*/__init__.py")}
    known = {part for parts in LEVELS for part in parts}
    assert parts - known == {"experiments/__init__.py"}


@pytest.mark.parametrize("part", BENCH)
def test_peers_of_the_bench_know_no_case(part):
    where = ROOT / part
    paths = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    names = {name for path in paths for name in _imports(path)}
    assert not [name for name in names if _within(name, {BENCH[part]})]


def test_no_module_imports_itself_in_a_circle():
    """Imports inside functions count too: a circle is one wherever it is opened."""
    modules = {_dotted(_name(p)).removesuffix(".__init__"): p for p in SOURCES}
    graph = {}
    for module, path in modules.items():
        names = {
            name if name in modules else name.rpartition(".")[0]
            for name in _imports(path)
        }
        graph[module] = {n for n in names if n in modules and n != module}
    # A package's own __init__ may gather its modules: that is no circle.
    packages = {module for module, path in modules.items() if path.stem == "__init__"}
    for module in graph:
        inside = {p for p in packages if module.startswith(p + ".")}
        graph[module] -= inside
    order = graphlib.TopologicalSorter(graph)
    try:
        order.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@each_source
def test_files_are_short(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE, f"{_name(path)} has {lines} lines: split it"


@each_source
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if body:
            lines = body[-1].end_lineno - body[0].lineno + 1
            assert lines <= MAX_BODY, f"{node.name} has {lines} lines of body"


RESHAPING = {"reshape", "swapaxes", "moveaxis", "transpose", "expand_dims"}


@each_source
def test_lines_that_move_axes_say_the_shapes(path):
    """A comment like `# [B, T, H*D] -> [B, T, H, D]`, in the statement or above it."""
    text = path.read_text()
    lines = text.splitlines()
    bare = [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AugAssign)
        and any(
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in RESHAPING
            for call in ast.walk(node)
        )
        and not any(
            "[" in line.partition("#")[2]
            for line in lines[node.lineno - 2 : node.end_lineno]
        )
    ]
    assert not bare, f"{_name(path)}: no shape comment at lines {bare}"


@each_source
def test_help_texts_are_sentences(path):
    """The string under a field is its help: a capital letter, then a full stop."""
    wrong = [
        f"{node.name}.{field.target.id}: {text}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for field, below in itertools.pairwise(node.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and not re.fullmatch(r"[A-Z].*[.]", text := below.value.value, re.DOTALL)
    ]
    assert not wrong


@pytest.mark.parametrize("path", LIBRARY, ids=_name)
def test_no_bare_assert_guards_a_user(path):
    """It vanishes under `python -O`."""
    asserts = [
        n.lineno
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Assert)
    ]
    assert not asserts


def test_importing_the_library_loads_no_data_plot_or_log_library():
    heavy = (
        "tensorflow tensorflow_datasets grain array_record orbax sentencepiece "
        "sacrebleu babel tyro rich tensorboardX matplotlib pandas torch experiments"
    )
    code = (
        "import sys, pkgutil, importlib, flax.nnx, optax\n"
        "before = set(sys.modules)\n"  # what flax itself brings is not ours to judge
        "import attnjax\n"
        f"print(*[m for m in {heavy.split()} if m in set(sys.modules) - before])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_every_public_name_is_documented():
    names = [n for n in vars(attnjax) if not n.startswith("_")]
    public = {n: getattr(attnjax, n) for n in names}
    assert [n for n, x in public.items() if not inspect.getdoc(x)] == []


@each_module
def test_every_public_function_and_class_is_documented(module):
    found = importlib.import_module(module)
    assert found.__doc__
    own = {
        name: x
        for name, x in vars(found).items()
        if not name.startswith("_") and getattr(x, "__module__", None) == module
        and (inspect.isfunction(x) or inspect.isclass(x))
    }  # fmt: skip
    undocumented = [n for n, x in own.items() if not (x.__doc__ or "").strip()]
    assert undocumented == []


@each_module
def test_examples_in_docstrings_run(module):
    found = importlib.import_module(module)
    result = doctest.testmod(found, extraglobs={"jnp": jnp})
    assert result.failed == 0


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")), ids=_name)
def test_examples_in_documents_run(path):
    result = doctest.testfile(str(path), module_relative=False)
    assert result.failed == 0
