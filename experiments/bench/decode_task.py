"""The decoding task: the sentences that every system translates, and their batches.

With random parameters EOS has a bias of -100, so no hypothesis ends before the maximum
length and all systems take the same number of steps. With the parameters of a trained
run hypotheses end with EOS, and the translations can be compared.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from attnjax.models.transformer import TransformerConfig
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES, BatchSpec
from experiments.bench.transformer_configs import SIZES, build, set_vocab_size
from experiments.datasets.pairs.evaluation_batches import source_batches
from experiments.datasets.tokenizers.sentences import EOS, PAD, SPECIALS
from experiments.errors import UserError

SUPPRESS = -100.0  # an output bias that makes the probability of a token zero
SMOKE_SENTENCES = 7
Ids = list[list[int]]


class Task(NamedTuple):
    """A model and the sentences that it translates."""

    name: str
    config: TransformerConfig
    rebuild: Callable[[Any], Any]
    params: Any
    sources: Ids  # without EOS
    ends_with_eos: bool  # False: every hypothesis has the maximum length


class Batch(NamedTuple):
    """Sentences that are translated together."""

    indices: np.ndarray  # [B], of the sentences; -1 is a padding row
    source: np.ndarray  # [B, S], with EOS
    max_length: int  # of a hypothesis, in tokens


def make_batches(task: Task, rows: int) -> list[Batch]:
    """Batches of the sentences, longest first, as in `experiments.translate`."""
    batches = []
    for indices, ids in source_batches(task.sources, rows=rows):
        longest = int((ids != PAD).sum(axis=1).max())
        batches.append(Batch(indices, ids, max_decode_length(task, longest)))
    return batches


def max_decode_length(task: Task, source_length: int) -> int:
    """The maximum length of hypotheses for sources of up to a length."""
    return 2 * source_length + 10 if task.ends_with_eos else source_length


def random_task(options: Any) -> Task:
    """A task with random parameters that never end a hypothesis, and random sources.

    Args:
      options: a `commands.Decode`.
    """
    config = set_vocab_size(SIZES[options.model], smoke=options.smoke, output_bias=True)
    rebuild, params = build(config)
    params["b_output"] = params["b_output"].at[EOS].set(SUPPRESS)
    specs: Sequence[BatchSpec] = TINY_BATCHES if options.smoke else MULTI30K_BATCHES
    count = options.sentences
    if options.smoke:
        count = min(count, SMOKE_SENTENCES)
    rng = np.random.default_rng(0)
    sources = [
        rng.integers(len(SPECIALS), config.source_vocab_size, length - 1).tolist()
        for length in source_lengths(specs, count)
    ]
    return Task(options.model, config, rebuild, params, sources, ends_with_eos=False)


def source_lengths(specs: Sequence[BatchSpec], count: int) -> np.ndarray:
    """Source lengths with EOS, distributed as in the data of these batch shapes.

    Only the mean length in a batch shape is known. Its lengths are taken to be evenly
    spread around that mean, up to the shape's S.

    Args:
      specs: the batch shapes.
      count: number of lengths to return.
    """
    lengths = []
    for spec in specs:
        mean = spec.source_tokens / spec.B
        rows = spec.B * spec.batches
        below_longest = 2 * (spec.S - mean) * (np.arange(rows) + 0.5) / rows
        lengths.append(np.maximum(1, np.rint(spec.S - below_longest)))
    ordered = np.sort(np.concatenate(lengths)).astype(int)
    quantiles = (np.arange(count) + 0.5) / count
    return ordered[(quantiles * len(ordered)).astype(int)]


def trained_task(options: Any) -> Task:
    """A task with the parameters, tokenisers and test set of a trained run.

    Args:
      options: a `commands.Decode` with the folder of a run.

    Raises:
      UserError: if the run's model is not a Transformer, or its test set is missing.
    """
    from experiments.translate.data import read_splits, relocate
    from experiments.translate.loading import load_run

    loaded = load_run(options.folder, options.checkpoint)
    tokenizers = loaded.model.tokenizers
    config: Any = loaded.config.model
    if not isinstance(config, TransformerConfig):
        raise UserError(
            f"--run: expected a run of a Transformer, got one of a "
            f"{type(config).__name__.removesuffix('Config')} (train a Transformer)"
        )
    config = dataclasses.replace(
        config,
        source_vocab_size=tokenizers.source.vocab_size,
        target_vocab_size=tokenizers.target.vocab_size,
    )
    splits = read_splits(relocate(loaded.config.data, options.raw_dir))
    name = next((name for name in splits if name.startswith("test")), max(splits))
    pairs = splits[name][: options.sentences]
    sources = [tokenizers.source.tokenize(pair.source) for pair in pairs]
    return Task(
        f"{options.folder.name} {name}",
        config,
        loaded.model.rebuild,
        loaded.params,
        [ids for ids in sources if ids],
        ends_with_eos=True,
    )
