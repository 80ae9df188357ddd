"""bAbI v1.2: twenty toy tasks of answering questions about stories, in English.

Weston et al. 2015 (arXiv:1502.05698), "Towards AI-complete question answering". 1,000
questions a task to test, 1,000 or 10,000 to train. CC BY 3.0, (c) Facebook, Inc.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.stories.datasets import (
    StoryDataset,
    story_features,
    story_records,
)
from experiments.datasets.stories.format import split_stories
from experiments.errors import UserError

TASKS = (
    *("single-supporting-fact", "two-supporting-facts", "three-supporting-facts"),
    *("two-arg-relations", "three-arg-relations", "yes-no-questions", "counting"),
    *("lists-sets", "simple-negation", "indefinite-knowledge", "basic-coreference"),
    *("conjunction", "compound-coreference", "time-reasoning", "basic-deduction"),
    *("basic-induction", "positional-reasoning", "size-reasoning", "path-finding"),
    "agents-motivations",
)
FOLDERS = {"1k": "en", "10k": "en-10k"}
SPLITS = ("train", "test")
Size = Literal["1k", "10k"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BAbI(StoryDataset):
    """The bAbI tasks, any of the twenty."""

    raw_dir: Path | None = None
    """Folder that holds en/ and en-10k/ with the original files, plain or gzipped."""
    size: Size = "1k"
    """Number of training questions of each task: 1,000 or 10,000."""
    tasks: tuple[int, ...] = tuple(range(1, 21))
    """Numbers of the tasks, from 1 to 20; a model trains on all of them together."""

    def builder(self) -> Any:
        """See `StoryDataset`."""
        made = config(self.raw_dir, self.size, self.tasks)
        return building.build(Builder, made, self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """Some tasks of one size.

    Attributes:
      files: the files of each split, by task.
    """

    files: Mapping[str, Mapping[int, Path]]


def config(raw_dir: Path | None, size: Size, tasks: tuple[int, ...]) -> Config:
    """Makes the configuration of some tasks; its name depends on the files' contents.

    Raises:
      UserError: if there is no such task, or files are missing.
    """
    if raw_dir is None:
        raise UserError(
            "raw_dir: expected the folder of en/ and en-10k/ of bAbI v1.2, got none "
            "(name it with --data.raw-dir; the archive is tasks_1-20_v1-2.tar.gz)"
        )
    chosen = sorted(set(tasks))
    if not chosen or len(chosen) != len(tasks):
        raise UserError(f"tasks: expected different tasks, at least one, got {tasks}")
    if chosen[0] < 1 or chosen[-1] > len(TASKS):
        raise UserError(f"tasks: expected numbers from 1 to {len(TASKS)}, got {tasks}")
    folder = text_files.require_folder(text_files.absolute(raw_dir), "raw_dir")
    files = {
        split: {task: _find(folder, size, task, split) for task in chosen}
        for split in SPLITS
    }
    paths = [path for some in files.values() for path in some.values()]
    return Config(name=f"{size}-{fingerprint([size, *chosen], paths)}", files=files)


def _find(folder: Path, size: Size, task: int, split: str) -> Path:
    """The file of a task; the tests of 10k are those of 1k."""
    name = f"qa{task}_{TASKS[task - 1]}_{split}.txt"
    wanted = [folder / FOLDERS[size]]
    if split == "test" and size == "10k":
        wanted.append(folder / FOLDERS["1k"])
    for place in wanted:
        if found := text_files.plain_or_gzip(place / name):
            return found
    raise UserError(
        f"raw_dir: expected {wanted[0].name}/{name} (or with .gz), got no such file in "
        f"{folder} (leave task {task} out with --data.tasks)"
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds some tasks; a record is a story."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "One record a story, its lines as they are."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://research.facebook.com/downloads/babi",
            features=story_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        files = self.builder_config.files
        return {split: story_records(_stories(files[split])) for split in SPLITS}

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `story_records`


def _stories(files: Mapping[int, Path]) -> Iterator[tuple[int, list[str]]]:
    """Reads (task, lines of a story) from each task's file."""
    for task, path in files.items():
        empty = True
        for lines in split_stories(text_files.read_lines(path), str(path)):
            empty = False
            yield task, lines
        if empty:
            raise UserError(f"{path}: expected stories, got an empty file")
