"""Which checkpoints of a run a command loads: only intact ones, and it says so."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from experiments.cli.terminal import say
from experiments.errors import DamagedError, UserError
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.manifest import Manifest
from experiments.runs.metrics_log import best_step, is_evaluated

Lines = list[dict[str, Any]]


class Selection:
    """Chooses among the checkpoints of a run that nobody trains meanwhile."""

    def __init__(self, checkpoints: Checkpoints, read_log: Callable[[], Lines]) -> None:
        """Reads nothing yet.

        Args:
          checkpoints: those of the run.
          read_log: returns the lines of metrics.jsonl.
        """
        self._checkpoints, self._read_log = checkpoints, read_log
        self._damage: dict[int, str | None] = {}

    def newest(self, count: int = 1) -> list[int]:
        """Returns the newest intact steps, in order, at least one.

        Raises:
          UserError: if there are none.
        """
        found = []
        for step in self._first_intact(reversed(self._existing())):
            found.append(step)
            if len(found) == count:
                break
        return sorted(found)

    def best(self) -> int:
        """Returns the intact step with the best validation; the last without any.

        Raises:
          UserError: if no checkpoint is intact.
        """
        steps, manifests = self._existing(), self._checkpoints.manifests()
        for step in steps:
            if step not in manifests:
                self._is_intact(step)  # says so: it may have been the best
        ranked = self._ranked(steps, manifests)
        return next(self._first_intact(iter(ranked)))

    def _ranked(self, steps: list[int], manifests: Mapping[int, Manifest]) -> list[int]:
        """Orders the steps: the best, others by their validation, the newest."""
        lines, ranked = evaluated_lines(manifests, self._read_log), []
        if manifests:
            newest = manifests[max(manifests)]
            metric, direction = newest["best"]
            metric = f"validation/{metric}"
            logged = best_step(lines.values(), metric, direction)
            best = newest.get("best_step", logged)
            if best is not None:
                ranked.append(best)
            if best is not None and best not in steps:
                say(f"checkpoint {self._checkpoints.path(best)}, the best, is missing")
            scored = [line for step, line in lines.items() if step in steps]
            while (step := best_step(scored, metric, direction)) is not None:
                ranked.append(step)
                scored = [line for line in scored if line["step"] != step]
        ranked += reversed(steps)
        return [step for step in dict.fromkeys(ranked) if step in steps]

    def _existing(self) -> list[int]:
        steps = self._checkpoints.steps()
        if not steps:
            raise UserError(
                f"{self._checkpoints.folder.parent}: expected a checkpoint in this "
                "run, got none (it stopped before it saved one: resume it, or train "
                "again)"
            )
        return steps

    def _first_intact(self, steps: Iterator[int]) -> Iterator[int]:
        left_out: list[int] = []
        found = False
        for step in steps:
            if self._is_intact(step):
                if left_out:
                    say(f"using the checkpoint of step {step} instead")
                    left_out = []
                found = True
                yield step
            else:
                left_out.append(step)
        if not found:
            raise no_intact_one(self._checkpoints, left_out[0])

    def _is_intact(self, step: int) -> bool:
        if step not in self._damage:
            damage = self._checkpoints.find_damage(step)
            self._damage[step] = damage
            if damage is not None:
                say(f"checkpoint {self._checkpoints.path(step)} is damaged ({damage})")
        return self._damage[step] is None


def evaluated_lines(
    manifests: Mapping[int, Manifest], read_log: Callable[[], Lines]
) -> dict[int, dict[str, Any]]:
    """Returns the lines of the log with validation, by step.

    They are those of the manifests, which have checksums; and those of the log only
    where a run of an earlier version has none in its manifests.
    """
    lines = {
        step: dict(manifest["line"])
        for step, manifest in manifests.items()
        if manifest["line"] is not None and is_evaluated(manifest["line"])
    }
    if any("best_step" not in manifest for manifest in manifests.values()):
        lines = {x["step"]: x for x in read_log() if is_evaluated(x)} | lines
    return lines


def best_so_far(
    checkpoints: Checkpoints,
    log: Lines,
    best: tuple[str, str],
    *more: Mapping[str, Any],
) -> int | None:
    """Finds the best step of a run that is trained; its checkpoint is always kept.

    Args:
      checkpoints: those of the run.
      log: the lines of its log.
      best: metric and direction.
      more: further lines of steps that are there.
    """
    lines = evaluated_lines(checkpoints.manifests(), lambda: log)
    candidates = (*lines.values(), *more)
    return best_step(candidates, f"validation/{best[0]}", best[1])


def no_intact_one(checkpoints: Checkpoints, step: int) -> DamagedError:
    """Makes the error for a run whose checkpoints are all damaged."""
    return DamagedError(
        f"checkpoint {checkpoints.path(step)}: damaged, "
        f"{checkpoints.find_damage(step)}, and the run has no intact one (copy it "
        f"back, or delete {checkpoints.folder} to start this run over)"
    )
