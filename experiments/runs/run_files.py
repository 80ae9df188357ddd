"""The files of a run that its parameters are useless without, such as vocabularies.

They are written once, before the first step. Every checkpoint has checksums of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from experiments.errors import DamagedError
from experiments.files import delete, replace_durably
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.data_file import DATA, write_data
from experiments.runs.manifest import Checksum, checksums, compare_files
from experiments.runs.paths import cannot_write, inside


def write_run_files(
    folder: Path,
    save: Callable[[Path], None],
    fingerprints: Mapping[str, str],
    *,
    keep: bool,
) -> dict[str, Checksum]:
    """Writes the files of a run, and the fingerprints of its data.

    Args:
      folder: of the run.
      save: writes the files into an empty folder.
      fingerprints: see `data_file`.
      keep: whether files that are there stay as they are: checkpoints guard them.

    Returns:
      Their checksums by name.

    Raises:
      UserError: if they cannot be written.
    """
    made = folder / ".tmp-files"
    try:
        delete(made)
        made.mkdir()
        save(made)
        write_data(made, fingerprints)
        # The data last: once they are there, so is the rest.
        paths = sorted(made.iterdir(), key=lambda path: (path.name == DATA, path.name))
        for path in paths:
            target = inside(folder, path.name)
            if not (keep and target.exists()):
                replace_durably(path, target)
        delete(made)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return checksums(folder, (path.name for path in paths))


def check_run_files(folder: Path, checkpoints: Checkpoints) -> None:
    """Checks the files of a run.

    Raises:
      DamagedError: naming the first that is as no checkpoint of the run was saved with.
    """
    manifests = checkpoints.manifests().values()
    guarded = [m["run_files"] for m in manifests if "run_files" in m]
    error = None
    for files in reversed(guarded):
        try:
            return compare_run_files(folder, files)
        except DamagedError as damage:  # or it is the manifest of another run
            error = error or damage
    if error is not None:
        raise error
    return None


def compare_run_files(folder: Path, expected: Mapping[str, Checksum]) -> None:
    """Compares the files of a run with the checksums of a checkpoint.

    Raises:
      DamagedError: naming the first file that differs.
    """
    try:
        compare_files(folder, expected)
    except DamagedError as error:
        raise DamagedError(f"{folder}/{error} (copy it back)") from error
