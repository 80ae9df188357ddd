"""Evaluates a run on ranges that it has not seen: `algorithms evaluate`.

RUN/evaluation.json     every metric
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np
from jax.sharding import Mesh

from attnjax.train import Params
from experiments.algorithms.loading import LoadedRun
from experiments.algorithms.model import BITS_PER_NAT, SequenceBits, tape_warning
from experiments.algorithms.sequences import Algorithm, DynamicNGrams, Sequences
from experiments.cli.progress_bar import ProgressBar
from experiments.cli.tables import print_table
from experiments.errors import UserError
from experiments.files import write_atomic
from experiments.runs.processes import gather_rows, place_batch
from experiments.training.parameters import count_parameters

RECORD = "evaluation.json"
# Rows that are computed at once.
ROWS = 128
# Apart from the draws of training, which start from (seed, step).
VALIDATION_SEED = 1410_5401


class BitCosts(NamedTuple):
    """The costs of a set of sequences."""

    bits: np.ndarray  # [N], cost of each sequence
    wrong: np.ndarray  # [N], wrong bits of each sequence

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the sequences, and the share of sequences without a wrong bit."""
        return {
            "bits_per_sequence": float(self.bits.mean()),
            "wrong_bits_per_sequence": float(self.wrong.mean()),
            "sequences_without_error": float((self.wrong == 0).mean()),
        }


def validation_set(algorithm: Algorithm, size: int, fold: int = 0) -> Sequences:
    """Generates sequences for validation, the same at each call."""
    return algorithm.generate(np.random.default_rng((VALIDATION_SEED, fold)), size)


class Evaluator:
    """Computes what sequences cost, on all devices."""

    def __init__(self, model: SequenceBits, mesh: Mesh) -> None:
        self._mesh = mesh
        self._costs = jax.jit(model.costs)

    def __call__(
        self,
        params: Params,
        sequences: Sequences,
        progress: Callable[[int], None] = lambda count: None,
    ) -> BitCosts:
        """Computes the cost of every sequence, the batch padded by repetition.

        Args:
          params: the model's parameters.
          sequences: any number of them.
          progress: called after every batch with the number of its sequences.
        """
        total = len(sequences.mask)
        rows = -(-min(ROWS, total) // self._mesh.size) * self._mesh.size
        bits, wrong = [], []
        for start in range(0, total, rows):
            chosen = np.minimum(np.arange(start, start + rows), total - 1)
            batch = Sequences(*(x[chosen] for x in sequences))
            costs = self._costs(params, place_batch(batch, self._mesh))
            bits.append(gather_rows(costs.nats).astype(np.float64) * BITS_PER_NAT)
            wrong.append(gather_rows(costs.wrong))
            progress(min(rows, total - start))
        return BitCosts(np.concatenate(bits)[:total], np.concatenate(wrong)[:total])


def evaluate(
    loaded: LoadedRun,
    *,
    sequences: int = 1000,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a run on its own ranges and on harder ones, and writes the record.

    Args:
      loaded: the run.
      sequences: number of sequences of each range.
      say: reports what is being done.

    Returns:
      The content of evaluation.json.

    Raises:
      UserError: if no sequences are asked for.
    """
    if sequences < 1:
        raise UserError(f"sequences: expected at least 1, got {sequences}")
    output = loaded.run.output(RECORD)
    algorithm = loaded.config.algorithm
    ranges: dict[str, Any] = {"as trained": algorithm}
    ranges |= algorithm.generalizations()
    evaluator = Evaluator(loaded.model, loaded.mesh)
    results = {}
    for fold, (name, harder) in enumerate(ranges.items(), 1):
        if warning := tape_warning(loaded.model.config, harder):
            say(f"{name}: {warning}")
        drawn = validation_set(harder, sequences, fold)
        with ProgressBar(f"evaluating {name}", sequences) as counter:
            costs = evaluator(loaded.params, drawn, counter.advance)
        results[name] = costs.metrics | _optimum(harder, drawn, costs)
    record = {
        "step": loaded.step,
        "parameters": count_parameters(loaded.params),
        "sequences": sequences,
        "ranges": results,
    }
    write_atomic(output, json.dumps(record, indent=2) + "\n")
    return record


def _optimum(
    algorithm: Algorithm, sequences: Sequences, costs: BitCosts
) -> dict[str, float]:
    """The cost of the optimal estimator, where there is one, on the same sequences."""
    if not isinstance(algorithm, DynamicNGrams):
        return {}
    best = algorithm.optimal_bits(sequences)
    return {
        "optimal_bits_per_sequence": float(best.mean()),
        "bits_above_optimum": float((costs.bits - best).mean()),
    }


def print_report(record: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Prints an evaluation as a table.

    Args:
      record: what `evaluate` returned.
      file: where to print; stdout if None.
    """
    names = list(next(iter(record["ranges"].values())))
    print_table(
        ["sequences", *(name.replace("_", " ") for name in names)],
        [
            [name, *(f"{metrics[n]:.3f}" for n in names)]
            for name, metrics in record["ranges"].items()
        ],
        title=f"step {record['step']:,}, {record['parameters']:,} parameters, "
        f"{record['sequences']:,} sequences of each kind",
        file=file,
    )
