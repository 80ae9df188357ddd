"""Translates with a pretrained Marian model: `decode --pretrained FOLDER`.

The folder is in Hugging Face's format, with source.spm, target.spm and vocab.json (and
target_vocab.json, if each language has its own). Its ids are put in the order of a
run's, PAD, BOS, EOS, UNK first, which changes no probability.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from attnjax import pretrained
from attnjax.models.state import split_abstract
from attnjax.models.transformer import Transformer, TransformerConfig
from attnjax.parallel import make_mesh, replicate
from attnjax.train import Params
from experiments.datasets.tokenizers.marian import (
    MarianTokenizer,
    SpecialIds,
    vocabulary_order,
)
from experiments.datasets.tokenizers.sentences import BOS, PAD
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.errors import UserError
from experiments.runs.pretrained import invalid_folder, read_json, read_settings
from experiments.translate.config import SearchConfig
from experiments.translate.loading import build_translator
from experiments.translate.model import TranslationModel
from experiments.translate.translator import Translator

SUPPRESSED = -1e9  # an output bias that leaves no probability, and no NaN
# Settings of a generation_config.json that change translations, and the value of each
# that changes nothing.
NEUTRAL = {
    "forced_bos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "min_length": 0,
    "min_new_tokens": None,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
}


class LoadedPretrained(NamedTuple):
    """A pretrained model and its parameters, on the devices."""

    model: TranslationModel
    params: Params
    search: SearchConfig
    max_source_length: int
    mesh: Mesh

    def build_translator(
        self, *, max_source_length: int | None = None, **settings: Any
    ) -> Translator:
        """Builds a translator; None takes a setting from the folder."""
        return build_translator(
            self.model,
            self.search,
            self.mesh,
            max_source_length=self.max_source_length
            if max_source_length is None
            else max_source_length,
            **settings,
        )


def load_pretrained(
    folder: Path, *, ensemble: Sequence[Path] = (), mesh: Mesh | None = None
) -> LoadedPretrained:
    """Loads a folder; what can be checked without its parameters is checked before.

    Args:
      folder: in Hugging Face's format.
      ensemble: further folders, which must be none.
      mesh: the devices; by default all there are.

    Raises:
      UserError: if the folder is not one of a Marian model that is supported, or lacks
        a file.
    """
    if ensemble:
        raise UserError("ensemble: expected none with --pretrained (name runs only)")
    settings = read_settings(folder)
    kind = settings.get("model_type")
    if kind != "marian":
        raise UserError(
            f"pretrained: expected a translation model of type marian, got {kind} "
            "(python -m experiments.language_model sample takes language models)"
        )
    files = _Files(folder, settings)
    search = _search_config(settings, files.source_ids.pad)
    with invalid_folder():
        config, params = pretrained.marian(folder)
    orders = files.orders(config)
    sized = dataclasses.replace(
        config, source_vocab_size=len(orders[0]), target_vocab_size=len(orders[1])
    )
    rebuild: Any
    rebuild, _ = split_abstract(lambda: Transformer(sized, rngs=nnx.Rngs(0)))
    mesh = make_mesh() if mesh is None else mesh
    params = reorder_vocabulary(params, *orders)
    if settings.get("renormalize_logits"):
        # Padding is never generated: without its probability, the others sum to 1.
        params["b_output"][PAD] = SUPPRESSED
    ordered = jax.tree.map(jnp.asarray, params)
    return LoadedPretrained(
        TranslationModel(rebuild, files.tokenizers(orders)),
        replicate(ordered, mesh),
        search,
        config.max_length - 1,  # EOS is one of its positions
        mesh,
    )


def reorder_vocabulary(
    params: Params, source: Sequence[int], target: Sequence[int]
) -> Params:
    """Puts the rows of a vocabulary's tables into another order.

    A target id that occurs twice, as PAD and as BOS, keeps its probability as PAD.

    Args:
      params: of a Marian model.
      source: the model's id of each source id.
      target: the model's id of each target id.

    Returns:
      The parameters, whose tables have as many rows as there are ids.
    """
    rows = {"target_embedding": params["target_embedding"][np.asarray(target)]}
    if "source_embedding" in params:
        rows["source_embedding"] = params["source_embedding"][np.asarray(source)]
        rows["w_output"] = params["w_output"][np.asarray(target)]
    bias = params["b_output"][np.asarray(target)]
    if target[BOS] == target[PAD]:
        bias[BOS] = SUPPRESSED
    return params | rows | {"b_output": bias}


def _search_config(settings: dict[str, Any], pad: int) -> SearchConfig:
    """Takes what `SearchConfig` has of a generation_config.json; checks the rest."""
    for name, neutral in NEUTRAL.items():
        if settings.get(name) not in (None, neutral):
            raise UserError(
                f"{name}: expected {neutral}, got {settings[name]!r} (it is not "
                "supported: take it out of generation_config.json)"
            )
    for ids in settings.get("bad_words_ids") or []:
        if ids != [pad]:
            raise UserError(
                f"bad_words_ids: expected that of padding alone, [[{pad}]], got "
                f"{settings['bad_words_ids']} (take the others out of "
                "generation_config.json)"
            )
    found = SearchConfig()
    changes = {
        "beam_size": settings.get("num_beams"),
        "no_repeat_ngram_size": settings.get("no_repeat_ngram_size"),
    }
    return dataclasses.replace(
        found, **{name: x for name, x in changes.items() if x is not None}
    )


class _Files:
    """The tokenisers' files of a folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Reads the vocabularies; fails before parameters are loaded."""
        names = ["source.spm", "target.spm", "vocab.json"]
        apart = not settings.get("share_encoder_decoder_embeddings", True)
        # Two tables may still share one vocabulary.
        self._apart = apart and (folder / "target_vocab.json").is_file()
        for name in names:
            if not (folder / name).is_file():
                raise UserError(
                    f"pretrained: expected {', '.join(names)} in {folder}, found no "
                    f"{name} (download it with the model)"
                )
        self._models = [folder / names[0], folder / names[1]]
        vocabularies = [folder / "vocab.json"]
        vocabularies.append(
            folder / "target_vocab.json" if self._apart else vocabularies[0]
        )
        self._vocabularies = [read_json(path) for path in vocabularies]
        self.source_ids, self.target_ids = (
            _special_ids(settings, vocabulary, path)
            for vocabulary, path in zip(self._vocabularies, vocabularies, strict=True)
        )

    def orders(self, config: TransformerConfig) -> tuple[list[int], list[int]]:
        """The model's id of each id of the source's and the target's vocabulary."""
        return (
            vocabulary_order(config.source_vocab_size, self.source_ids),
            vocabulary_order(config.target_vocab_size, self.target_ids),
        )

    def tokenizers(self, orders: tuple[list[int], list[int]]) -> Tokenizers:
        """Loads both tokenisers."""
        sides = zip(self._models, self._vocabularies, orders, strict=True)
        made = []
        for path, vocabulary, order in sides:
            try:
                made.append(MarianTokenizer(path.read_bytes(), vocabulary, order))
            except UserError as error:
                raise UserError(f"{path}: expected a tokeniser, got {error}") from error
        return Tokenizers(*made)


def _special_ids(
    settings: dict[str, Any], vocabulary: dict[str, Any], path: Path
) -> SpecialIds:
    """The special ids, by the settings and the names of their tokens."""
    eos = settings.get("eos_token_id", 0)
    if not isinstance(eos, int):
        raise UserError(f"eos_token_id: expected one id, got {eos!r}")
    if "<unk>" not in vocabulary:
        raise UserError(f"{path}: expected the token <unk>, found none")
    pad = settings.get("pad_token_id", vocabulary.get("<pad>"))
    start = settings.get("decoder_start_token_id", pad)
    if pad is None or start is None:
        raise UserError(
            "pad_token_id: expected an id in config.json, got none (Marian models "
            "begin a translation with it)"
        )
    return SpecialIds(pad=pad, start=start, eos=eos, unk=vocabulary["<unk>"])
