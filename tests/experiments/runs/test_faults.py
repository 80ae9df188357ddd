"""Whatever happens to a file of a run, each command gives the same result, or falls
back and says so, or ends in one line that names the file; nothing is lost.

The sweep over thousands of random bits is a script, `tests/faults/sweep.py`.
"""

import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.training.trainer import train
from tests.experiments.commands import contents
from tests.faults import hostile, tiny
from tests.faults.damages import DAMAGES, VALUES, wrong_json
from tests.sharing import made_once

WHICH = ("best", "last", "mean")


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to the disk, which takes longer than these trainings."""
    monkeypatch.setattr("experiments.files._flush", lambda path: None)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to. Tests must not change it."""

    def make(folder: Path) -> None:
        train(tiny.TinyTask, tiny.TinyConfig(), folder)

    return made_once(tmp_path_factory, "tiny-run", make)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of another run, with another seed and other words."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiny, "WORDS", ["zero", "uno", "due"])
            patch.setattr("experiments.files._flush", lambda path: None)
            train(tiny.TinyTask, tiny.TinyConfig(seed=1), folder)

    return made_once(tmp_path_factory, "other-tiny-run", make)


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """Runs a command line of the tiny task."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            tiny.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            return Answer(int(stop.code or 0), *capsys.readouterr())
        return Answer(0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def expected(sound: Path) -> dict[str, str]:
    """What the undamaged run gives."""
    return {which: tiny.load(sound, which) + "\n" for which in WHICH}


def name_of(path: Path) -> str:
    """What a message must name: the checkpoint, or the file."""
    steps = [part for part in path.parts if part.startswith("0000")]
    return steps[0] if steps else path.name


def check(answer: Answer, wanted: str, path: Path, folder: Path) -> None:
    """Checks the promise for one answer."""
    assert "Traceback" not in answer.err
    assert not set(map(chr, range(32))) - {"\n", "\t"} & set(answer.out + answer.err)
    if answer.code == 0 and answer.out == wanted:
        return
    said = [line for line in answer.err.splitlines() if name_of(path) in line]
    assert said, answer
    if answer.code == 0:
        assert "is damaged" in said[0] or "is missing" in said[0], answer
    else:
        assert answer.code == 2, answer
        assert answer.err.splitlines()[-1].startswith("error: "), answer
        assert answer.err.count("error: ") == 1, answer


def check_all(run, folder: Path, path: Path, expected: dict[str, str]) -> None:
    """Checks the promise for every command on a damaged run."""
    before = contents(folder)
    for which in WHICH:
        check(run("load", folder, which), expected[which], path, folder)
    assert contents(folder) == before
    intact = {
        name: content
        for name, content in before.items()
        if name.startswith("checkpoints/") and name_of(path) not in name
    }
    resumed = run("train", folder)
    table = expected["last"].split()[-1] + "\n"
    check(resumed, table, path, folder)
    after = contents(folder)
    if resumed.code:
        assert after == before
        return
    assert resumed.out == table
    # What was best is not forgotten.
    if name_of(path) != "00000008":
        assert run("load", folder, "best").out == expected["best"]
        kept = {n for n in intact if "00000010" not in n}
        assert {n: after[n] for n in kept} == {n: intact[n] for n in kept}


def array_file(folder: Path, step: int, rank: int) -> Path:
    """A file of a checkpoint's arrays by its size: the largest has rank -1."""
    arrays = folder / "checkpoints" / f"{step:08d}" / "arrays"
    files = sorted(
        (path.stat().st_size, path) for path in arrays.rglob("*") if path.is_file()
    )
    return files[rank][1]


FILES = {
    "config": lambda folder: folder / "config.json",
    "data": lambda folder: folder / "data.json",
    "vocabulary": lambda folder: folder / "vocabulary.json",
    "log": lambda folder: folder / "metrics.jsonl",
    "lock": lambda folder: folder / ".lock",
    "best manifest": lambda folder: folder / "checkpoints/00000008/manifest.json",
    "last manifest": lambda folder: folder / "checkpoints/00000012/manifest.json",
    "best arrays": lambda folder: array_file(folder, 8, -1),
    "last arrays": lambda folder: array_file(folder, 12, -1),
    "smallest file": lambda folder: array_file(folder, 12, 0),
}
NOT_FOR_EMPTY = ("flip", "flip again", "cut", "empty")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file(file, damage, run, sound, expected, tmp_path):
    if file == "lock" and damage in NOT_FOR_EMPTY:
        pytest.skip("the lock file is empty")
    folder = Path(shutil.copytree(sound, tmp_path / "run"))
    path = FILES[file](folder)
    DAMAGES[damage](path, random.Random(f"{file} {damage}"))
    check_all(run, folder, path, expected)


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if "arrays" not in f and f not in ("lock", "smallest file")],
)
def test_a_file_of_another_run(file, run, sound, other, expected, tmp_path):
    folder = Path(shutil.copytree(sound, tmp_path / "run"))
    path = FILES[file](folder)
    shutil.copyfile(FILES[file](other), path)
    check_all(run, folder, path, expected)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "file", ["config", "data", "vocabulary", "log", "last manifest"]
)
def test_json_of_another_kind(file, value, run, sound, expected, tmp_path):
    """In each place of the file, with the right checksum where there is one."""
    folder = Path(shutil.copytree(sound, tmp_path / "run"))
    path = FILES[file](folder)
    for place, content in wrong_json(FILES[file](sound), VALUES[value]):
        path.write_bytes(content)
        answer = run("load", folder, "last")
        assert "Traceback" not in answer.err, place
        if answer.code:
            check(answer, "", path, folder)


@pytest.mark.parametrize("trick", hostile.TRICKS)
def test_the_run_of_a_stranger(trick, run, sound, tmp_path):
    """Nothing outside of it changes; `tests/faults/hostile.py` watches processes."""
    folder, outside = hostile.make_hostile(trick, sound, tmp_path)
    before = hostile.listing(outside)
    for command in (
        ("load", folder, "best"),
        ("train", folder),
        ("train", folder, "--steps", 14),
    ):
        answer = run(*command)
        assert answer.code in (0, 2), answer
        assert "Traceback" not in answer.err
        assert not hostile.controls((answer.out + answer.err).encode())
        if answer.code == 2:
            assert answer.err.count("error: ") == 1
    assert hostile.listing(outside) == before
