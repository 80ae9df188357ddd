"""Tiny trained runs, shared by all tests that need a run, in all workers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.datasets.data_dir import DATA_DIR_VARIABLE
from tests.experiments.commands import TINY, TINY_GPT, finish, launch, run
from tests.sharing import made_once, session_folder


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests keep prepared data, this user's folder for them."""
    folder = session_folder(tmp_path_factory) / "data"
    folder.mkdir(exist_ok=True)
    os.environ[DATA_DIR_VARIABLE] = str(folder)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compilation cache of processes that the tests start."""
    folder = session_folder(tmp_path_factory) / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def smoke_run(
    tmp_path_factory: pytest.TempPathFactory, data_dir: Path, cache: Path
) -> Path:
    """The folder of an undisturbed run on one device. Tests must not change it."""

    def train(folder: Path) -> None:
        training = launch(
            *("train", "cldr-smoke", "--out", folder, "--data.data-dir", data_dir),
            *TINY,
            cache=cache,
        )
        ((code, err),) = finish(training)
        assert code == 0, err

    return made_once(tmp_path_factory, "translate-run", train)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text to train on: lines of words, some with an accent."""

    def write(folder: Path) -> None:
        lines = (f"line {n} of a café has {n * n} words\n\n" for n in range(53))
        (folder / "text").write_text("".join(lines), encoding="utf-8")

    return made_once(tmp_path_factory, "corpus", write) / "text"


@pytest.fixture(scope="session")
def language_run(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, data_dir: Path, cache: Path
) -> Path:
    """The folder of a character language model. Tests must not change it."""

    def train(folder: Path) -> None:
        training = launch(
            *("train", "text", "--out", folder, "--data.text", corpus),
            *("--data.data-dir", data_dir, "--tokenizer.kind", "characters"),
            *TINY_GPT,
            program="language_model",
            cache=cache,
        )
        ((code, err),) = finish(training)
        assert code == 0, err

    return made_once(tmp_path_factory, "language-run", train)


@pytest.fixture(scope="session")
def pieces_run(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, data_dir: Path
) -> Path:
    """The folder of a language model of subword pieces. Tests must not change it."""

    def train(folder: Path) -> None:
        command = (
            *("train", "text", "--out", folder, "--data.text", corpus),
            *("--data.data-dir", data_dir, "--tokenizer.kind", "unigram"),
            *("--tokenizer.vocab-size", 61, *TINY_GPT, "--model.max-length", 23),
        )
        assert run(*command, program="language_model") == 0

    return made_once(tmp_path_factory, "pieces-run", train)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file of text or bytes into the test's folder and returns its path."""

    def call(name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return call
