"""A trained run of the tests' config: evaluated, loaded, and one of subword pieces."""

import shutil
from pathlib import Path

import pytest

from attnjax.parallel import make_mesh
from experiments.language_model.loading import load_run
from tests.experiments import commands


@pytest.fixture(scope="module")
def evaluated(language_run, tmp_path_factory) -> Path:
    """A copy of the run, evaluated."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(language_run, folder)
    assert commands.run("evaluate", folder, program="language_model") == 0
    return folder


@pytest.fixture(scope="module")
def loaded(language_run):
    return load_run(language_run, mesh=make_mesh(1))


@pytest.fixture(scope="module")
def pieces(pieces_run, tmp_path_factory):
    """A copy of the run of subword pieces, loaded."""
    folder = tmp_path_factory.mktemp("pieces") / "run"
    shutil.copytree(pieces_run, folder)
    return load_run(folder, mesh=make_mesh(1))
