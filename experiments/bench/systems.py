"""The systems that are compared: their names, which are installed, which are wanted."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from experiments.errors import UserError

ATTNJAX = "attnjax"
TORCH_COMPILED = "torch-compiled"
Calls = dict[str, Callable[[], Any]]


def is_installed(package: str) -> bool:
    """Whether an optional package can be imported."""
    return find_spec(package) is not None


def select_systems(calls: Calls, systems: Sequence[str]) -> Calls:
    """Selects systems by name; an empty selection means all of them.

    Raises:
      UserError: if a name is unknown or its package is not installed.
    """
    unknown = sorted(set(systems) - set(calls))
    if unknown:
        raise UserError(
            f"--systems: expected names among {', '.join(calls)}, "
            f"got {', '.join(unknown)}"
        )
    return {
        name: call for name, call in calls.items() if not systems or name in systems
    }
