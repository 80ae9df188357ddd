"""The documents say what is so: commands, paths, names and letters exist.

That examples run in the documents and the library is held by `test_layout.py`, in
the experiments here.
"""

import doctest
import importlib.util
import inspect
import pkgutil
import re
import shlex
import tomllib
import types
from pathlib import Path

import pytest

import attnjax
import experiments

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*sorted(ROOT.glob("*.md")), ROOT / "experiments" / "README.md")
}
README = DOCUMENTS["README.md"]
CI = (ROOT / ".ci" / "run").read_text()
CI_LINES = {line.strip() for line in CI.splitlines()}
# Where a path in a document may start.
BASES = (ROOT, ROOT / "attnjax", ROOT / "experiments")

each_document = pytest.mark.parametrize("name", DOCUMENTS)


# Modules of peers that need not be installed.
OPTIONAL = {"ctranslate2", "torch"}


def blocks(text, language):
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text):
    """The command lines of a document, in blocks and between backticks."""
    for block in blocks(text, "bash"):
        yield from filter(None, block.replace("\\\n", " ").splitlines())
    yield from re.findall(r"`((?:python|bash|pip) [^`\n]+)`", text)


def parts(line):
    return [part.strip() for part in line.split("&&")]


def install_lines():
    """The README's lines for a fresh machine, each as its commands."""
    return [parts(c) for c in commands(README) if c.startswith("python3 -m venv")]


def test_the_readme_has_one_line_for_the_lineage_and_one_for_the_tests():
    lineage, tests = install_lines()
    fresh = ["python3 -m venv .venv", ". .venv/bin/activate"]
    assert lineage[:2] == tests[:2] == fresh
    assert lineage[2:] == [
        'pip install -e ".[experiments]"',
        "python -m experiments.lineage",
    ]
    assert tests[2].startswith("pip install -e ")
    assert tests[3:] == ["python -m pytest -n auto"]


def test_ci_installs_and_tests_by_the_readmes_line():
    _, (_, _, install, test) = install_lines()
    assert install in CI_LINES
    assert any(line.partition(" 2>&1")[0] == test for line in CI_LINES)
    installs = [line for line in CI_LINES if line.startswith("pip install")]
    assert installs == [install]


def test_ci_checks_what_contributing_says():
    (check,) = [c for c in commands(DOCUMENTS["CONTRIBUTING.md"]) if "ruff" in c]
    for part in parts(check):
        assert any(line.partition(" 2>&1")[0] == part for line in CI_LINES), part


@each_document
def test_extras_in_commands_exist(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"\.\[([\w,]+)\]", DOCUMENTS[name]):
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()


@each_document
def test_modules_in_commands_exist(name):
    for command in commands(DOCUMENTS[name]):
        for part in parts(command):
            words = shlex.split(part, comments=True)
            if words[:2] != ["python", "-m"]:
                continue
            spec = importlib.util.find_spec(words[2])
            assert spec is not None, command
            if spec.submodule_search_locations:
                assert importlib.util.find_spec(f"{words[2]}.__main__"), command


@each_document
def test_paths_exist(name):
    text = DOCUMENTS[name]
    folder = (ROOT / name).parent
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [x for x in links if not (folder / x).exists()] == []
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:py|md|toml))`", text)
    # A run's folder is made by a command; RESULTS.md is in every experiment's.
    named = [x for x in named if not x.startswith("runs/") and x != "RESULTS.md"]
    some = {
        x for x in named if x in ("config.py", "task.py", "__main__.py")
    }  # of any experiment
    missing = [
        x
        for x in sorted(set(named) - some)
        if not any((base / x).exists() for base in BASES)
    ]
    assert missing == []


def names_in(module):
    """The public names of a namespace: its `__all__`, or what it defines."""
    own = {
        name
        for name, x in vars(module).items()
        if getattr(x, "__module__", None) == module.__name__
        and (inspect.isfunction(x) or inspect.isclass(x))
    }
    public = set(getattr(module, "__all__", own))
    return {name for name in public if not name.startswith("_")}


def test_the_readme_names_exactly_what_is_public():
    flat = {
        name
        for name, x in vars(attnjax).items()
        if not name.startswith("_") and not isinstance(x, types.ModuleType)
    }
    spaces = (attnjax.decode, attnjax.train, attnjax.parallel, attnjax.align)
    public = flat | {
        f"{space.__name__.removeprefix('attnjax.')}.{name}"
        for space in spaces
        for name in names_in(space)
    }
    (box,) = re.findall(r"^## In the box$(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    cells = [line.split("|")[3] for line in box.splitlines() if line.startswith("| `")]
    named = {x for cell in cells for x in re.findall(r"`([\w.]+)`", cell)}
    assert named == public


def test_the_index_has_a_line_for_each_name():
    lines = (ROOT / "attnjax" / "__init__.py").read_text().split('"""')[2].splitlines()
    for line in filter(None, lines):
        assert re.fullmatch(r"# .+|from [\w.]+ import (\w+) as \1", line), line


def test_every_block_of_python_in_the_readme_is_tested():
    found = blocks(README, "python")
    assert len(found) >= 5
    for block in found:
        assert doctest.DocTestParser().get_examples(block), block
        # Else the closing fence would be taken for expected output.
        assert block.endswith("\n\n"), block


def test_the_glossary_defines_every_letter_of_a_shape():
    table = DOCUMENTS["GLOSSARY.md"].partition("## Letters")[2]
    defined = set(re.findall(r"^\| ([A-Z]) \|", table, re.MULTILINE))
    used = {
        (letter, path.name)
        for path in ROOT.glob("attnjax/**/*.py")
        for shape in re.findall(r'\w+\[Array, "([^"]*)"\]', path.read_text())
        for letter in re.findall(r"\b[A-Z]\b", shape)
    }
    assert len(used) > 10
    assert {x for x in used if x[0] not in defined} == set()


@pytest.mark.parametrize(
    "module",
    [m.name for m in pkgutil.walk_packages(experiments.__path__, "experiments.")],
)
def test_examples_in_experiments_run(module):
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}, which is not installed")
    assert doctest.testmod(found).failed == 0
