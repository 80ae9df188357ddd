"""Reads lines of words: `python -m experiments.transduce decode`."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from experiments.datasets.text_files import decode_lines
from experiments.transduce.loading import LoadedRun
from experiments.transduce.reading import BatchReader


def decode_stream(
    loaded: LoadedRun,
    reader: BatchReader,
    source: BinaryIO,
    *,
    n_best: int = 1,
    paths: bool = False,
) -> Iterator[str]:
    """Reads an input of each line; a line may be empty. All input is checked first.

    Args:
      loaded: the run.
      reader: decodes with its model.
      source: UTF-8 text; in a line a word, in upper or lower case, or a WAV file.
      n_best: most readings of an input that are shown, each with its log-probability.
      paths: whether each label is shown with its place: the number of its letter, from
        1, or the second.

    Yields:
      For each line its labels; with `n_best` above 1 a line for each reading: the
      input, the labels, the log-probability in nats, with tabs between them.

    Raises:
      UserError: if a line is not UTF-8, or has a letter that no training word has; or a
        file is missing, or no sound of the right format.
    """
    names = [reader.name(line) for line in decode_lines(source, "stdin")]
    given = reader.parse(names)
    found = reader.read(loaded.params, given)
    shown = [
        (n, ids, log_prob)
        for n, readings in enumerate(found)
        for ids, log_prob in readings[:n_best]
    ]
    places: list[list[int]] = [[]] * len(shown)
    if paths and shown:
        inputs, outputs = [given[n] for n, _, _ in shown], [ids for _, ids, _ in shown]
        places = reader.paths(loaded.params, inputs, outputs)
    lines: list[list[str]] = [[] for _ in names]
    for (n, ids, log_prob), where in zip(shown, places, strict=True):
        text = " ".join(_symbols(reader, ids, where))
        if n_best > 1:
            text = f"{names[n]}\t{text}\t{log_prob:.4f}"
        lines[n].append(text)
    for some in lines:
        yield from some or [""]


def _symbols(
    reader: BatchReader, ids: Sequence[int], where: Sequence[int]
) -> list[str]:
    symbols = reader.symbols(ids)
    if not where:
        return symbols
    return [
        f"{symbol}@{reader.place(at)}"
        for symbol, at in zip(symbols, where, strict=True)
    ]
