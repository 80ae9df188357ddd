"""Samples text from a run: `python -m experiments.language_model sample`.

Tokens are streamed as they are sampled, one decoding step with a KV cache each. A text
may be longer than the cache: when that is full, it is prefilled again with the last
half of its tokens, and sampling continues from there.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core.precision import upcast
from attnjax.decode.logits_processors import check_warp_arguments, warp_logits
from attnjax.train import Params
from experiments.cli.checks import LARGEST_SEED
from experiments.cli.exit_codes import invalid_settings
from experiments.errors import UserError
from experiments.language_model.model import LanguageModel

SEPARATOR = "---"  # a line between two samples


class Sampler:
    """Samples tokens from a model."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> None:
        """Jits prefill and decoding; options as in `attnjax.decode.sample`.

        Raises:
          UserError: if an option is out of range.
        """
        self.model, self._params = model, params
        self.max_length = model.config.max_length
        self._fills_up = model.capacity is not None
        if not temperature > 0:
            raise UserError(
                f"temperature: expected a positive number, got {temperature} (for the "
                "likeliest tokens, use --top-k 1)"
            )
        options = partial(
            warp_logits,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        )
        with invalid_settings():
            check_warp_arguments(model.config.vocab_size, **options.keywords)
        self._options = options
        self._prefill = jax.jit(self._prefill_cache)
        self._step = jax.jit(self._decode_one, donate_argnums=1)
        self._draw = jax.jit(self._draw_one)

    def tokenize_prompt(self, prompt: str) -> list[int]:
        """Tokenises a prompt; an empty one becomes a newline.

        Raises:
          UserError: if the prompt has unknown words or characters, or is longer than
            the model's max_length.
        """
        tokenizer = self.model.tokenizer
        if not prompt:
            return [tokenizer.newline]
        try:
            prompt.encode()
        except UnicodeEncodeError as error:  # a byte of the command line, as it is
            raise UserError(
                f"prompt: expected UTF-8, got the byte "
                f"0x{ord(prompt[error.start]) & 0xFF:02x} (set the terminal to UTF-8)"
            ) from None
        try:
            ids = tokenizer.tokenize(prompt)
        except UserError as error:
            raise UserError(f"prompt: {error}") from error
        for word in prompt.split():
            if tokenizer.unknown in tokenizer.tokenize(word):
                raise UserError(
                    f"prompt: expected words of the training data, got "
                    f"{word!r} (it has no id: leave it out)"
                )
        if not ids:
            raise UserError("prompt: expected text, got blanks only")
        if self._fills_up and len(ids) > self.max_length:
            raise UserError(
                f"prompt: expected at most {self.max_length} tokens (the context), got "
                f"{len(ids)} (shorten it)"
            )
        return ids

    def tokens(self, rng: Array, prompt: Sequence[int]) -> Iterator[int]:
        """Samples tokens without end.

        Until the KV cache is full these are the tokens that `attnjax.decode.sample`
        draws with this key for one row, after prefilling the prompt.

        Args:
          rng: random key.
          prompt: ids before the first sampled token, at least one.

        Yields:
          The id of each sampled token.
        """
        rng = jax.random.fold_in(rng, 0)
        context = list(prompt)
        carry, logits = self._prefill(self._params, jnp.array([context], jnp.int32))
        for t in itertools.count():
            token = self._draw(jax.random.fold_in(rng, t), logits)
            context.append(int(token))
            yield context[-1]
            if not self._fills_up or len(context) <= self.max_length:
                carry, logits = self._step(self._params, carry, token)
            else:
                context = context[-max(1, self.max_length // 2) :]
                ids = jnp.array([context], jnp.int32)
                carry, logits = self._prefill(self._params, ids)

    def _prefill_cache(self, params: Params, tokens: Array) -> tuple[Any, Array]:
        """The carry after tokens [1, T], and the logits [V] of the next token."""
        model = self.model.rebuild(params)
        carry, logits = model.prefill(self.model.start(params, 1), tokens)
        return carry, logits[0, -1]

    def _decode_one(
        self, params: Params, carry: Any, token: Array
    ) -> tuple[Any, Array]:
        """The carry after one more token [], and the logits [V] of the next."""
        carry, logits, _ = self.model.rebuild(params).step(carry, token[None])
        return carry, logits[0]

    def _draw_one(self, rng: Array, logits: Array) -> Array:
        """Samples a token [] from logits [V], truncated as the options say."""
        unused = jnp.array(self.model.tokenizer.unused, jnp.int32)
        logits = upcast(logits).at[unused].set(-jnp.inf)
        return jax.random.categorical(rng, self._options(logits)).astype(jnp.int32)


def stream_samples(
    sampler: Sampler,
    sink: BinaryIO,
    *,
    prompt: str = "",
    tokens: int = 500,
    samples: int = 1,
    seed: int = 0,
    escape_controls: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Streams samples to a file, token by token.

    Sample k is a function of the seed and k, whatever the number of samples.

    Args:
      sampler: the model and the sampling options.
      sink: receives UTF-8; each sample ends in a newline, and a line of `SEPARATOR`
        separates two samples.
      prompt: text that each sample continues.
      tokens: number of tokens after the prompt.
      samples: number of samples.
      seed: seed of all samples.
      escape_controls: replace characters that control a terminal by U+FFFD.
      say: reports how long it took.

    Raises:
      UserError: if a number or the prompt is invalid; no output has been written then.
    """
    for name, value, least in (
        ("tokens", tokens, 1),
        ("samples", samples, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UserError(f"{name}: expected at least {least}, got {value}")
        if value > LARGEST_SEED:
            raise UserError(f"{name}: expected at most {LARGEST_SEED}, got {value}")
    ids = sampler.tokenize_prompt(prompt)
    shown = ids if prompt else []
    for k in range(samples):
        if k:
            sink.write(f"{SEPARATOR}\n".encode())
        began = time.monotonic()
        rng = jax.random.fold_in(jax.random.key(seed), k)
        count = itertools.count()
        sampled = itertools.islice(sampler.tokens(rng, ids), tokens)
        # Counted, because a sampler may end before so many tokens.
        drawn = (token for token, _ in zip(sampled, count, strict=False))
        last = "\n"
        for text in sampler.model.tokenizer.stream(itertools.chain(shown, drawn)):
            last = text[-1:] or last
            text = _without_controls(text) if escape_controls else text
            sink.write(text.encode())
            sink.flush()
        if last != "\n":
            sink.write(b"\n")
        sink.flush()
        say(f"{next(count)} tokens in {time.monotonic() - began:.1f} s")


def _without_controls(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
