"""Beam search with the Transformer, in sentences per second, beside CTranslate2.

Hypotheses are scored by log p alone, because length penalties differ between the
libraries.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.decode import beam_search
from experiments.bench.decode_task import (
    Batch,
    Ids,
    Task,
    make_batches,
    max_decode_length,
    random_task,
    trained_task,
)
from experiments.bench.systems import ATTNJAX, Calls, is_installed, select_systems
from experiments.bench.timing import measure
from experiments.datasets.tokenizers.sentences import BOS, EOS, PAD
from experiments.translate.config import SearchConfig

# CTranslate2's compute types, by system.
COMPUTE_TYPES = {"ctranslate2": "float32", "ctranslate2-int8": "int8"}


def time_decoding(options: Any) -> list[dict[str, Any]]:
    """Times beam search over all sentences; one record for each system.

    Args:
      options: a `commands.Decode`.

    Returns:
      Records of `timing.measure` with `model`, `sentences`, `dtype`,
      `sentences_per_second` and, for a trained run, `same`: the share of sentences
      whose translation is the same as that of attnjax.
    """
    task = random_task(options) if options.folder is None else trained_task(options)
    SearchConfig(beam_size=options.beam_size).check(task.config.target_vocab_size)
    decoders = decode_calls(task, make_batches(task, options.rows), options.beam_size)
    results: dict[str, Ids] = {}
    calls: Calls = {
        name: partial(_keep_result, results, name, call)
        for name, call in decoders.items()
    }
    records = measure(
        select_systems(calls, options.systems),
        {"model": task.name, "sentences": len(task.sources)},
        repeats=options.repeats,
        clock=options.clock,
    )
    for record in records:
        record["dtype"] = COMPUTE_TYPES.get(record["system"], task.config.dtype)
        record["sentences_per_second"] = len(task.sources) / record["seconds"]
        if task.ends_with_eos:
            record["same"] = _share_same(results, record["system"])
    return records


def decode_calls(
    task: Task, batches: Sequence[Batch], beam_size: int
) -> dict[str, Callable[[], Ids]]:
    """Translation of all sentences, by system; models are loaded by the first call."""
    calls = {ATTNJAX: jax_decoder(task, batches, beam_size)}
    if is_installed("ctranslate2"):
        from experiments.bench.peers.ctranslate import ctranslate_decoder

        for name, compute_type in COMPUTE_TYPES.items():
            calls[name] = ctranslate_decoder(task, batches, beam_size, compute_type)
    return calls


def jax_decoder(
    task: Task, batches: Sequence[Batch], beam_size: int
) -> Callable[[], Ids]:
    """Beam search of attnjax; the first call compiles it for each source length."""

    @jax.jit
    def search(params: Any, source: Any, max_length: Any) -> Any:
        model, mask = task.rebuild(params), source != PAD
        memory = model.encode(source, mask)
        size = max_decode_length(task, source.shape[1])
        found = beam_search(
            partial(model.step, memory),
            model.start(memory, size),
            batch_size=source.shape[0],
            beam_size=beam_size,
            # A padding row has nothing to decode.
            max_length=jnp.where(mask.any(axis=1), max_length, 0),
            max_decode_length=size,
            bos=BOS,
            eos=EOS,
            pad=PAD,
            n_best=1,
        )
        return found.tokens[:, 0], found.lengths[
            :, 0
        ]  # [B, 1, T], [B, 1] -> [B, T], [B]

    def decode() -> Ids:
        # All batches are dispatched before the first result is awaited.
        found = [search(task.params, b.source, np.int32(b.max_length)) for b in batches]
        results: Ids = [[] for _ in task.sources]
        for batch, (tokens, lengths) in zip(batches, found, strict=True):
            rows = zip(
                batch.indices, np.asarray(tokens), np.asarray(lengths), strict=True
            )
            for index, ids, length in rows:
                if index >= 0:
                    results[index] = ids[: max(0, length - 1)].tolist()  # without EOS
        return results

    return decode


def _keep_result(results: dict[str, Ids], name: str, call: Callable[[], Ids]) -> None:
    results[name] = call()


def _share_same(results: dict[str, Ids], name: str) -> float | None:
    """The share of a system's translations that are those of attnjax, if it ran."""
    if ATTNJAX not in results:
        return None
    pairs = list(zip(results[ATTNJAX], results[name], strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)
