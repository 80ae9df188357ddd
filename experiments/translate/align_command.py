"""The command `align` of `python -m experiments.translate`."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from experiments.cli.commands import RunOptions, print_status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Align(RunOptions):
    """Aligns the words of given translations, in Pharaoh format: source-target.

    Each line of output holds the links of a pair, such as "0-0 1-2": positions of
    words, from 0, which are separated by blanks. The run reads each target word that is
    given (teacher forcing), and its attention weights make the links; those of subwords
    are merged. With --gold, AER, precision and recall are printed as fractions: on
    stdout if the links go to a file, else on stderr.
    """

    source: Path
    """File of source sentences, one a line; gzip is recognised."""
    target: Path
    """File of their translations, line by line."""
    ensemble: tuple[Path, ...] = ()
    """Further runs of the same architecture; links are made from the mean of all their
    weights."""
    reverse: tuple[Path, ...] = ()
    """Folder of a run that translates in the opposite direction, or of several, whose
    weights are averaged; the links of both directions are combined."""
    symmetrize: Literal[
        "intersection", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"
    ] = "grow-diag-final-and"
    """How the links of two runs are combined, as in Moses."""
    grow: Literal["either", "both"] = "either"
    """When grow-diag adds a link: if one of its words is unaligned, or only if both
    are."""
    row: Literal["before", "after"] | None = None
    """Step of the decoder whose weights belong to a word: the one that predicts it,
    before it is fed; or the next one, after it is fed. None is the one that guided
    alignment trained, or else before."""
    on_end: Literal["unlinked", "next-best"] = "unlinked"
    """What becomes of a target word whose largest weight is on EOS: it has no link, or
    one to the source word with the next largest weight."""
    layer: int | None = None
    """Decoder layer of a Transformer, from 0; None is the one that guided alignment
    trained, or else the last but one."""
    heads: tuple[int, ...] = ()
    """Heads of that layer, from 0, whose mean is taken; by default those that guided
    alignment trained, or else all."""
    gold: Path | None = None
    """File of gold links in Pharaoh format: 0-0 is sure, 0p0 only possible."""
    out: Path | None = None
    """File for the links; None prints them on stdout."""
    weights_out: Path | None = None
    """File for the weights of the run between words, in NumPy's format npz: line_1,
    line_2, ..., each [target words + 1, source words + 1] with EOS last."""
    max_source_length: int | None = None
    """Longest sentence in tokens; None takes the limit of the run's config."""

    def run(self) -> None:
        """Aligns the pairs."""
        from experiments.cli.outputs import check_file
        from experiments.translate.aligning import (
            align_pairs,
            print_scores,
            read_links,
            read_sides,
            score_links,
            write_outputs,
        )
        from experiments.translate.alignments import Extraction
        from experiments.translate.loading import load_ensemble

        check_file("out", self.out)
        check_file("weights_out", self.weights_out)
        pairs = read_sides(self.source, self.target)
        gold = None if self.gold is None else read_links("gold", self.gold, pairs)
        aligned = align_pairs(
            load_ensemble([self.run_folder, *self.ensemble], self.checkpoint),
            pairs,
            Extraction(self.layer, self.heads, self.row, self.on_end),
            reverse=load_ensemble(self.reverse, self.checkpoint)
            if self.reverse
            else None,
            method=self.symmetrize,
            grow=self.grow,
            max_source_length=self.max_source_length,
        )
        write_outputs(aligned, self.out, self.weights_out)
        if gold is not None:
            to = sys.stderr if self.out is None else sys.stdout
            print_scores(score_links(aligned.links, gold), to)
        elif self.out is not None:
            print_status(f"wrote the links of {len(pairs)} pairs to {self.out}")
