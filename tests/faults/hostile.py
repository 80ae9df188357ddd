"""Runs that a stranger made: they must neither reach out of their folder nor harm.

    python -m tests.faults.hostile [FOLDER]

makes each of them from a sound run, runs the commands on it as processes with a
terminal, and compares what lies outside before and after, byte for byte. It counts the
control characters on the terminal and the memory that was taken.
"""

import hashlib
import json
import os
import pty
import resource
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.runs.json_file import sealed_json

MEMORY = 2 << 30  # bytes
# folder of a sound run, a folder outside of it with the file `precious`
Trick = Callable[[Path, Path], None]
NEWEST = "checkpoints/00000012"


def link(name: str, to: str = "precious") -> Trick:
    """Puts a link to something outside under a name in the run."""

    def make(folder: Path, outside: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(outside / to)

    return make


def move_out(name: str) -> Trick:
    """Moves a part of the run outside, and leaves a link."""

    def make(folder: Path, outside: Path) -> None:
        shutil.move(folder / name, outside / "moved")
        (folder / name).symlink_to(outside / "moved")

    return make


def stray(name: str, *, is_folder: bool = True) -> Trick:
    """Puts a folder or a file that is none of the run's into it."""

    def make(folder: Path, outside: Path) -> None:
        if is_folder:
            (folder / name).mkdir()
        else:
            (folder / name).write_text("x")

    return make


def forge_manifest(change: Callable[[dict[str, Any], Path], None]) -> Trick:
    """Changes the newest manifest; its checksum is right."""

    def make(folder: Path, outside: Path) -> None:
        path = folder / NEWEST / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["checksum"]
        change(manifest, outside)
        path.write_text(sealed_json(manifest))

    return make


def forge_config(**changes: Any) -> Trick:
    """Changes settings in the config and in every manifest."""

    def make(folder: Path, outside: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | changes))
        for manifest in folder.glob("checkpoints/*/manifest.json"):
            values = json.loads(manifest.read_text())
            del values["checksum"]
            values["config"] |= changes
            manifest.write_text(sealed_json(values))

    return make


def _outside_file(name: str) -> Callable[[dict[str, Any], Path], None]:
    def change(manifest: dict[str, Any], outside: Path) -> None:
        content = (outside / "precious").read_bytes()
        place = name.format(outside=outside)
        manifest["files"][place] = [len(content), zlib.crc32(content)]

    return change


def _huge(manifest: dict[str, Any], outside: Path) -> None:
    manifest["shapes"] = {
        name: [dtype, [1 << 20, 1 << 20]]
        for name, (dtype, _) in manifest["shapes"].items()
    }


def _many_zeros(folder: Path, outside: Path) -> None:
    """A gigabyte of JSON that takes no room on the disk."""
    with (folder / "vocabulary.json").open("wb") as file:
        file.truncate(1 << 30)
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 30)


def _control_names(folder: Path, outside: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["\x1b]0;title\x07\x1b[2J"] = 1
    (folder / "config.json").write_text(json.dumps(config))


TRICKS: dict[str, Trick] = {
    "temporary file": link(".tmp-evaluation.json"),
    "temporary config": link(".tmp-config.json"),
    "temporary log": link(".tmp-metrics.jsonl"),
    "temporary manifest": link(f"{NEWEST}/.tmp-manifest.json"),
    "temporary checkpoint": link("checkpoints/.tmp-00000014", ""),
    "temporary files": link(".tmp-files", ""),
    "lock": link(".lock"),
    "log": link("metrics.jsonl"),
    "record": link("evaluation.json"),
    "config": move_out("config.json"),
    "tensorboard": link("tensorboard", ""),
    "pictures": link("pictures", ""),
    "checkpoints": move_out("checkpoints"),
    "a checkpoint": move_out(NEWEST),
    "its arrays": move_out(f"{NEWEST}/arrays"),
    "damaged before": link(f"{NEWEST}.damaged", ""),
    "stray ²": stray("checkpoints/²"),
    "stray 15": stray("checkpoints/15"),
    "stray 9 digits": stray("checkpoints/000000012"),
    "stray file": stray("checkpoints/00000014", is_folder=False),
    "stray folder": stray("checkpoints/00000014"),
    "absolute path": forge_manifest(_outside_file("{outside}/precious")),
    "parent": forge_manifest(_outside_file("../../../outside/precious")),
    "huge arrays": forge_manifest(_huge),
    "huge files": _many_zeros,
    "huge number": forge_config(keep_last=10**30),
    "huge batch": forge_config(batch_size=2**40),
    "control characters": _control_names,
}


def listing(folder: Path) -> dict[str, str]:
    """Hashes all that is in a folder; of a link, what it names."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def make_hostile(trick: str, sound: Path, place: Path) -> tuple[Path, Path]:
    """Makes a run, and the folder `outside` beside it that must stay as it is."""
    folder, outside = place / "run", place / "outside"
    shutil.copytree(sound, folder)
    outside.mkdir()
    (outside / "precious").write_text("years of work")
    TRICKS[trick](folder, outside)
    return folder, outside


def on_terminal(*arguments: str) -> tuple[int, bytes, int]:
    """Runs a command of the tiny task on a terminal.

    Returns:
      Its exit code, all that it wrote, and the most memory that it took, in bytes.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "dumb", "JAX_PLATFORMS": "cpu"}
        program = (sys.executable, "-m", "tests.faults.tiny", *arguments)
        os.execv(sys.executable, program)
    written = b""
    while True:
        try:
            block = os.read(terminal, 1 << 16)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not block:
            break
        written += block
    _, status, usage = os.wait4(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written, usage.ru_maxrss << 10


def controls(written: bytes) -> bytes:
    """The control characters in what a terminal got; it begins lines with CR LF."""
    text = written.replace(b"\r\n", b"\n")
    return bytes(x for x in text if (x < 32 and x not in b"\n\t") or x == 127)


def main(place: Path) -> int:
    """Runs every trick; returns the number of those that did something."""
    sound, failures = place / "sound", 0
    code, written, _ = on_terminal("train", str(sound))
    assert code == 0, written.decode()
    print("what the stranger did: exit codes of load and train, memory, what changed")
    for n, trick in enumerate(TRICKS):
        base = place / str(n)
        base.mkdir()
        folder, outside = make_hostile(trick, sound, base)
        before, codes, memory, found = listing(outside), [], 0, b""
        for command in (("load", folder, "best"), ("train", folder)):
            code, written, taken = on_terminal(*map(str, command))
            codes.append(code)
            memory, found = max(memory, taken), found + controls(written)
            found += b"" if b"Traceback" not in written else b"T"
        bad = listing(outside) != before or found or memory > MEMORY
        failures += bool(bad)
        print(
            f"{trick:<22} {codes} {memory >> 20:5} MiB  "
            f"{'CHANGED' if listing(outside) != before else 'nothing'} {found!r}",
            flush=True,
        )
        shutil.rmtree(base)
    print(f"{len(TRICKS)} runs of a stranger, {failures} of them did harm")
    return failures


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary)))
