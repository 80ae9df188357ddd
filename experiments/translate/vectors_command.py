"""The command `vectors` of `python -m experiments.translate`."""

import dataclasses
from pathlib import Path

from experiments.cli.commands import RunOptions, print_status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Vectors(RunOptions):
    """Draws the vectors that a run encodes sentences as, by two principal components.

    The run is of a model that has one vector for each sentence: the final state of
    Seq2Seq's encoder, all layers, or the fixed vector. The picture is that of the
    Seq2Seq paper's figure 2.
    """

    sentences: Path
    """File of sentences of the source language, one a line, three or more; after an
    empty line they have another colour."""
    out: Path
    """File for the picture, with the suffix .png or .svg."""
    title: str = ""
    """Title of the picture."""
    max_source_length: int | None = None
    """Longest source in tokens; None takes the limit of the run's config."""

    def run(self) -> None:
        """Draws the picture."""
        from experiments.cli.exit_codes import invalid_settings
        from experiments.cli.outputs import check_file
        from experiments.translate.loading import load_run
        from experiments.translate.vectors import read_sentences, sentence_vectors

        check_file("out", self.out)
        texts, groups = read_sentences(self.sentences)
        vectors = sentence_vectors(
            load_run(self.run_folder, self.checkpoint),
            texts,
            max_source_length=self.max_source_length,
        )
        # Imported here because matplotlib takes a second.
        from attnjax.viz import vector_plot

        with invalid_settings("out"):
            vector_plot(vectors, texts, self.out, groups=groups, title=self.title)
        print_status(f"drew {len(texts)} sentences in {self.out}")
