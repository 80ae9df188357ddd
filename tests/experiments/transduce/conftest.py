"""Tiny runs of both models, trained once."""

from pathlib import Path

import pytest

from tests.experiments.commands import run
from tests.sharing import made_once

TINY = (
    *("--data.train", 400, "--data.validation", 11, "--data.test", 13),
    *("--model.embed-dim", 12, "--model.hidden-dim", 24, "--batch-tokens", 512),
    *("--optimizer.learning-rate", 0.02, "--optimizer.warmup-steps", 5),
    *("--num-buckets", 1, "--log-every", 20, "--save-every", 20, "--eval-every", 0),
)


def train(config: str, folder: Path, *options: object) -> int:
    return run("train", config, "--out", folder, *TINY, *options, program="transduce")


@pytest.fixture(scope="session")
def transducer(tmp_path_factory):
    """A transducer that has learned most of the rules."""

    def make(folder):
        assert train("words-transducer", folder, "--steps", 120) == 0

    return made_once(tmp_path_factory, "transducer-run", make)


@pytest.fixture(scope="session")
def rnnsearch(tmp_path_factory):
    """A few steps of RNNSearch."""

    def make(folder):
        assert train("words-rnnsearch", folder, "--steps", 4) == 0

    return made_once(tmp_path_factory, "reader-run", make)
