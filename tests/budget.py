"""How long each folder of tests took, beside its budget in CONTRIBUTING.md.

Machines differ, so going over a budget warns and does not fail. Seconds are those of
one core: with `-n 2` the wall clock shows about half of them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_ROW = re.compile(r"^\| `(tests[\w/]*)` \| (\d+) \|", re.MULTILINE)


def read_budgets(text: str) -> dict[str, int]:
    """Reads the table of budgets: folder -> seconds.

    Example:
      >>> read_budgets("| `tests/core` | 120 | the contract |")
      {'tests/core': 120}
    """
    return {folder: int(seconds) for folder, seconds in _ROW.findall(text)}


def seconds_by_folder(reports: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Sums (node id, seconds) by the folder of the test file.

    Example:
      >>> seconds_by_folder([("tests/core/a.py::x", 1.0), ("tests/b.py::y", 2.0)])
      {'tests/core': 1.0, 'tests': 2.0}
    """
    total: dict[str, float] = defaultdict(float)
    for node, seconds in reports:
        total[node.partition("::")[0].rpartition("/")[0]] += seconds
    return dict(total)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table; called by pytest once, on the controller of pytest-xdist."""
    budgets = read_budgets((REPOSITORY / "CONTRIBUTING.md").read_text())
    took = seconds_by_folder(
        (report.nodeid, report.duration)
        for reports in terminalreporter.stats.values()
        for report in reports
        if hasattr(report, "nodeid") and hasattr(report, "duration")
    )
    if not took:
        return
    terminalreporter.section("seconds on one core, by folder")
    for folder in sorted(took):
        budget = budgets.get(folder)
        over = budget is None or took[folder] > budget
        note = "no budget in CONTRIBUTING.md" if budget is None else f"of {budget}"
        terminalreporter.write_line(
            f"{folder:<32}{took[folder]:7.0f}  {note}{'  OVER' if over else ''}",
            yellow=over,
        )
