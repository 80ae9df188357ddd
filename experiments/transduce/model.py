"""A model that reads, with its tokenisers, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Self

import jax.numpy as jnp
from flax import nnx
from jax import Array

from attnjax.decode import (
    TransducerHypotheses,
    beam_search,
    ctc_greedy,
    transducer_beam_search,
    transducer_greedy,
)
from attnjax.models.ctc import CTC, CTCConfig
from attnjax.models.rnnsearch import RNNSearch
from attnjax.models.state import split
from attnjax.models.transducer import Transducer, TransducerConfig
from attnjax.train import Loss, Params
from experiments.cli.exit_codes import invalid_settings
from experiments.datasets.pairs.batching import Batch, output_limits, previous_tokens
from experiments.datasets.readings.datasets import Entry
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.datasets.tokenizers.sentences import (
    BOS,
    EOS,
    PAD,
    UNK,
    WordVocabulary,
)
from experiments.datasets.tokenizers.sides import Tokenizers
from experiments.transduce.config import Config, SearchConfig

NO_LABELS = UNK, BOS, EOS  # in every vocabulary, and in no reading


class Alphabets(Tokenizers):
    """The symbols of both sides, as vocabularies of words.

    The padding's id, 0, is the transducer's blank.
    """

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """Collects the symbols of both sides."""
        sources = (" ".join(entry.symbols) for entry in entries)
        targets = (" ".join(r) for entry in entries for r in entry.readings)
        size = 2**20  # all of them
        return cls(
            WordVocabulary.train(sources, size), WordVocabulary.train(targets, size)
        )

    @classmethod
    def of_labels(cls, labels: Sequence[str]) -> Self:
        """Numbers labels in this order; the inputs are vectors, and have no symbols."""
        return cls(WordVocabulary(()), WordVocabulary(labels))


class Frames(NamedTuple):
    """Vectors as inputs."""

    vectors: Any  # [B, T, D], zeros behind the real ones
    counts: Any  # of vectors that are real, [B]


class Readings(NamedTuple):
    """The best outputs of B inputs, K of each."""

    tokens: Array  # [B, K, U], padded
    lengths: Array  # [B, K]
    log_probs: Array  # [B, K], nats


@dataclasses.dataclass(frozen=True)
class Reader:
    """A model and its alphabets; every method takes the parameters.

    Attributes:
      rebuild: makes the model of a tree of parameters.
      alphabets: of both sides.
      kind: which model it is.
    """

    rebuild: Callable[[Params], Any]
    alphabets: Alphabets
    kind: Literal["transducer", "ctc", "rnnsearch"]

    def loss(
        self,
        params: Params,
        batch: Batch,
        rng: Array | None,
        *,
        label_smoothing: float = 0.0,
    ) -> Loss:
        """Negative log-likelihood of the outputs, summed; and their number of labels.

        Of RNNSearch EOS is a label; the others end with the last frame.
        """
        source, mask = inputs_and_mask(batch[0])
        model, target = self.rebuild(params), jnp.asarray(batch[1])
        if self.kind != "rnnsearch":
            real = is_label(target)
            nats = model.losses(source, mask, target, real, rng)
            # A row of only padding has no frame, and an infinite loss.
            return Loss(jnp.where(mask.any(axis=1), nats, 0).sum(), real.sum())
        real = target != PAD
        previous = previous_tokens(target)
        nats = model.cross_entropy(
            source, mask, previous, target, real, rng, smoothing=label_smoothing
        )
        return Loss(nats, real.sum())

    def read(self, params: Params, source: Any, *, search: SearchConfig) -> Readings:
        """Decodes ids [B, T] or `Frames`; a transducer adds up equal outputs' paths."""
        source, mask = inputs_and_mask(source)
        model = self.rebuild(params)
        counts = jnp.sum(mask, axis=1, dtype=jnp.int32)
        if self.kind == "ctc":
            path = ctc_greedy(model(source, mask), counts, suppress_labels=NO_LABELS)
            return Readings(path.labels, path.lengths, path.log_probs)
        limits, size = output_limits(
            counts, source.shape[1], ratio=search.max_length_ratio, extra=4
        )
        memory = model.encode(source, mask)
        if self.kind == "rnnsearch":
            found = beam_search(
                partial(model.step, memory),
                model.start(memory, size),
                batch_size=source.shape[0],
                beam_size=search.beam_size,
                max_length=limits,
                max_decode_length=size,
                bos=BOS,
                eos=EOS,
                pad=PAD,
                suppress_tokens=(UNK,),
            )
            return Readings(found.tokens, found.lengths - 1, found.log_probs)
        best = _search_transducer(model, memory, counts, limits, size, search)
        return Readings(best.labels, best.lengths, best.log_probs)

    def paths(self, params: Params, batch: Batch) -> Array:
        """The input position of each output label, [B, U]; negative at padding.

        Of a transducer and of CTC, those of the most probable path (of CTC, where a
        label begins); of RNNSearch, the largest weights.
        """
        source, mask = inputs_and_mask(batch[0])
        target = jnp.asarray(batch[1])
        model, real = self.rebuild(params), is_label(target)
        if self.kind == "transducer":
            return model.best_path(source, mask, target, real).frames
        if self.kind == "ctc":
            positions = model.best_path(source, mask, target, real).positions
            label = jnp.arange(target.shape[1], dtype=jnp.int32)[None, :, None]
            at = positions[:, None] == label  # [B, T] -> [B, 1, T]; [B, U, T]
            return jnp.where(at.any(axis=-1), jnp.argmax(at, axis=-1), -1)
        previous = previous_tokens(target)
        _, weights = model(source, mask, previous)
        return jnp.where(real, jnp.argmax(weights, axis=-1), -1)


def _search_transducer(
    model: Transducer,
    frames: Array,
    counts: Array,
    limits: Array,
    size: int,
    search: SearchConfig,
) -> TransducerHypotheses:
    """Decodes an encoder's output [B, T, J] greedily or by a beam, to `size` labels."""
    arguments = (
        *(lambda frame, state: model.join(frame, state.projected), model.advance),
        *(model.start(len(counts)), frames, counts),
    )
    options: dict[str, Any] = {
        **{"max_labels": limits, "max_decode_length": size},
        "suppress_labels": NO_LABELS,
    }
    if search.beam_size == 1:
        limit = search.max_per_frame
        return transducer_greedy(*arguments, max_per_frame=limit, **options)
    return transducer_beam_search(*arguments, beam_size=search.beam_size, **options)


def inputs_and_mask(source: Any) -> tuple[Array, Array]:
    """Tells real inputs from padding: ids [B, T] by PAD, `Frames` by their counts."""
    if not isinstance(source, Frames):
        ids = jnp.asarray(source)
        return ids, ids != PAD
    vectors, counts = map(jnp.asarray, source)
    position = jnp.arange(vectors.shape[1], dtype=counts.dtype)
    return vectors, position < counts[:, None]  # [B] -> [B, 1]


def is_label(target: Array) -> Array:
    """Tells labels from EOS and padding."""
    return (target != PAD) & (target != EOS)


def build_model(config: Config, alphabets: Alphabets) -> tuple[Reader, Params]:
    """Builds the model of a config, and its initial parameters.

    Raises:
      UserError: if the model's sizes do not fit together, or it cannot read sounds.
    """
    source, target = (side.vocab_size for side in alphabets)
    rngs = nnx.Rngs(params=config.seed)
    with invalid_settings("model"):
        model: Any
        if isinstance(config.model, TransducerConfig | CTCConfig):
            sizes: Any = {"source_vocab_size": source, "vocab_size": target}
            if isinstance(config.data, SpokenDigits):
                sizes |= {
                    "source_vocab_size": 0,  # vectors
                    "input_dim": config.data.features.width,
                }
            sized: Any = dataclasses.replace(config.model, **sizes)
            kind = Transducer if isinstance(sized, TransducerConfig) else CTC
            model = kind(sized, rngs=rngs)
        elif isinstance(config.data, SpokenDigits):
            raise ValueError("expected a transducer or CTC for sounds, got RNNSearch")
        else:
            rnnsearch = dataclasses.replace(
                config.model, source_vocab_size=source, target_vocab_size=target
            )
            model = RNNSearch(rnnsearch, rngs=rngs)
    rebuild, params = split(model)
    name: Any = type(model).__name__.lower()
    return Reader(rebuild, alphabets, name), params
