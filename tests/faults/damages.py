"""Ways in which a file of a run is damaged."""

import json
import os
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.runs.json_file import sealed_json

Damage = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random) -> None:
    """Flips one bit."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    """Cuts the file short."""
    os.truncate(path, rng.randrange(1, path.stat().st_size))


def append(path: Path, rng: random.Random) -> None:
    """Appends bytes."""
    with path.open("ab") as file:
        file.write(rng.randbytes(11))


def by_folder(path: Path, rng: random.Random) -> None:
    """Puts a folder in place of the file."""
    path.unlink()
    path.mkdir()
    (path / "inner").write_text("x")


def by_link(path: Path, rng: random.Random) -> None:
    """Puts a link to a file with the same content in its place."""
    outside = path.with_name(f"outside-{path.name}")
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def by_pipe(path: Path, rng: random.Random) -> None:
    """Puts a pipe that nobody writes to in its place."""
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "flip": flip,
    "flip again": flip,
    "cut": cut,
    "delete": lambda path, rng: path.unlink(),
    "empty": lambda path, rng: os.truncate(path, 0),
    "append": append,
    "folder": by_folder,
    "link": by_link,
    "pipe": by_pipe,
}

# JSON of kinds that a program may not expect.
VALUES = {
    "null": "null",
    "true": "true",
    "negative": "-1",
    "huge": "9" * 30,
    "longer": "9" * 5000,
    "infinite": "1e999",
    "text": '"x"',
    "surrogate": '"\\ud800"',
    "control": '"\\u001b[2J"',
    "list": "[]",
    "object": "{}",
    "deep": "[" * 3000 + "]" * 3000,
}


def wrong_json(path: Path, value: str) -> Iterator[tuple[str, bytes]]:
    """Yields the content of a file of JSON with the value in each place in turn.

    Args:
      path: a file with an object, a list, or an object a line.
      value: JSON.

    Yields:
      The name of the place, and the content; sealed again if it was sealed.
    """
    text = path.read_text()
    first, _, rest = text.partition("\n") if path.suffix == ".jsonl" else (text, "", "")
    plain = json.loads(first)
    sealed = isinstance(plain, dict) and plain.pop("checksum", None) is not None
    yield "all", f"{value}\n{rest}".encode()
    places = plain if isinstance(plain, dict) else range(len(plain))
    for place in places:
        marked: Any = dict(plain) if isinstance(plain, dict) else list(plain)
        marked[place] = "HERE"
        made = sealed_json(marked) if sealed else json.dumps(marked)
        made = made.replace('"HERE"', value)
        if sealed:  # the checksum is of the text with the value
            made = _seal_again(made)
        yield str(place), (f"{made}\n{rest}" if rest else made).encode()


def _seal_again(text: str) -> str:
    body, _, _ = text.rpartition(',\n "checksum"')
    return f'{body},\n "checksum": {zlib.crc32(body.encode())}\n}}\n'
