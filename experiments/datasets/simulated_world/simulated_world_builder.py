"""Stories of a simulated world, with the facts that support each answer.

Weston, Chopra & Bordes 2014 (arXiv:1410.3916), section 5.2. No file is read or
downloaded: each story is generated (`world`).
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from experiments.datasets import building
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.simulated_world.world import FEWEST, Questions, make_story
from experiments.datasets.stories.datasets import (
    StoryDataset,
    story_features,
    story_records,
)
from experiments.errors import UserError

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatedWorld(StoryDataset):
    """Four actors, three objects, five rooms; a story has one question."""

    questions: Questions = "actor-object"
    """What is asked: where an actor is, where it was before, where an object is."""
    difficulty: int = 5
    """How many statements ago, at most, the entity asked about was mentioned."""
    statements: int = 15
    """Largest number of statements of a story, at least 5."""
    train: int = 3_000
    """Number of training questions."""
    test: int = 1_000
    """Number of test questions."""
    seed: int = 0
    """Seed of the simulation."""

    def builder(self) -> Any:
        """See `StoryDataset`."""
        return building.build(Builder, config(self), self.data_dir)


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One world.

    Attributes:
      sizes: number of stories of each split.
      seed: seed of the simulation.
      world: the other arguments of `make_story`.
    """

    sizes: dict[str, int]
    seed: int
    world: dict[str, Any]


def config(data: SimulatedWorld) -> Config:
    """Makes the builder's configuration; its name depends on all that decides its data.

    Raises:
      UserError: if a number is out of range.
    """
    sizes = {split: getattr(data, split) for split in SPLITS}
    least = {**dict.fromkeys(SPLITS, 1), "difficulty": 1, "statements": FEWEST}
    for name, minimum in least.items():
        if getattr(data, name) < minimum:
            raise UserError(
                f"{name}: expected at least {minimum}, got {getattr(data, name)}"
            )
    if data.difficulty > FEWEST:
        raise UserError(
            f"difficulty: expected at most {FEWEST} (the shortest story), got "
            f"{data.difficulty}"
        )
    world = {
        "difficulty": data.difficulty,
        "questions": data.questions,
        "statements": data.statements,
    }
    parts = [data.seed, *sizes.values(), *world.values(), str(Builder.VERSION)]
    name = f"{data.questions}-{data.difficulty}-{fingerprint(parts)}"
    return Config(name=name, sizes=sizes, seed=data.seed, world=world)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Generates one world."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Moves, gets and drops; one question a story."}

    def _info(self) -> building.DatasetInfo:
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://arxiv.org/abs/1410.3916",
            features=story_features(),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: story_records(self._stories(split)) for split in SPLITS}

    def _stories(self, split: str) -> Iterator[tuple[int, list[str]]]:
        made = self.builder_config
        for index in range(made.sizes[split]):
            yield 1, make_story(made.seed, split, index, **made.world)

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generators are made by `story_records`
