"""One tiny trained run, shared by all tests that need a run."""

from pathlib import Path

import pytest

from tests.experiments.commands import TINY, finish, launch


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests keep prepared data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where processes of one session keep what they have compiled."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def smoke_run(
    tmp_path_factory: pytest.TempPathFactory, data_dir: Path, cache: Path
) -> Path:
    """The folder of a run that nothing disturbed, on one device. Not to be changed."""
    folder = tmp_path_factory.mktemp("translate") / "run"
    training = launch(
        *("train", "cldr-smoke", "--out", folder, "--data.data-dir", data_dir),
        *TINY,
        cache=cache,
    )
    ((code, err),) = finish(training)
    assert code == 0, err
    return folder
