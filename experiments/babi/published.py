"""What the papers report on bAbI, in %, to stand beside a run's errors."""

FAILED = 0.05  # a task with more errors than this has failed

# End to end, one model of all tasks, 3 hops, PE LS RN, 1k: Sukhbaatar et al. 2015
# (arXiv:1503.08895), table 1, tasks 1 to 20.
_JOINT_1K = (
    *(0.0, 11.4, 21.9, 13.4, 14.4, 2.8, 18.3, 9.3, 1.9, 6.5),
    *(0.3, 0.1, 0.2, 6.9, 0.0, 2.7, 40.4, 9.4, 88.0, 0.0),
)


def published_errors(
    size: str | None, tasks: int, *, supervised: bool
) -> dict[str, float]:
    """Returns the paper's errors by task; {} where no row compares.

    Args:
      size: "1k" or "10k"; None for other data.
      tasks: number of tasks that one model was trained on.
      supervised: whether it was trained on supporting facts.

    Example:
      >>> published_errors("1k", 20, supervised=False)["2"]
      11.4
    """
    if size != "1k" or tasks != 20 or supervised:
        return {}
    return {str(task): error for task, error in enumerate(_JOINT_1K, start=1)}
