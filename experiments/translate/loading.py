"""A trained run, ready to be used."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from jax.sharding import Mesh

from attnjax.parallel import make_mesh, replicate
from attnjax.train import Params
from experiments.errors import UserError
from experiments.folder import Run
from experiments.translate.config import Config
from experiments.translate.system import System, Tokenizers, build_system
from experiments.translate.translator import Translator


class Loaded(NamedTuple):
    """What a run's folder holds."""

    run: Run
    config: Config
    system: System
    params: Params  # on every device of the mesh
    step: int  # of the checkpoint
    mesh: Mesh

    def translator(
        self,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        source_limit: int | None = None,
    ) -> Translator:
        """Makes a translator; what is None is as in the run's config.

        Raises:
          UserError: if a setting makes no sense.
        """
        search = self.config.search
        if beam_size is not None:
            search = dataclasses.replace(search, beam_size=beam_size)
        if length_penalty is not None:
            search = dataclasses.replace(search, length_penalty=length_penalty)
        search.check(self.system.tokenizers.target.vocab_size)
        limit = self.config.source_limit if source_limit is None else source_limit
        if limit < 1:
            raise UserError(f"source_limit: expected at least 1, got {limit}")
        return Translator(
            self.system, search=search, source_limit=limit, mesh=self.mesh
        )


def load_run(
    folder: Path | str, checkpoint: str = "best", *, mesh: Mesh | None = None
) -> Loaded:
    """Loads a translation run.

    Args:
      folder: of the run.
      checkpoint: "best" by validation BLEU, or "last".
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
    params = run.load_params(checkpoint, like=replicate(fresh, mesh))
    return Loaded(run, config, system, params, step, mesh)
