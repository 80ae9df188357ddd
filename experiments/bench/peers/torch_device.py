"""What PyTorch can do here: it computes on a GPU where it finds one, as JAX does."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(dtype: str) -> torch.autocast:
    """Products in bfloat16 where that is the dtype of computation."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == "bfloat16")


def finish() -> None:
    """Returns when what was asked of the device is done; a CPU has done it already."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def done(call: Callable[[], Any]) -> Any:
    """What a call returns, when what it asked of the device is done too."""
    result = call()
    finish()
    return result


def can_compile() -> bool:
    """Whether `torch.compile` works here: it needs a C++ compiler, among others."""
    # What an earlier process compiled is compiled again, as ours is.
    torch.compiler.config.force_disable_caches = True
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "dynamo_pgo force disabled"
        )  # by us, just now
        try:
            torch.compile(torch.square)(torch.ones(3))
        except RuntimeError:
            return False
    return True


def compiles() -> bool:
    """Whether `torch.compile` works here; where it does not, it is said."""
    works = can_compile()
    if not works:
        print("torch-compiled is left out: it does not work here", file=sys.stderr)
    return works
