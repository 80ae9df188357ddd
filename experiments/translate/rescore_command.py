"""The command `rescore` of `python -m experiments.translate`."""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments.cli.commands import RunFolders, print_status
from experiments.cli.compilation_cache import CompilationOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescore(CompilationOptions):
    """Adds the log-probability of each hypothesis to the n-best lists of any system.

    A line of a list is "id ||| hypothesis ||| features ||| score", as Moses writes it,
    or "id ||| hypothesis ||| score", as `decode --n-best` does; further fields are
    kept. The id is the line of the source, from 0; ids may be missing, or in any order.
    The new feature is a natural logarithm, the higher the better, and includes EOS; an
    empty hypothesis has that of EOS. It is what `score` prints. The word ||| of a
    hypothesis is read and written as Moses escapes it, &#124;&#124;&#124;.
    """

    run_folders: RunFolders
    """Folders of one run, or of several of one architecture, which are an ensemble."""
    source: Path
    """File of source sentences, one a line; gzip is recognised."""
    nbest: Path
    """File of the n-best lists; gzip is recognised."""
    out: Path
    """File for the n-best lists with the new feature."""
    feature: str = "attnjax"
    """Name of the new feature."""
    weight: float | None = None
    """Share w of the log-probability in a new score, (1 - w) * score + w *
    log-probability, which sorts each list; the Seq2Seq paper takes 0.5. None keeps
    scores and order."""
    best_out: Path | None = None
    """File for the first hypothesis of each list, sorted if there is a weight: one line
    for every source, empty where there is no hypothesis."""
    checkpoint: Literal["best", "last", "mean"] = "best"
    """Checkpoint to load: the best in validation, the last, or the mean of the
    parameters over the newest ones (the run's keep_last says how many)."""
    combine: Literal["log-linear", "linear"] = "log-linear"
    """Mean that an ensemble takes of probabilities: geometric (log-linear) or
    arithmetic (linear)."""
    max_source_length: int | None = None
    """Longest source in tokens; None takes the limit of the run's config."""

    def run(self) -> None:
        """Rescores the lists."""
        from experiments.translate.loading import load_ensemble
        from experiments.translate.rescoring import (
            read_lists,
            score_entries,
            write_rescored,
        )

        self._check()
        sources, entries = read_lists(
            self.source, self.nbest, feature=self.feature, weight=self.weight
        )
        loaded = load_ensemble(
            list(self.run_folders), self.checkpoint, combine=self.combine
        )
        translator = loaded.build_translator(max_source_length=self.max_source_length)
        print_status(f"scoring {len(entries)} hypotheses")
        write_rescored(
            entries,
            score_entries(translator, loaded, sources, entries),
            sources=len(sources),
            feature=self.feature,
            out=self.out,
            weight=self.weight,
            best_out=self.best_out,
        )
        lists = len({entry.id for entry in entries})
        print_status(f"wrote {lists} lists of {len(sources)} sources to {self.out}")

    def _check(self) -> None:
        """Checks the options before anything is loaded.

        Raises:
          UserError: naming the first that is invalid.
        """
        from experiments.cli.outputs import check_file
        from experiments.errors import UserError
        from experiments.translate.nbest import check_feature

        check_feature(self.feature)
        if not self.run_folders:
            raise UserError("runs: expected the folder of a run, got none")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise UserError(
                f"weight: expected a share from 0 to 1, got {self.weight} (0 keeps the "
                "scores, 1 takes the model's)"
            )
        inputs = {path.resolve() for path in (self.source, self.nbest)}
        for name, path in (("out", self.out), ("best_out", self.best_out)):
            check_file(name, path)
            if path is not None and path.resolve() in inputs:
                raise UserError(f"{name}: expected another file than the input {path}")
        if self.best_out is not None and self.best_out.resolve() == self.out.resolve():
            raise UserError(f"best_out: expected another file than out, got {self.out}")
