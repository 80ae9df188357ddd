"""PyTorch's device and what works on it; like JAX, it uses a GPU if there is one."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(dtype: str) -> torch.autocast:
    """Autocast to bfloat16 if that is the compute dtype; otherwise it does nothing."""
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=dtype == "bfloat16")


def synchronize() -> None:
    """Waits until the device has finished; on a CPU every call already has."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def synchronized(call: Callable[[], Any]) -> Any:
    """Calls a function and waits until the device has finished."""
    result = call()
    synchronize()
    return result


def torch_compile_works() -> bool:
    """Whether `torch.compile` works here: on a CPU it needs a C++ compiler."""
    with warnings.catch_warnings():
        # PyTorch warns of a setting that it has just changed by itself.
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
        try:
            torch.compile(torch.square)(torch.ones(3))
        except RuntimeError:
            return False
    return True


def check_torch_compile() -> bool:
    """Whether `torch.compile` works here; if not, a message on stderr says so."""
    works = torch_compile_works()
    if not works:
        print(
            "torch-compiled is skipped: torch.compile does not work here",
            file=sys.stderr,
        )
    return works
