"""Tiny trained runs of both memory networks, shared by all workers."""

from pathlib import Path

import pytest

from tests.experiments.babi.stories import SETTINGS, write_babi
from tests.experiments.commands import run
from tests.sharing import made_once


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A folder of two small tasks in the format of bAbI. Tests must not change it."""
    return made_once(tmp_path_factory, "babi-raw", write_babi)


def train(raw: Path, data_dir: Path, *settings: object, config: str):
    """Makes a function that trains a tiny run in a folder."""

    def make(folder: Path) -> None:
        command = (
            *("train", config, "--out", folder, "--data.raw-dir", raw),
            *("--data.data-dir", data_dir, "--data.tasks", 1, 2, *SETTINGS, *settings),
        )
        assert run(*command, program="babi") == 0

    return make


@pytest.fixture(scope="session")
def soft_run(tmp_path_factory, raw, data_dir) -> Path:
    """An end-to-end memory network after a few steps. Tests must not change it."""
    make = train(raw, data_dir, "--linear-start-steps", 4, config="joint-1k")
    return made_once(tmp_path_factory, "babi-soft", make)


@pytest.fixture(scope="session")
def hard_run(tmp_path_factory, raw, data_dir) -> Path:
    """A memory network after a few steps. Tests must not change it."""
    make = train(raw, data_dir, config="supervised-1k")
    return made_once(tmp_path_factory, "babi-hard", make)
