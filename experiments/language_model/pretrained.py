"""Samples from a pretrained model: `sample --pretrained FOLDER`.

The folder is in Hugging Face's format, with its tokeniser in tokenizer.json. A sample
ends at the model's EOS.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax import pretrained
from attnjax.models.gpt import GPT, GPTConfig
from attnjax.models.state import split_abstract
from attnjax.parallel import make_mesh, replicate
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.language_model.model import LanguageModel
from experiments.language_model.sampling import Sampler
from experiments.runs.pretrained import import_package, invalid_folder, read_settings


class PretrainedTokenizer:
    """The tokeniser of a folder: a `TextTokenizer` around the package tokenizers."""

    unknown: int | None = None

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Loads tokenizer.json.

        Args:
          folder: of the model.
          settings: of its config.json and generation_config.json.

        Raises:
          UserError: if the file is missing or damaged, or the package not installed.
        """
        tokenizers = import_package("tokenizers")
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(
                f"pretrained: expected {path}, found none (download it with the model, "
                "or write it with save_pretrained of a fast tokeniser)"
            )
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises no other class
            raise UserError(f"{path}: expected a tokeniser, got {error}") from error
        self._streams = import_package("tokenizers.decoders").DecodeStream
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.vocab_size = self._tokenizer.get_vocab_size()
        size = settings.get("vocab_size", self.vocab_size)
        known = self._tokenizer.get_vocab().values()
        # Tables have rows without a token, to fill them up to a round number.
        self.unused = tuple(sorted(set(range(size)) - set(known)))
        self.ends = _ids(settings.get("eos_token_id"))
        starts = self.tokenize("") or [*_ids(settings.get("bos_token_id")), *self.ends]
        # A text without a prompt begins after BOS, or else EOS; -1 where both are none.
        self.newline = starts[0] if starts else -1

    def tokenize(self, text: str) -> list[int]:
        """See `TextTokenizer`; the ids begin with BOS where the model expects it."""
        return self._tokenizer.encode(text).ids

    def detokenize(self, ids: Sequence[int]) -> str:
        """See `TextTokenizer`: special tokens are left out."""
        return self._tokenizer.decode(list(ids))

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """See `TextTokenizer`: a character comes with the last of its tokens."""
        stream = self._streams(skip_special_tokens=True)
        seen, text = [], ""
        for id_ in ids:
            piece = stream.step(self._tokenizer, int(id_)) or ""
            seen.append(int(id_))
            text += piece
            yield piece
        # A character whose tokens do not all come is only in the text of all ids.
        whole = self.detokenize(seen)
        if whole.startswith(text):
            yield whole[len(text) :]

    def save(self, folder: Path) -> None:
        """See `TextTokenizer`."""
        write_atomic(folder / "tokenizer.json", self._tokenizer.to_str())


class PretrainedSampler(Sampler):
    """Samples tokens until the model's EOS."""

    def tokens(self, rng: Array, prompt: Sequence[int]) -> Iterator[int]:
        """Samples tokens up to the first EOS, which is left out."""
        ends = self.model.tokenizer.ends  # type: ignore[attr-defined]
        for token in super().tokens(rng, prompt):
            if token in ends:
                return
            yield token


def load_sampler(
    folder: Path, *, prompt: str, tokens: int, **options: Any
) -> PretrainedSampler:
    """Loads a folder; what can be checked without its parameters is checked before.

    Args:
      folder: in Hugging Face's format.
      prompt: text that the samples continue.
      tokens: most tokens after the prompt.
      **options: of `Sampler`.

    Raises:
      UserError: if the folder is not one of a language model that is supported, lacks
        a file, or the prompt is too long.
    """
    settings = read_settings(folder)
    if settings.get("model_type") == "marian":
        raise UserError(
            "pretrained: expected a language model, got marian (python -m "
            "experiments.translate decode takes it)"
        )
    tokenizer = PretrainedTokenizer(folder, settings)
    ids = tokenizer.tokenize(prompt) if prompt else [tokenizer.newline]
    if min(ids, default=0) < 0:
        raise UserError(
            "prompt: expected text, got none (config.json has no bos_token_id to begin "
            "with)"
        )
    size = settings.get("vocab_size", tokenizer.vocab_size)
    if max(ids, default=0) >= size:
        raise UserError(
            f"prompt: expected ids below {size} (the model's vocab_size), got "
            f"{max(ids)} (its tokenizer.json has more tokens than the model)"
        )
    with invalid_folder():
        config, params = pretrained.load(folder)
    if not isinstance(config, GPTConfig):  # load knows no other language model
        raise UserError("pretrained: expected a language model")
    rebuild, _ = split_abstract(lambda: GPT(config, rngs=nnx.Rngs(0)))
    # The KV cache holds what is asked for: the whole context may be 131,072 tokens.
    longest = min(config.max_length, len(ids) + tokens)
    short = dataclasses.replace(config, max_length=longest)
    return PretrainedSampler(
        LanguageModel(rebuild, tokenizer, short),
        replicate(jax.tree.map(jnp.asarray, params), make_mesh(1)),
        **options,
    )


def _ids(value: Any) -> tuple[int, ...]:
    """The ids of a setting that is one, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
