"""The options that several benchmarks share, and the course of every benchmark."""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.bench.timing import describe_machine
from experiments.cli.compilation_cache import CompilationOptions
from experiments.errors import UserError

Dtype = Literal["float32", "bfloat16"]
Records = list[dict[str, Any]]


def at_least_one(number: int, name: str) -> None:
    """Rejects a number below 1.

    Raises:
      UserError: it names the option.
    """
    if number < 1:
        raise UserError(f"{name}: expected at least 1, got {number}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(CompilationOptions):
    """Options of every benchmark."""

    repeats: int = 10
    """Number of timed calls of each system; the median is reported."""
    clock: Literal["wall", "cpu"] = "wall"
    """Reported time: median wall time, or minimum CPU time (for a shared machine)."""
    smoke: bool = False
    """Use tiny shapes, to test that the benchmark runs; the figures mean nothing."""
    out: Path | None = None
    """JSON file to which all timings are written."""

    def check(self) -> None:
        """Rejects invalid options before anything is timed."""
        at_least_one(self.repeats, "--repeats")
        if self.out is not None and not self.out.parent.is_dir():
            raise UserError(
                f"--out: expected a file in an existing folder, got {self.out} "
                f"(make {self.out.parent} first)"
            )

    def report(
        self,
        time: Callable[[Any], Records],
        print_table: Callable[[Records], None],
        packages: Sequence[str] = (),
    ) -> None:
        """Runs a benchmark, prints its table and writes the timings.

        Args:
          time: takes these options and returns records.
          print_table: prints the records.
          packages: optional packages whose absence is reported.
        """
        from experiments.bench.tables import (
            print_left_out,
            print_machine,
            print_missing,
        )

        self.check()
        machine = describe_machine()
        print_machine(machine)
        print_missing(packages)
        records = time(self)
        if not records:
            raise UserError("--systems: expected a system that works here, got none")
        print_table([r for r in records if not r.get("left_out")])
        print_left_out(records)
        if self.out is not None:
            result = {"machine": machine, "clock": self.clock, "records": records}
            self.out.write_text(json.dumps(result, indent=1) + "\n")
            print(f"timings: {self.out}", file=sys.stderr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SystemOptions(Options):
    """Options of a benchmark that compares several systems."""

    systems: tuple[str, ...] = ()
    """Systems to time, by their names in the table; none given means all installed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DtypeOptions(SystemOptions):
    """Options of a benchmark that compares systems and compute dtypes."""

    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    """Compute dtypes to time; parameters are always float32."""
