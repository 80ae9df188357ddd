"""A trained run, ready to be used."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from attnjax.parallel import make_mesh, replicate
from attnjax.train import Params
from experiments.datasets.text_files import read_pairs
from experiments.datasets.tokenizers.sentences import Tokenizer
from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.translate.config import Config
from experiments.translate.system import (
    Ensemble,
    System,
    Tokenizers,
    build_system,
)
from experiments.translate.translator import Translator


class Loaded(NamedTuple):
    """What a run's folder holds."""

    run: Run
    config: Config
    system: System
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh
    members: tuple[Path, ...] = ()  # of an ensemble

    def translator(
        self,
        *,
        source_limit: int | None = None,
        dictionary: Path | None = None,
        **search_settings: Any,
    ) -> Translator:
        """Makes a translator; what is None is as in the run's config.

        Args:
          source_limit: longest source in ids.
          dictionary: file of source words, tab, target words, for unknown words,
            which are then replaced.
          **search_settings: fields of `SearchConfig`.

        Raises:
          UserError: if a setting makes no sense, or the file cannot be read.
        """
        words = None
        if dictionary is not None:
            search_settings["replace_unk"] = True
            words = dict(read_pairs([dictionary]))
        changed = {k: x for k, x in search_settings.items() if x is not None}
        search = dataclasses.replace(self.config.search, **changed)
        search.check(self.system.tokenizers.target.vocab_size)
        limit = self.config.source_limit if source_limit is None else source_limit
        if limit < 1:
            raise UserError(f"source_limit: expected at least 1, got {limit}")
        return Translator(
            self.system,
            search=search,
            source_limit=limit,
            mesh=self.mesh,
            dictionary=words,
        )


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> Loaded:
    """Loads a translation run.

    Args:
      folder: of the run.
      checkpoint: "best" by validation BLEU, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no translation run, or its checkpoint is
        missing, damaged or of another config.
    """
    run = Run.open(folder)
    config = run.config_as(Config)
    tokenizers = Tokenizers.saved(run.folder)
    if tokenizers is None:
        raise UserError(
            f"{run.folder}: expected the run's tokenisers (source.model or source.json "
            "and target.*), got none (it stopped before it began: train again)"
        )
    step = run.checkpoint_step(checkpoint)
    mesh = make_mesh() if mesh is None else mesh
    system, fresh = build_system(config, tokenizers)
    params = run.load_params(
        checkpoint, like=replicate(fresh, mesh), count=config.keep_last
    )
    return Loaded(run, config, system, params, step, mesh)


def load_ensemble(
    folders: Sequence[Path],
    checkpoint: str = "best",
    *,
    combine: Literal["log-linear", "linear"] = "log-linear",
    mesh: Mesh | None = None,
) -> Loaded:
    """Loads several runs of one model as one system; settings are the first one's.

    Args:
      folders: of the runs; one alone is loaded as it is.
      checkpoint: as of `load_run`, of every run.
      combine: how probabilities are joined, as of `attnjax.decode.ensemble`.
      mesh: the devices; by default all there are.

    Raises:
      UserError: as `load_run`, or if the runs differ in model or vocabularies.
    """
    first, *others = [load_run(folder, checkpoint, mesh=mesh) for folder in folders]
    if not others:
        return first
    for other in others:
        _check_same(first, other)
    members = [first.params, *(other.params for other in others)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    return first._replace(
        system=Ensemble(first.system.rebuild, first.system.tokenizers, combine),
        params=replicate(params, first.mesh),
        members=tuple(folders),
    )


def _check_same(first: Loaded, other: Loaded) -> None:
    """Checks that two runs can be joined."""
    if first.config.model != other.config.model:
        raise UserError(
            f"{other.run.folder}: expected the model of {first.run.folder}, got "
            "another (an ensemble is of one model, trained from different seeds)"
        )
    for side in ("source", "target"):
        one, two = (_pieces(getattr(x.system.tokenizers, side)) for x in (first, other))
        if one != two:
            raise UserError(
                f"{other.run.folder}: expected the {side} vocabulary of "
                f"{first.run.folder}, got another (train both on the same text)"
            )


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.ids_to_tokens(range(tokenizer.vocab_size))
