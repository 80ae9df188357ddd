"""Misspelt names of commands and configs are answered with the nearest."""

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from typing import Any

from experiments.errors import UserError


def check_names(commands: Any, arguments: Sequence[str]) -> None:
    """Checks the names that a command line begins with.

    Args:
      commands: a union of commands, as `tyro.cli` takes it. A command with a field
        `config` has a second name.
      arguments: the command line, without the program.

    Raises:
      UserError: naming the nearest name that there is.
    """
    for role, argument in zip(("command", "config"), arguments, strict=False):
        choices = _choices(commands)
        if not choices or argument.startswith("-"):
            return
        if argument not in choices:
            near = difflib.get_close_matches(argument, choices, n=1, cutoff=0.5)
            remedy = f"did you mean {near[0]}?" if near else "see --help"
            raise UserError(
                f"{role}: expected one of {', '.join(choices)}, got {argument!r} "
                f"({remedy})"
            )
        commands = choices[argument]


def _choices(commands: Any) -> dict[str, Any]:
    """Maps the names of a union's members to the union that follows each of them."""
    if typing.get_origin(commands) is typing.Annotated:
        commands = typing.get_args(commands)[0]
    found: dict[str, Any] = {}
    for member in typing.get_args(commands):
        kind, settings = typing.get_args(member)[:2]
        configs = {f.name: f.type for f in dataclasses.fields(kind)}
        found[settings.name] = configs.get("config")
    return found
