"""Random bits of every file of a run, and what the commands make of them.

    nice python -m tests.faults.sweep [--bits 3000] [--seed 0] [--minutes 60]

Each bit is flipped in a copy of a sound run of the tiny task; then its best checkpoint
is loaded, and the run is resumed. Every kind of file gets as many bits. It ends with a
table: how often the result was the same, was that of another checkpoint and said so, or
was one line; and how often none of it, which are the failures.
"""

import argparse
import collections
import contextlib
import io
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from experiments import files
from experiments.training.trainer import train
from tests.faults import tiny


def answer(*arguments: object) -> tuple[int, str, str]:
    """Runs a command line of the tiny task; exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            tiny.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            return 1, out.getvalue(), f"Traceback: {error!r}"
    return code, out.getvalue(), err.getvalue()


def judge(got: tuple[int, str, str], wanted: str) -> str:
    """Names the kind of an answer."""
    code, out, err = got
    if code == 0 and out == wanted:
        return "the same" if "damaged" not in err else "the same, and said so"
    if code == 0 and "damaged" in err:
        return "another, and said so"
    if code == 2 and out == "" and err.count("error: ") == 1:
        return "one line"
    return "FAILED"


def kind_of(name: str) -> str:
    """Sorts the files of a run into those that the table tells apart."""
    if "/arrays/" in name:
        return "arrays"
    return name.rpartition("/")[2] if "tensorboard" not in name else "tensorboard"


def main() -> int:
    """Flips bits, prints the table, and returns the number of failures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bits", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after them")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    files._flush = lambda path: None  # no machine crashes here
    rng = random.Random(options.seed)
    table: dict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    with tempfile.TemporaryDirectory() as temporary:
        sound, folder = Path(temporary, "sound"), Path(temporary, "run")
        with contextlib.redirect_stderr(io.StringIO()):
            train(tiny.TinyTask, tiny.TinyConfig(), sound)
        best, last = answer("load", sound, "best")[1], answer("train", sound)[1]
        names: dict[str, list[str]] = collections.defaultdict(list)
        for path in sorted(sound.rglob("*")):
            if path.is_file() and path.stat().st_size:
                name = str(path.relative_to(sound))
                names[kind_of(name)].append(name)
        for n in range(options.bits):
            if time.monotonic() > end:
                break
            name = rng.choice(names[sorted(names)[n % len(names)]])
            shutil.copytree(sound, folder)
            content = bytearray((folder / name).read_bytes())
            place, bit = rng.randrange(len(content)), rng.randrange(8)
            content[place] ^= 1 << bit
            (folder / name).write_bytes(content)
            for command, wanted in (
                (("load", folder, "best"), best),
                (("train", folder), last),
            ):
                got = answer(*command)
                found = judge(got, wanted)
                table[f"{command[0]:<6}{kind_of(name)}"][found] += 1
                if found == "FAILED":
                    print(f"{name} byte {place} bit {bit} {command[0]}: {got}")
            shutil.rmtree(folder)
            if n % 250 == 249:
                print(f"{n + 1} bits", file=sys.stderr, flush=True)
    for row in sorted(table):
        counts = ", ".join(f"{n} {what}" for what, n in table[row].most_common())
        print(f"{row:<26}{counts}")
    total = sum(table.values(), collections.Counter())
    print(f"{total.total() // 2} bits, seed {options.seed}: {dict(total)}")
    return total["FAILED"]


if __name__ == "__main__":
    sys.exit(main() > 0)
