"""Translates lines of text: `python -m experiments.translate decode`.

All input is read and checked before the first line is written, so that an invalid line
leaves no partial output behind.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from attnjax.align import Alignment, alignment, write_pharaoh
from attnjax.train import Params
from experiments.cli.checks import check_hypotheses
from experiments.cli.outputs import check_file, check_writable
from experiments.cli.progress_bar import ProgressBar
from experiments.datasets.text_files import decode_lines
from experiments.errors import UserError
from experiments.translate.alignments import END, check_words
from experiments.translate.nbest import escape
from experiments.translate.translator import Translation, Translator

CHUNK = 1024  # lines that are batched by length and written together


def check_outputs(alignments: Path | None, plot: Path | None) -> None:
    """Checks that the output files can be written.

    Raises:
      UserError: if a path is taken, or its folder does not exist.
    """
    check_file("alignments", alignments)
    if plot is not None:
        check_writable("plot", plot)
    if plot is not None and plot.exists():
        if not plot.is_dir():
            raise UserError(f"plot: expected a folder, got the file {plot}")
        if any(plot.iterdir()):
            raise UserError(
                f"plot: expected a new or empty folder, got {plot} with files in it "
                "(name another; nothing there was touched)"
            )


def decode_stream(
    translator: Translator,
    params: Params,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    n_best: int = 1,
    alignments: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Translates a stream: one line of output for every line of input.

    A blank line gives an empty line. With `n_best` above 1 every
    hypothesis is a line `number ||| text ||| score`, as in Moses: lines are numbered
    from 0, the score is the one that ranks hypotheses, and an empty line gives
    `number |||  ||| 0.0000`. The text is escaped (`nbest.escape`).

    Args:
      translator: the model with its search settings.
      params: the model's parameters.
      source: UTF-8 text; a line may end in CRLF.
      sink: receives the translations in UTF-8.
      n_best: number of hypotheses per line.
      alignments: file for the word alignments of the best hypotheses, in Pharaoh
        format; words are separated by blanks. It is written at the end, atomically.
      plot: new or empty folder for a picture of the best hypothesis of each line,
        named by its number, from 1.

    Raises:
      UserError: if a line is not UTF-8 or too long, its words cannot be aligned since
        the tokeniser splits them, or an output cannot be written; no output has been
        written then.
    """
    check_outputs(alignments, plot)
    if n_best < 1:
        raise UserError(f"n_best: expected at least 1, got {n_best}")
    vocab_size = translator.model.tokenizers.target.vocab_size
    check_hypotheses("n_best", n_best, vocab_size)
    lines = list(decode_lines(source, "stdin"))
    encoded = translator.tokenize_sources(lines)
    if alignments or plot or translator.search.replace_unk:
        tokenizer = translator.model.tokenizers.source
        for number, (line, ids) in enumerate(zip(lines, encoded, strict=True)):
            check_words(number, "source", line, len(tokenizer.words(ids)))
    links: list[Alignment] = []
    pictures = None if plot is None else Pictures(plot, len(lines))
    with ProgressBar("translating", len(lines)) as counter:
        for start in range(0, len(lines), CHUNK):
            some = lines[start : start + CHUNK]
            found = translator.translate(
                params,
                some,
                encoded=encoded[start : start + CHUNK],
                n_best=n_best,
                progress=counter.advance,
            )
            for number, hypotheses in enumerate(found, start):
                for line in _format(number, hypotheses, n_best):
                    sink.write(line.encode() + b"\n")
            sink.flush()
            for number, (line, hypotheses) in enumerate(
                zip(some, found, strict=True), start
            ):
                links.append(
                    _links(translator, hypotheses) if alignments else _NO_LINKS
                )
                if pictures is not None and hypotheses:
                    pictures.draw(number, line, hypotheses[0], translator)
    if alignments is not None:
        write_pharaoh(alignments, links)


_NO_LINKS = alignment([])


def _format(
    number: int, hypotheses: Sequence[Translation], n_best: int
) -> Iterator[str]:
    if n_best == 1:
        yield hypotheses[0].text if hypotheses else ""
    elif not hypotheses:
        yield f"{number} |||  ||| {0:.4f}"
    else:
        for found in hypotheses:
            yield f"{number} ||| {escape(found.text)} ||| {found.score:.4f}"


def _links(translator: Translator, hypotheses: Sequence[Translation]) -> Alignment:
    if not hypotheses:
        return _NO_LINKS
    return translator.how.links(_word_weights(translator, hypotheses[0]))


def _word_weights(translator: Translator, found: Translation) -> np.ndarray:
    source, target = translator.model.tokenizers
    ids = found.source_ids[:-1]
    return translator.how.words(found.weights, (source, ids), (target, found.ids))


class Pictures:
    """A folder of alignment pictures."""

    def __init__(self, folder: Path, count: int) -> None:
        """Creates the folder.

        Args:
          folder: new or empty.
          count: number of lines, which sets the digits of file names.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._digits = folder, len(str(count))

    def draw(
        self, number: int, line: str, found: Translation, translator: Translator
    ) -> None:
        """Draws the attention weights of each word of a translation."""
        # Imported here because matplotlib takes a second.
        from attnjax.viz import alignment_plot

        alignment_plot(
            _word_weights(translator, found),
            [*line.split(), END],
            [*found.text.split(), END],
            self._folder / f"{number + 1:0{self._digits}d}.png",
        )
