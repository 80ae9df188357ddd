"""A second run for ensembles."""

import shutil
from pathlib import Path

import pytest

from experiments.runs.folder import Run


@pytest.fixture(scope="module")
def other_run(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke run at an earlier step: the same model, other parameters."""
    folder = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(smoke_run, folder)
    checkpoints = Run.open(folder).checkpoints
    shutil.rmtree(checkpoints.path(checkpoints.steps()[-1]))
    return folder
