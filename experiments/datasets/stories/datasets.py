"""The interface of every data set of stories, and how its stories are read."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets.data_dir import fingerprint_content
from experiments.datasets.stories.format import Story, parse_story
from experiments.errors import UserError


class TaskStory(NamedTuple):
    """A story, and the number of the task that it belongs to."""

    task: int
    story: Story


def story_features() -> tfds.features.FeaturesDict:
    """Returns the features of every data set of stories: lines, as bAbI has them."""
    return tfds.features.FeaturesDict(
        {"task": tfds.features.Scalar(np.int64), "story": tfds.features.Text()}
    )


def story_records(
    stories: Iterator[tuple[int, Sequence[str]]],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Makes the records of a builder from (task, lines of a story)."""
    for i, (task, lines) in enumerate(stories):
        yield i, {"task": task, "story": "\n".join(lines)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoryDataset:
    """Settings of a data set of stories, which become flags of a command line."""

    data_dir: Path | None = None
    """Folder of prepared data (default: $ATTNJAX_DATA_DIR or the user's cache)."""

    def builder(self) -> Any:
        """Returns the prepared tensorflow-datasets builder; builds it on first use."""
        raise NotImplementedError

    def load(self, split: str) -> list[TaskStory]:
        """Reads a split, "train" or "test", in the order of the files.

        Raises:
          UserError: if there is no such split, or the data are missing or invalid.
        """
        builder = self.builder()
        names = tuple(builder.info.splits)
        if split not in names:
            raise UserError(f"split: expected one of {', '.join(names)}, got {split!r}")
        source = builder.as_data_source(split)
        # One call of __getitems__ lets array_record read in bulk.
        records = source.__getitems__(range(len(source)))
        return [
            TaskStory(int(r["task"]), parse_story(r["story"].decode().split("\n")))
            for r in records
        ]


def fingerprint_stories(stories: Sequence[TaskStory]) -> str:
    """Hashes stories with their questions, in their order."""
    return fingerprint_content(repr(story).encode() for story in stories)


def hold_out(
    stories: Sequence[TaskStory], share: float
) -> tuple[list[TaskStory], list[TaskStory]]:
    """Splits stories in two: those that train, and the last of each task.

    A story is never divided, since its questions share facts.

    Args:
      stories: of any number of tasks.
      share: about how much of each task's questions the second part has.

    Raises:
      UserError: if a task has no story left to train on.
    """
    kept, held = [], []
    for task in sorted({s.task for s in stories}):
        mine = [s for s in stories if s.task == task]
        total = sum(len(s.story.questions) for s in mine)
        end, seen = len(mine), 0
        while end and seen + len(mine[end - 1].story.questions) <= share * total:
            end -= 1
            seen += len(mine[end].story.questions)
        if end == 0:
            raise UserError(
                f"held_out: expected to leave stories of task {task} to train on, got "
                f"{share}"
            )
        kept += mine[:end]
        held += mine[end:]
    return kept, held
