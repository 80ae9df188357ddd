"""Two tasks of a few stories each: where an actor is, and who is where."""

from pathlib import Path

from experiments.datasets.babi.babi_builder import TASKS

ACTORS, ROOMS = ("Mary", "John", "Bill"), ("hall", "garden", "office", "kitchen")
SETTINGS = (
    *("--batch-size", 8, "--steps", 8, "--log-every", 1, "--save-every", 2),
    *("--eval-every", 4, "--held-out", 0.2, "--linear-start-steps", 4),
    *("--model.embed-dim", 7),
)


def train_command(
    config: str, folder: Path, raw: Path, data_dir: Path
) -> tuple[object, ...]:
    """The command line that trains a tiny run of both tasks."""
    # With a sink the weights of a hop would not sum to 1.
    model = ("--model.no-sink",) if config.startswith("joint") else ()
    return (
        *("train", config, "--out", folder, "--data.raw-dir", raw),
        *("--data.data-dir", data_dir, "--data.tasks", 1, 2, *SETTINGS, *model),
    )


def stories(split: str, task: int, count: int) -> str:
    """Stories of three facts, with a question after the second and the third."""
    lines = []
    for n in range(count):
        k = n * (2 * task + 1) + (split == "test")
        actors = [ACTORS[(k + i * (1 + k // 3)) % 3] for i in range(3)]
        rooms = [ROOMS[(k // 2 + i * (1 + k // 5)) % 4] for i in range(3)]
        facts = [f"{a} went to the {r}." for a, r in zip(actors, rooms, strict=True)]
        last = max(i for i in range(2) if actors[i] == actors[1])
        lines += [f"1 {facts[0]}", f"2 {facts[1]}"]
        lines += [
            f"3 Where is {actors[1]}?\t{rooms[last]}\t{last + 1}",
            f"4 {facts[2]}",
        ]
        if task == 1:
            lines += [f"5 Where is {actors[2]}?\t{rooms[2]}\t4"]
        else:
            lines += [f"5 Who is in the {rooms[2]}?\t{actors[2]},{rooms[0]}\t4 1"]
    return "\n".join(lines) + "\n"


def write_babi(folder: Path) -> None:
    """Writes the two tasks as files of bAbI."""
    (folder / "en").mkdir()
    for task in (1, 2):
        for split, count in (("train", 30), ("test", 7)):
            name = f"qa{task}_{TASKS[task - 1]}_{split}.txt"
            (folder / "en" / name).write_text(stories(split, task, count))
