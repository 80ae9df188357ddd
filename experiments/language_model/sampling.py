"""Letting a run write: `python -m experiments.language_model sample`.

Tokens are given as they are drawn, each from one step with a cache of keys and
values. There may be more of them than the context holds: when it is full, the cache
is made again of the last half of it, and writing goes on from there.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

import jax
import jax.numpy as jnp
from jax import Array

from attnjax.core.precision import upcast
from attnjax.decode.logits_processors import check_truncation, truncate
from attnjax.train import Params
from attnjax.transformer.cache import KVCache
from experiments.cli.exit_codes import settings_at_fault
from experiments.errors import UserError
from experiments.language_model.system import System

SEPARATOR = "---"  # a line between two samples


class Writer:
    """A system with parameters, ready to write."""

    def __init__(
        self,
        system: System,
        params: Params,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
    ) -> None:
        """Prepares to write; the options are those of `attnjax.decode.sample`.

        Raises:
          UserError: if an option makes no sense.
        """
        self.system, self._params = system, params
        self.context = system.config.max_length
        if not temperature > 0:
            raise UserError(
                f"temperature: expected a positive number, got {temperature} (for the "
                "likeliest tokens, use --top-k 1)"
            )
        options = partial(
            truncate, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
        )
        with settings_at_fault():
            check_truncation(system.config.vocab_size, **options.keywords)
        self._options = options
        self._read = jax.jit(self._read_at_once)
        self._step = jax.jit(self._read_one, donate_argnums=1)
        self._draw = jax.jit(self._draw_one)

    def encode(self, prompt: str) -> list[int]:
        """Makes ids of what a text shall begin with: a newline, if with nothing.

        Raises:
          UserError: if the prompt has what the tokeniser does not know, or is longer
            than the context.
        """
        tokenizer = self.system.tokenizer
        if not prompt:
            return [tokenizer.newline]
        try:
            ids = tokenizer.encode(prompt)
        except UserError as error:
            raise UserError(f"prompt: {error}") from error
        for word in prompt.split():
            if tokenizer.unknown in tokenizer.encode(word):
                raise UserError(
                    f"prompt: expected words of the text that was learnt from, got "
                    f"{word!r} (it has no id: leave it out)"
                )
        if not ids:
            raise UserError("prompt: expected text, got blanks only")
        if len(ids) > self.context:
            raise UserError(
                f"prompt: expected at most {self.context} tokens (the context), got "
                f"{len(ids)} (shorten it)"
            )
        return ids

    def tokens(self, rng: Array, prompt: Sequence[int]) -> Iterator[int]:
        """Draws tokens, for ever.

        Up to the end of the context these are the tokens that `attnjax.decode.sample`
        draws with this key, one row, and the prompt already read.

        Args:
          rng: random key.
          prompt: ids that stand before the first token, at least one.

        Yields:
          The id of each token that follows.
        """
        rng = jax.random.fold_in(rng, 0)
        read = list(prompt)
        cache, logits = self._read(self._params, jnp.array([read], jnp.int32))
        for t in itertools.count():
            token = self._draw(jax.random.fold_in(rng, t), logits)
            read.append(int(token))
            yield read[-1]
            if len(read) <= self.context:
                cache, logits = self._step(self._params, cache, token)
            else:
                read = read[-max(1, self.context // 2) :]
                cache, logits = self._read(self._params, jnp.array([read], jnp.int32))

    def _read_at_once(self, params: Params, tokens: Array) -> tuple[KVCache, Array]:
        """A cache that has seen tokens [1, T], and the logits [V] of the next."""
        model = self.system.rebuild(params)
        # Room for a window before the first of as many tokens as the context holds.
        size = self.context + (self.system.config.block.sliding_window or 0)
        cache, logits = model.prefill(model.start(1, size), tokens)
        return cache, logits[0, -1]

    def _read_one(
        self, params: Params, cache: KVCache, token: Array
    ) -> tuple[KVCache, Array]:
        """The cache with a token [] added, and the logits [V] of the next."""
        cache, logits, _ = self.system.rebuild(params).step(cache, token[None])
        return cache, logits[0]

    def _draw_one(self, rng: Array, logits: Array) -> Array:
        """A token [], as logits [V] and the options have it."""
        unused = jnp.array(self.system.tokenizer.unused, jnp.int32)
        logits = upcast(logits).at[unused].set(-jnp.inf)
        return jax.random.categorical(rng, self._options(logits)).astype(jnp.int32)


def write_samples(
    writer: Writer,
    sink: BinaryIO,
    *,
    prompt: str = "",
    tokens: int = 500,
    samples: int = 1,
    seed: int = 0,
    readable: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Writes texts, each token when it is drawn.

    Sample k is a function of the seed and k: how many there are does not matter.

    Args:
      writer: what writes.
      sink: where to, in UTF-8; each sample ends in a newline, and a line of
        `SEPARATOR` stands between two.
      prompt: what each begins with.
      tokens: how many follow the prompt.
      samples: how many texts.
      seed: of all draws.
      readable: write U+FFFD for characters that a terminal would obey.
      say: told how long it took.

    Raises:
      UserError: if a number or the prompt is at fault; nothing has been written then.
    """
    for name, value, least in (
        ("tokens", tokens, 1),
        ("samples", samples, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UserError(f"{name}: expected at least {least}, got {value}")
    ids = writer.encode(prompt)
    shown = ids if prompt else []
    for k in range(samples):
        if k:
            sink.write(f"{SEPARATOR}\n".encode())
        began = time.monotonic()
        rng = jax.random.fold_in(jax.random.key(seed), k)
        drawn = itertools.islice(writer.tokens(rng, ids), tokens)
        last = "\n"
        for text in writer.system.tokenizer.stream(itertools.chain(shown, drawn)):
            last = text[-1:] or last
            text = _readable(text) if readable else text
            sink.write(text.encode())
            sink.flush()
        if last != "\n":
            sink.write(b"\n")
        sink.flush()
        say(f"{tokens} tokens in {time.monotonic() - began:.1f} s")


def _readable(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
