"""Draws what a run does with one sequence: `algorithms watch`.

RUN/tape.png, .svg           inputs, outputs, errors, and what the heads do over time
RUN/priorities.png, .svg     priority sort only: where vectors are written
"""

import sys
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from attnjax import viz
from attnjax.cells.ntm import NTMOutput
from experiments.algorithms.evaluation import VALIDATION_SEED
from experiments.algorithms.loading import LoadedRun
from experiments.algorithms.model import BITS_PER_NAT, bit_costs
from experiments.algorithms.sequences import PrioritySort, Sequences
from experiments.cli.checks import check_seed
from experiments.errors import UserError
from experiments.files import atomic_path
from experiments.runs.paths import output_path

ENDS = ("png", "svg")
# Weight below which a row of the tape counts as left alone.
FAINT = 0.01


def watch(
    loaded: LoadedRun,
    *,
    seed: int = 0,
    out: Path | None = None,
    file: TextIO | None = None,
) -> None:
    """Runs a model over one sequence, draws it, and prints targets and outputs.

    Args:
      loaded: the run.
      seed: of the sequence, which is one of the longest kind of training.
      out: folder of the pictures; by default that of the run.
      file: where to print; stdout if None.

    Raises:
      UserError: if the seed is out of range, or the pictures cannot be written.
    """
    folder = loaded.run.folder if out is None else out
    for end in ENDS:
        output_path(folder, f"tape.{end}")
        output_path(folder, f"priorities.{end}")
    generalizations = iter(loaded.config.algorithm.generalizations().values())
    algorithm = next(generalizations)
    check_seed(seed)
    rng = np.random.default_rng((VALIDATION_SEED, 0, seed))
    sequence = algorithm.generate(rng, 1)
    model = loaded.model.rebuild(loaded.params)
    logits, out_heads = jax.jit(lambda x: model(x))(sequence.inputs)
    output = np.asarray(jax.nn.sigmoid(logits[0]))  # [T, O]
    costs = bit_costs(logits, sequence)
    bits = float(costs.nats[0]) * BITS_PER_NAT
    heads = out_heads if isinstance(out_heads, NTMOutput) else None
    title = f"{loaded.run.folder.name}: {bits:.2f} bits, {int(costs.wrong[0])} wrong"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix in ENDS:
            rows = _panels(sequence, output, heads)
            with atomic_path(folder / f"tape.{suffix}") as path:
                viz.tape_plot(rows, path, title=title)
            if heads is not None and isinstance(algorithm, PrioritySort):
                with atomic_path(folder / f"priorities.{suffix}") as path:
                    _draw_priorities(sequence, heads, path)
    except OSError as error:
        raise UserError(
            f"{folder}: expected a folder that can be written, got: {error.strerror} "
            "(name another one with --out)"
        ) from error
    _print(sequence, output, title, file or sys.stdout)
    print(f"drawn in {folder}/tape.png", file=file or sys.stdout)


def _panels(
    sequence: Sequences, output: np.ndarray, heads: NTMOutput | None
) -> list[dict[str, Any]]:
    """The rows of the picture, as in figure 6 of the paper."""
    inputs, targets, mask = (x[0] for x in sequence)
    shown = np.where(mask[:, None], output, 0)
    errors = np.abs(shown - targets * mask[:, None])
    rows: list[dict[str, Any]] = [
        {"inputs": inputs.T, "outputs": shown.T},
        {"targets": targets.T, "errors": errors.T},
    ]
    if heads is None:
        return rows
    first: Any = jax.tree.map(lambda x: np.asarray(x[0]), heads)
    rows.append(
        {"adds": _side_by_side(first.adds), "reads": _side_by_side(first.reads)}
    )
    rows.append({"erases": _side_by_side(first.erases)})
    used, name = used_rows(first)
    count = max(first.write_weights.shape[1], first.read_weights.shape[1])
    for n in range(count):
        row = {}
        for kind, given in (
            ("write", first.write_weights),
            ("read", first.read_weights),
        ):
            if n < given.shape[1]:
                number = f" {n + 1}" if count > 1 else ""
                row[f"{kind} weights{number} ({name})"] = given[:, n, used].T
        rows.append(row)
    return rows


def _side_by_side(vectors: np.ndarray) -> np.ndarray:
    """The vectors of all heads one below the other: [T, H, M] -> [H*M, T]."""
    return vectors.reshape(len(vectors), -1).T  # [T, H, M] -> [T, H*M] -> [H*M, T]


def used_rows(heads: Any) -> tuple[np.ndarray, str]:
    """Returns the rows that heads attend to, one more on either side, and a name."""
    both = np.concatenate([heads.write_weights, heads.read_weights], axis=1)
    N = both.shape[-1]
    used = np.nonzero(both.max(axis=(0, 1)) > FAINT)[0]  # [T, H+W, N] -> [N]
    if not len(used):
        return np.arange(N), "all rows"
    first, gap = _longest_gap(used, N)
    if gap <= 3:
        return np.arange(N), "all rows"
    rows = np.arange(first - 1, first - gap + N + 2) % N
    return rows, f"row {rows[0]} to row {rows[-1]}"


def _longest_gap(used: np.ndarray, N: int) -> tuple[int, int]:
    """The row after the longest stretch that is not used, and the length of that.

    The tape wraps around: rows are best drawn from there on.
    """
    rows = np.unique(used)
    gaps = np.diff(rows, append=rows[:1] + N)  # from each used row to the next
    last = int(gaps.argmax())
    return int(rows[last] + gaps[last]), int(gaps[last])


def _draw_priorities(sequence: Sequences, heads: NTMOutput, path: Path) -> None:
    """Draws the row in which each vector is written, by its priority (figure 17).

    Of several heads it is the one whose rows go with the priorities best; others do
    something else.
    """
    inputs = sequence.inputs[0]
    given = np.nonzero(inputs[:, -1])[0][0]  # steps before the delimiter
    priorities = inputs[:given, -2]
    weights = np.asarray(heads.write_weights[0, :given])  # [T, W, N]
    candidates = [rows_by_priority(x, priorities) for x in weights.swapaxes(0, 1)]
    best = int(np.argmax([fit for _, fit in candidates]))
    viz.scatter_plot(
        priorities,
        candidates[best][0],
        path,
        x_label="priority",
        y_label="row of the tape",
        title=f"where write head {best + 1} writes vectors",
    )


def rows_by_priority(
    weights: np.ndarray, priorities: np.ndarray
) -> tuple[np.ndarray, float]:
    """Finds where a head writes each vector, and how well a line fits that.

    Args:
      weights: of one head, shape [T, N].
      priorities: of the vectors, shape [T].

    Returns:
      Rows of the tape [T], negative ones where it wraps around; and the absolute value
      of their correlation with the priorities, 0 if all are one row.
    """
    N = weights.shape[1]
    rows = weights.argmax(axis=1)
    first = _longest_gap(rows, N)[0] % N
    rows = (rows - first) % N + (first - N if 2 * first > N else first)
    if rows.std() == 0:
        return rows, 0.0
    return rows, abs(float(np.corrcoef(rows, priorities)[0, 1]))


def _print(sequence: Sequences, output: np.ndarray, title: str, file: TextIO) -> None:
    """Prints the predicted steps: target bits, and the bits that the model says."""
    print(title, file=file)
    mask, targets = sequence.mask[0], sequence.targets[0]
    for target, said in zip(targets[mask], output[mask], strict=True):
        bits = ["".join("█" if b > 0.5 else "·" for b in x) for x in (target, said)]
        note = "" if bits[0] == bits[1] else "  wrong"
        print(f"  {bits[0]}  {bits[1]}{note}", file=file)
