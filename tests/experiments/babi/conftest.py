"""Tiny trained runs of both memory networks, shared by all workers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiments.babi.stories import train_command, write_babi
from tests.experiments.commands import finish, launch
from tests.sharing import made_once


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small tasks in the format of bAbI. Tests must not change it."""
    return made_once(tmp_path_factory, "babi-raw", write_babi)


@pytest.fixture(scope="session")
def train(raw: Path, data_dir: Path, cache: Path) -> Callable[..., Callable]:
    """Makes functions that train a tiny run of a config in a folder."""

    def of_config(config: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            command = train_command(config, folder, raw, data_dir)
            ((code, err),) = finish(launch(*command, program="babi", cache=cache))
            assert code == 0, err

        return make

    return of_config


@pytest.fixture(scope="session")
def soft_run(tmp_path_factory: pytest.TempPathFactory, train) -> Path:
    """An end-to-end memory network after a few steps. Tests must not change it."""
    return made_once(tmp_path_factory, "babi-soft", train("joint-1k"))


@pytest.fixture(scope="session")
def hard_run(tmp_path_factory: pytest.TempPathFactory, train) -> Path:
    """A memory network after a few steps. Tests must not change it."""
    return made_once(tmp_path_factory, "babi-hard", train("supervised-1k"))
