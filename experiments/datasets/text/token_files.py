"""The token ids of a whole text in one file: written once, then memory-mapped.

Only the pages that are read take memory, so a text may be larger than memory.
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

_BUFFER = 1 << 20  # ids per write; a list of them takes 8 MB and more


def read_tokens(
    text: Text, tokenizer: TextTokenizer, *, name: str, data_dir: Path | None = None
) -> np.ndarray:
    """Returns the token ids of a text; tokenises it on first use.

    Args:
      text: the text, tokenised line by line.
      tokenizer: its tokeniser.
      name: name of the text in errors.
      data_dir: folder of prepared data; `data_dir.default_data_dir()` if None.

    Returns:
      Ids, [N], of the smallest unsigned dtype that holds them; memory-mapped and
      read-only.

    Raises:
      UserError: if the text is empty or cannot be tokenised, or the folder cannot be
        written.
    """
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    if not text.length:
        raise UserError(f"{name}: expected text, got none")
    # The key hashes all that the ids depend on, so changed files or another tokeniser
    # get another file and nothing stale is ever read.
    kind = type(text).__name__
    settings = (*_identity(tokenizer), text.start, text.stop)
    if kind != "Text":
        settings = (*settings, kind)
    key = fingerprint(settings, text.paths)
    folder = resolve_data_dir(data_dir) / "tokens"
    path = folder / f"{key}.{dtype}"
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / f".{key}.lock"):
            if not path.is_file():
                _write(path, text, tokenizer, dtype, name)
        return np.memmap(path, dtype, mode="r")


def _identity(tokenizer: TextTokenizer) -> list[object]:
    """Returns what identifies a tokeniser: its class and the files that it saves."""
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
        ProgressBar(f"tokenising {name}", text.length) as count,
    ):
        for number, line in enumerate(text, start=1):
            try:
                buffer += tokenizer.tokenize(line)
            except UserError as error:
                raise UserError(f"{name}, line {number}: {error}") from error
            count.advance(len(line))
            if len(buffer) >= _BUFFER:
                np.array(buffer, dtype).tofile(file)
                buffer.clear()
        np.array(buffer, dtype).tofile(file)
