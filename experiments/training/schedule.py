"""When a training logs, evaluates and saves."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """When to log, evaluate and save; an `every` of 0 means never."""

    steps: int
    log_every: int
    eval_every: int
    save_every: int
    keep_last: int
    best: tuple[str, str]

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("log_every", 1),
            ("eval_every", 0),
            ("save_every", 0),
            ("keep_last", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected at least {least}, got {getattr(self, name)}"
                )
        if self.best[1] not in ("max", "min"):
            raise ValueError(f"best: expected max or min, got {self.best[1]!r}")

    def should_log(self, step: int) -> bool:
        return step % self.log_every == 0 or step == self.steps

    def should_evaluate(self, step: int) -> bool:
        return _due(step, self.eval_every) or step == self.steps

    def should_save(self, step: int) -> bool:
        return _due(step, self.save_every) or self.should_evaluate(step)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
