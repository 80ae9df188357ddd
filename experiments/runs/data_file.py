"""The file data.json in the folder of a run: fingerprints of the data it is trained on.

The config names files, not what is in them. With the fingerprints a resumed run
notices that its data changed, and does not continue as another run.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.json_file import read_json

DATA = "data.json"


def check_data(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Compares the data with those that a run was started with.

    Args:
      folder: of the run; without data.json in it there is nothing to compare.
      fingerprints: by the name of a split.

    Raises:
      UserError: naming the first split that differs, or if the file is damaged.
    """
    try:
        saved = read_json(folder / DATA, dict[str, str])
    except FileNotFoundError:
        return
    for name, now in fingerprints.items():
        if saved.get(name) != now:
            raise UserError(
                f"data: expected the {name} data with which the run in {folder} was "
                f"started (fingerprint {saved.get(name)}), got others ({now}: restore "
                f"the files, or train in another folder)"
            )


def write_data(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Writes the fingerprints into the folder of a run."""
    if fingerprints:
        write_atomic(folder / DATA, json.dumps(dict(fingerprints), indent=2) + "\n")
