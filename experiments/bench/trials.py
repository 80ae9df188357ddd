"""Which systems meet on which shapes, and the records of it."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from experiments.bench.cases import recurrent
from experiments.bench.shapes import (
    MULTI30K_DECODER,
    MULTI30K_RECURRENT,
    TINY_DECODER,
    TINY_RECURRENT,
    WIDE_RECURRENT,
)
from experiments.bench.timing import race
from experiments.errors import UserError

Calls = dict[str, Callable[[], Any]]
OURS = "attnjax"
# Takes PyTorch a minute, so it may have to be asked for.
COMPILED = "torch-compiled"
SPECS: dict[str, tuple[Any, ...]] = {
    "gru": (WIDE_RECURRENT, MULTI30K_RECURRENT),
    "lstm": (WIDE_RECURRENT, MULTI30K_RECURRENT),
    "decoder": (MULTI30K_DECODER,),
}
TINY: dict[str, tuple[Any, ...]] = {
    "gru": (TINY_RECURRENT,),
    "lstm": (TINY_RECURRENT,),
    "decoder": (TINY_DECODER,),
}
PASSES = {
    "gru": recurrent.gru_passes,
    "lstm": recurrent.lstm_passes,
    "decoder": recurrent.decoder_passes,
}


def installed(package: str) -> bool:
    """Whether a peer is here."""
    return importlib.util.find_spec(package) is not None


def time_recurrent(options: Any) -> list[dict[str, Any]]:
    """Times every cell, shape and dtype; one record per system.

    Args:
      options: a `commands.Recurrent`.

    Returns:
      Records with `cell`, `shape`, `dtype`, `system`, `seconds` and all turns.
    """
    records: list[dict[str, Any]] = []
    for cell in options.cells:
        for spec in (TINY if options.tiny else SPECS)[cell]:
            for dtype in options.dtypes:
                calls = choose(recurrent_calls(cell, spec, dtype), options.systems)
                what = {"cell": cell, "shape": spec._asdict(), "dtype": dtype}
                records += timed(calls, what, options)
    return records


def recurrent_calls(cell: str, spec: Any, dtype: str) -> Calls:
    """Every system's pass of one cell on one shape."""
    passes = PASSES[cell](spec)  # type: ignore[operator]
    calls = {n: recurrent.jax_call(one, dtype) for n, one in passes.items()}
    if installed("torch"):
        from experiments.bench.peers import torch_cells

        make = getattr(torch_cells, f"torch_{cell}")
        calls["torch"] = make(spec, dtype)
    return calls


def choose(calls: Calls, systems: tuple[str, ...]) -> Calls:
    """The calls of the systems that were asked for."""
    unknown = sorted(set(systems) - set(calls))
    if unknown:
        raise UserError(
            f"--systems: expected names among {', '.join(calls)}, "
            f"got {', '.join(unknown)}"
        )
    return {n: call for n, call in calls.items() if not systems or n in systems}


def timed(calls: Calls, what: dict[str, Any], options: Any) -> list[dict[str, Any]]:
    """Records of one race, which is told on stderr."""
    sizes = " ".join(str(value) for value in what.values() if isinstance(value, str))
    print(f"timing {sizes}: {', '.join(calls)}", file=sys.stderr, flush=True)
    timings = race(calls, repeats=options.repeats)
    return [
        {
            **what,
            "system": name,
            "seconds": timing.seconds(options.clock),
            **timing._asdict(),
        }
        for name, timing in timings.items()
    ]
