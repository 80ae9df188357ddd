"""Tiny trained runs, shared by all tests that need a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.experiments.commands import TINY, TINY_GPT, finish, launch


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


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text to learn from: lines of words, some with an accent."""
    lines = (f"line {n} of a café has {n * n} words\n\n" for n in range(53))
    path = tmp_path_factory.mktemp("corpus") / "text"
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def language_run(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, data_dir: Path, cache: Path
) -> Path:
    """The folder of a language model of characters, as `smoke_run` made."""
    folder = tmp_path_factory.mktemp("language") / "run"
    training = launch(
        *("train", "text", "--out", folder, "--data.text", corpus),
        *("--data.data-dir", data_dir, "--tokenizer.kind", "characters"),
        *TINY_GPT,
        program="language_model",
        cache=cache,
    )
    ((code, err),) = finish(training)
    assert code == 0, err
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file of text or bytes into the test's folder and returns its path."""

    def call(name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return call
