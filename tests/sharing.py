"""Fixtures that are made once for all workers of pytest-xdist.

A session fixture is made once per worker process. What takes long, above all a
training, is made by the first worker that asks for it; the others wait and use its
folder. Nobody may change what is in there.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.files import lock


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder that all workers of this test session share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """The folder `name`, filled by `make(folder)` in the first process that asks.

    Args:
      factory: pytest's `tmp_path_factory`.
      name: of the folder; one name, one content.
      make: fills the folder, which is there and empty; if it fails, the next process
        tries again in a new folder.
    """
    root = session_folder(factory)
    done = root / f"{name}.done"
    with lock(root / f"{name}.lock"):
        if not done.exists():
            folder = factory.mktemp(name)
            make(folder)
            done.write_text(str(folder))
    return Path(done.read_text())
