"""Loads trained runs, one alone or several as an ensemble."""

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
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.errors import UserError
from experiments.runs.folder import Run
from experiments.training.parameters import abstract_params
from experiments.translate.alignments import Extraction
from experiments.translate.config import Config, SearchConfig
from experiments.translate.model import (
    Ensemble,
    TranslationModel,
    build_model,
)
from experiments.translate.translator import Translator


class LoadedRun(NamedTuple):
    """A run's model and parameters, on the devices."""

    run: Run
    config: Config
    model: TranslationModel
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh
    members: tuple[Path, ...] = ()  # folders of an ensemble's runs

    def build_translator(
        self,
        *,
        max_source_length: int | None = None,
        dictionary: Path | None = None,
        **search_settings: Any,
    ) -> Translator:
        """Builds a translator; None takes a setting from the run's config.

        Args:
          max_source_length: longest source in token ids.
          dictionary: file of lines "source word, tab, target word" that replace
            unknown words; implies `replace_unk`.
          **search_settings: fields of `SearchConfig`.

        Raises:
          UserError: if a setting is out of range, or the file cannot be read.
        """
        return build_translator(
            self.model,
            self.config.search,
            self.mesh,
            max_source_length=self.config.max_source_length
            if max_source_length is None
            else max_source_length,
            dictionary=dictionary,
            how=Extraction().of_run(self.config),
            **search_settings,
        )


def build_translator(
    model: TranslationModel,
    search: SearchConfig,
    mesh: Mesh,
    *,
    max_source_length: int,
    dictionary: Path | None = None,
    how: Extraction = Extraction(),  # noqa: B008  immutable
    **search_settings: Any,
) -> Translator:
    """Builds a translator of a model; `LoadedRun.build_translator` has the rest.

    Args:
      model: the model with its tokenisers.
      search: settings of beam search.
      mesh: the devices.
      max_source_length: longest source in token ids.
      dictionary: file of lines "source word, tab, target word".
      how: which weights align a translation.
      **search_settings: fields of `SearchConfig`; None takes the one of `search`.

    Raises:
      UserError: if a setting is out of range, or the file cannot be read.
    """
    words = None
    if dictionary is not None:
        search_settings["replace_unk"] = True
        words = dict(read_pairs([dictionary], remedy="fix the file"))
    changed = {k: x for k, x in search_settings.items() if x is not None}
    search = dataclasses.replace(search, **changed)
    search.check(model.tokenizers.target.vocab_size)
    if max_source_length < 1:
        raise UserError(
            f"max_source_length: expected at least 1, got {max_source_length}"
        )
    return Translator(
        model,
        search=search,
        max_source_length=max_source_length,
        mesh=mesh,
        dictionary=words,
        how=how,
    )


class _OpenRun(NamedTuple):
    """A run's settings and tokenisers; its parameters are not loaded."""

    run: Run
    config: Config
    tokenizers: Tokenizers


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> LoadedRun:
    """Loads a translation run.

    Args:
      folder: of the run.
      checkpoint: "best" by validation BLEU, "last", or "mean" of the newest.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder holds no translation run, or its checkpoint is
        missing, damaged or of another config.
    """
    return _load(_open(folder), checkpoint, make_mesh() if mesh is None else mesh)


def _open(folder: Path | str) -> _OpenRun:
    run = Run.open(folder)
    config = run.config_as(Config)
    tokenizers = Tokenizers.saved(run.folder)
    if tokenizers is None:
        raise UserError(
            f"{run.folder}: expected the run's tokenisers (source.model or source.json "
            "and target.*), got none (it stopped before it began: train again)"
        )
    return _OpenRun(run, config, tokenizers)


def _load(opened: _OpenRun, checkpoint: str, mesh: Mesh) -> LoadedRun:
    run, config, tokenizers = opened
    step = run.checkpoint_step(checkpoint)
    model, shapes = abstract_params(lambda: build_model(config, tokenizers), mesh)
    count = run.saved_keep_last(config.keep_last)
    params = run.load_params(checkpoint, like=shapes, count=count)
    return LoadedRun(run, config, model, params, step, mesh)


def load_ensemble(
    folders: Sequence[Path],
    checkpoint: str = "best",
    *,
    combine: Literal["log-linear", "linear"] = "log-linear",
    mesh: Mesh | None = None,
) -> LoadedRun:
    """Loads several runs of one architecture as an ensemble.

    Settings, such as those of beam search, are those of the first run.

    Args:
      folders: of the runs; one alone is loaded as it is.
      checkpoint: as in `load_run`, for every run.
      combine: how probabilities are combined, as in `attnjax.decode.ensemble`.
      mesh: the devices; by default all there are.

    Raises:
      UserError: as `load_run`, or if the runs differ in model or vocabularies.
    """
    opened = [_open(folder) for folder in folders]
    for other in opened[1:]:  # before parameters are loaded, which takes longer
        _check_same(opened[0], other)
    mesh = make_mesh() if mesh is None else mesh
    members = [_load(run, checkpoint, mesh) for run in opened]
    first = members[0]
    if len(members) == 1:
        return first
    params = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(member.params for member in members)
    )
    return first._replace(
        model=Ensemble(
            first.model.rebuild,
            first.model.tokenizers,
            first.model.max_positions,
            combine=combine,
        ),
        params=replicate(params, mesh),
        members=tuple(folders),
    )


def _check_same(first: _OpenRun, other: _OpenRun) -> None:
    """Checks that two runs can form an ensemble."""
    if first.config.model != other.config.model:
        raise UserError(
            f"{other.run.folder}: expected the model of {first.run.folder}, got "
            "another (an ensemble is of one model, trained from different seeds)"
        )
    for side in ("source", "target"):
        one, two = (_pieces(getattr(run.tokenizers, side)) for run in (first, other))
        if one != two:
            raise UserError(
                f"{other.run.folder}: expected the {side} vocabulary of "
                f"{first.run.folder}, got another (train both on the same text)"
            )


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.ids_to_tokens(range(tokenizer.vocab_size))
