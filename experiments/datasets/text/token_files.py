"""The ids of a whole text as one array, made once and mapped from disk.

Only what is read of it takes memory, so that a text may be larger than that.
"""

import tempfile
from pathlib import Path

import numpy as np

from experiments.cli.progress_bar import ProgressBar
from experiments.datasets.data_dir import (
    fingerprint,
    folder_errors,
    resolve_data_dir,
)
from experiments.datasets.text.datasets import Text
from experiments.datasets.tokenizers.text import TextTokenizer
from experiments.errors import UserError
from experiments.files import atomic_path, lock

_BUFFER = 1 << 20  # ids that are written together


def read_tokens(
    text: Text, tokenizer: TextTokenizer, *, name: str, data_dir: Path | None = None
) -> np.ndarray:
    """Gives the ids of a text, encoding it on first use.

    Args:
      text: what to encode, line by line.
      tokenizer: how.
      name: what to call the text in an error.
      data_dir: where prepared data are kept; `data_dir.default_data_dir()` if None.

    Returns:
      Ids, shape [N], of the smallest unsigned dtype that holds them; mapped from a
      file, read only.

    Raises:
      UserError: if the text is empty or cannot be encoded, or the folder cannot be
        written.
    """
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    if not text.length:
        raise UserError(f"{name}: expected text, got none")
    made_of = (*_identity(tokenizer), text.start, text.stop)
    key = fingerprint(made_of, text.paths)
    folder = resolve_data_dir(data_dir) / "tokens"
    path = folder / f"{key}.{dtype}"
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / f".{key}.lock"):
            if not path.is_file():
                _write(path, text, tokenizer, dtype, name)
        return np.memmap(path, dtype, mode="r")


def _identity(tokenizer: TextTokenizer) -> list[object]:
    """What makes two tokenisers the same: their kind, and the files they save."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    return [type(tokenizer).__name__, *files]


def _write(
    path: Path, text: Text, tokenizer: TextTokenizer, dtype: np.dtype, name: str
) -> None:
    buffer: list[int] = []
    with (
        atomic_path(path) as partial,
        partial.open("wb") as file,
        ProgressBar(f"encoding {name}", text.length) as count,
    ):
        for number, line in enumerate(text, start=1):
            try:
                buffer += tokenizer.encode(line)
            except UserError as error:
                raise UserError(f"{name}, line {number}: {error}") from error
            count.advance(len(line))
            if len(buffer) >= _BUFFER:
                np.array(buffer, dtype).tofile(file)
                buffer.clear()
        np.array(buffer, dtype).tofile(file)
