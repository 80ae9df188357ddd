"""Beam search with the Transformer, in sentences a second, beside CTranslate2.

With random weights no sentence ends by itself: the output bias forbids EOS, and all
hypotheses of a batch are as long as its longest source, so that every system takes as
many steps. With the weights of a trained run sentences end where they end, and what
was found is compared. The score is log p alone: lengths are rewarded differently.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.decode import beam_search
from attnjax.models.transformer import TransformerConfig
from experiments.bench import trials
from experiments.bench.shapes import MULTI30K_BATCHES, TINY_BATCHES, BatchSpec
from experiments.bench.transformers import SIZES, build, sized_transformer
from experiments.datasets.pairs.ordered import source_batches
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD, SPECIALS
from experiments.errors import UserError
from experiments.translate.config import SearchConfig

NEVER = -100.0  # an output bias that leaves nothing of a probability
PEERS = {"ctranslate2": "float32", "ctranslate2-int8": "int8"}
Ids = list[list[int]]


class Task(NamedTuple):
    """What is translated, with what."""

    name: str
    config: TransformerConfig
    rebuild: Callable[[Any], Any]
    params: Any
    sources: Ids  # without EOS
    ends: bool  # whether hypotheses end by themselves


class Batch(NamedTuple):
    """Sentences that are translated together, and how long they may become."""

    indices: np.ndarray  # [B], -1: no sentence
    source: np.ndarray  # [B, S], with EOS
    limit: int  # tokens of a hypothesis


def time_decoding(options: Any) -> list[dict[str, Any]]:
    """Times beam search over all sentences; one record for each system.

    Args:
      options: a `commands.Decode`.

    Returns:
      Records with `model`, `sentences`, `system`, `dtype`, `seconds`,
      `sentences_per_second` and, of a trained run, `same`: the share of sentences
      that are translated as by us.
    """
    task = random_task(options) if options.folder is None else trained_task(options)
    SearchConfig(beam_size=options.beam_size).check(task.config.target_vocab_size)
    batches = batches_of(task, options.rows)
    made = decode_calls(task, batches, options.beam_size)
    found: dict[str, Ids] = {}
    calls: trials.Calls = {
        name: partial(_keep, found, name, call) for name, call in made.items()
    }
    what = {"model": task.name, "sentences": len(task.sources)}
    records = trials.timed(trials.choose(calls, options.systems), what, options)
    for record in records:
        record["dtype"] = PEERS.get(record["system"], task.config.dtype)
        record["sentences_per_second"] = len(task.sources) / record["seconds"]
        if task.ends:
            record["same"] = _share_same(found, record["system"])
    return records


def decode_calls(
    task: Task, batches: Sequence[Batch], beam_size: int
) -> dict[str, Callable[[], Ids]]:
    """What translates all sentences, by system; models are loaded on the first call."""
    calls = {trials.OURS: jax_decoder(task, batches, beam_size)}
    if trials.installed("ctranslate2"):
        from experiments.bench.peers.ctranslate import ctranslate_decoder

        for name, kind in PEERS.items():
            calls[name] = ctranslate_decoder(task, batches, beam_size, kind)
    return calls


def jax_decoder(
    task: Task, batches: Sequence[Batch], beam_size: int
) -> Callable[[], Ids]:
    """Our beam search; each width of sources is compiled on the first call."""

    @jax.jit
    def search(params: Any, source: Any, limit: Any) -> Any:
        model, mask = task.rebuild(params), source != PAD
        memory = model.encode(source, mask)
        size = most_tokens(task, source.shape[1])
        found = beam_search(
            partial(model.step, memory),
            model.start(memory, size),
            batch_size=source.shape[0],
            beam_size=beam_size,
            max_length=jnp.where(mask.any(axis=1), limit, 0),
            max_decode_length=size,
            bos=BOS,
            eos=EOS,
            pad=PAD,
            n_best=1,
        )
        return found.tokens[:, 0], found.lengths[:, 0]

    def decode() -> Ids:
        found = [search(task.params, b.source, np.int32(b.limit)) for b in batches]
        results: Ids = [[] for _ in task.sources]
        for batch, (tokens, lengths) in zip(batches, found, strict=True):
            rows = zip(
                batch.indices, np.asarray(tokens), np.asarray(lengths), strict=True
            )
            for index, ids, length in rows:
                if index >= 0:
                    results[index] = ids[: max(0, length - 1)].tolist()
        return results

    return decode


def batches_of(task: Task, rows: int) -> list[Batch]:
    """The sentences, longest first, as `translate` makes batches of them."""
    return [
        Batch(indices, ids, most_tokens(task, int((ids != PAD).sum(axis=1).max())))
        for indices, ids in source_batches(task.sources, rows=rows)
    ]


def most_tokens(task: Task, length: int) -> int:
    """How long hypotheses for sources of a length may become."""
    return 2 * length + 10 if task.ends else length


def random_task(options: Any) -> Task:
    """Random weights that never end a sentence, and random sources."""
    config = sized_transformer(
        SIZES[options.model], tiny=options.tiny, output_bias=True
    )
    rebuild, params = build(config)
    params["b_output"] = params["b_output"].at[EOS].set(NEVER)
    specs: Sequence[BatchSpec] = TINY_BATCHES if options.tiny else MULTI30K_BATCHES
    count = min(options.sentences, 7) if options.tiny else options.sentences
    rng = np.random.default_rng(0)
    sources = [
        rng.integers(len(SPECIALS), config.source_vocab_size, length - 1).tolist()
        for length in source_lengths(specs, count)
    ]
    return Task(options.model, config, rebuild, params, sources, ends=False)


def source_lengths(specs: Sequence[BatchSpec], count: int) -> np.ndarray:
    """Lengths of sources with EOS, distributed as those that batches are made of.

    Of the sentences of one shape S, the mean is known; their lengths are spread
    evenly from as far below it as S is above.
    """
    every = []
    for spec in specs:
        mean = spec.source_tokens / spec.B
        rows = spec.B * spec.batches
        spread = 2 * (spec.S - mean) * (np.arange(rows) + 0.5) / rows
        every.append(np.maximum(1, np.rint(spec.S - spread)))
    lengths = np.sort(np.concatenate(every)).astype(int)
    return lengths[((np.arange(count) + 0.5) / count * len(lengths)).astype(int)]


def trained_task(options: Any) -> Task:
    """The weights, the tokenisers and the test set of a trained run.

    Raises:
      UserError: if the run is of another model, or its test set is not there.
    """
    from experiments.translate.data import read_splits, relocate
    from experiments.translate.loading import load_run

    loaded = load_run(options.folder, options.checkpoint)
    tokenizers = loaded.system.tokenizers
    config: Any = loaded.config.model
    if not isinstance(config, TransformerConfig):
        raise UserError(
            f"--run: expected a run of a Transformer, got one of a "
            f"{type(config).__name__.removesuffix('Config')} (train another)"
        )
    config = dataclasses.replace(
        config,
        source_vocab_size=tokenizers.source.vocab_size,
        target_vocab_size=tokenizers.target.vocab_size,
    )
    splits = read_splits(relocate(loaded.config.data, options.raw_dir))
    name = next((name for name in splits if name.startswith("test")), max(splits))
    pairs = splits[name][: options.sentences]
    sources = [tokenizers.source.encode(pair.source) for pair in pairs]
    return Task(
        f"{options.folder.name} {name}",
        config,
        loaded.system.rebuild,
        loaded.params,
        [ids for ids in sources if ids],
        ends=True,
    )


def _keep(found: dict[str, Ids], name: str, call: Callable[[], Ids]) -> None:
    found[name] = call()


def _share_same(found: dict[str, Ids], name: str) -> float | None:
    """The share of sentences that a system translates as we do, if we did."""
    if trials.OURS not in found:
        return None
    pairs = list(zip(found[trials.OURS], found[name], strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)
