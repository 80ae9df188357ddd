"""Trains a tiny network with the real training loop, in the tests or as a process.

The target is a fixed linear map of the source, with dropout on the source so that the
random keys matter. Flags cause the failures that the tests need.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from attnjax import parallel
from attnjax.train import Loss, TrainState, init_state, make_train_step
from experiments import files
from experiments.errors import UserError
from experiments.runs.checkpoints import Checkpoints
from experiments.training.fit import Run, fit

ROWS, WIDTH = 16, 5  # rows for up to 8 devices, or 2 processes of 2


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--width", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--ema-decay", type=float, default=0.9, help="decay of the EMA")
    parser.add_argument("--keep-last", type=int, default=2, help="checkpoints kept")
    parser.add_argument(
        "--kill-at", type=int, default=-1, help="batch at which to SIGKILL"
    )
    parser.add_argument(
        "--kill-saving", type=int, default=-1, help="save in which to SIGKILL"
    )
    parser.add_argument(
        "--signal-at", type=int, default=-1, help="batch at which to signal"
    )
    parser.add_argument("--signal", type=int, default=signal.SIGTERM)
    parser.add_argument("--signals", type=int, default=1, help="how often to signal")
    parser.add_argument("--signal-evaluation", action="store_true")
    parser.add_argument("--worse-after", type=int, default=10**6)
    parser.add_argument("--nan-at", type=int, default=-1)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--process", type=int)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--coordinator")
    return parser.parse_args(arguments)


def loss_fn(params, batch, rng, *, dropout) -> Loss:
    source, target = batch
    if dropout:
        source = source * jax.random.bernoulli(rng, 1 - dropout, source.shape).astype(
            source.dtype
        )
    guess = jnp.tanh(source @ params["in"]["kernel"]) @ params["out"]["kernel"]
    return Loss(jnp.square(guess - target).sum(), jnp.float32(target.shape[0]))


def batch_of(step: int) -> tuple[np.ndarray, np.ndarray]:
    """The global batch of a step: a pure function of its number."""
    draw = np.random.default_rng((7, step))
    source = draw.normal(size=(ROWS, WIDTH)).astype(np.float32)
    return source, (source @ np.eye(WIDTH, 2)).astype(np.float32)


def batches(
    start: int, *, args: argparse.Namespace, mesh: Mesh
) -> Iterator[tuple[jax.Array, jax.Array]]:
    for step in range(start, 10**6):
        if step == args.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == args.signal_at and args.process in (None, 1):
            for _ in range(args.signals):
                os.kill(os.getpid(), args.signal)
        rows = parallel.process_rows(ROWS)
        source, target = (x[rows] for x in batch_of(step))
        if step == args.nan_at:
            source = source * np.float32("nan")
        yield parallel.make_global_batch((source, target), mesh)


def main(args: argparse.Namespace) -> TrainState:
    parallel.initialize_distributed(args.coordinator, args.processes, args.process)
    mesh = parallel.make_mesh(None if args.processes else args.devices)
    tx = optax.adam(1e-2)
    keys = jax.random.split(jax.random.key(1))
    params = {
        "in": {"kernel": jax.random.normal(keys[0], (WIDTH, args.width))},
        "out": {"kernel": jax.random.normal(keys[1], (args.width, 2))},
    }

    evaluations: list[jax.Array] = []

    def evaluate(params) -> dict[str, float]:
        if args.signal_evaluation:
            os.kill(os.getpid(), args.signal)
        held_out = parallel.replicate(batch_of(10**6), mesh)
        loss = loss_fn(params, held_out, None, dropout=0.0)
        evaluations.append(loss.total / loss.num_tokens)
        worse = len(evaluations) * 10 > args.worse_after
        return {"error": evaluations[-1] + 1e6 * worse}

    config = {"model": {"width": args.width, "seed": 1}, "steps": args.steps}
    run = Run.create(args.folder, config, resume=args.resume, mutable_fields=("steps",))
    step = make_train_step(
        partial(loss_fn, dropout=args.dropout),
        tx,
        ema_decay=args.ema_decay,
        state_sharding=parallel.replicated_sharding(mesh),
    )
    state = fit(
        run,
        state=parallel.replicate(init_state(params, tx, ema=True), mesh),
        train_step=step,
        batches=partial(batches, args=args, mesh=mesh),
        steps=args.steps,
        rng=jax.random.key(2),
        evaluate=evaluate,
        log_every=2,
        eval_every=10,
        save_every=5,
        keep_last=args.keep_last,
        best=("error", "min"),
        title="toy",
    )
    if parallel.is_main_process():
        print(json.dumps({"finished": int(state.step)}))
    return state


def kill_in_save(step: int) -> None:
    """Kills the process when the arrays are saved, before the checkpoint is renamed."""
    complete = Checkpoints._complete

    def killed(self, temporary, at, *rest):
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)
        complete(self, temporary, at, *rest)

    Checkpoints._complete = killed


if __name__ == "__main__":
    arguments = parse()
    jax.config.update("jax_num_cpu_devices", arguments.devices)
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    files._flush = lambda path: None  # the tests kill processes, not the machine
    if arguments.kill_saving >= 0:
        kill_in_save(arguments.kill_saving)
    try:
        main(arguments)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
