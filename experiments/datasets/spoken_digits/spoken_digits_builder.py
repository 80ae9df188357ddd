"""The Free Spoken Digit Dataset: digits of six speakers, joined to utterances.

github.com/Jakobovski/free-spoken-digit-dataset, as one file `fsdd.npz` with the arrays
`audio` (int16, all clips after one another), `offsets` (where each begins, and the
end), `digit`, `speaker`, `index` and `sample_rate`. CC BY-SA 4.0.
"""

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from experiments.datasets import building, text_files
from experiments.datasets.data_dir import fingerprint
from experiments.datasets.readings.datasets import SPLITS, Entry, ReadingDataset
from experiments.datasets.spoken_digits.utterances import (
    Clip,
    Features,
    Recipe,
    Utterances,
)
from experiments.errors import UserError

FILE, SAMPLE_RATE = "fsdd.npz", 8000
TEST, VALIDATION = range(5), range(5, 10)  # indices; 0 to 4 are the official test clips


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenDigits(ReadingDataset):
    """Connected digits: clips of one speaker, joined with silence between.

    Four splits: `test` is one speaker who is in no other, `seen` the official test
    clips (recordings 0 to 4 of each digit) of the other speakers, `validation` and
    `train` their recordings 5 to 9 and 10 to 49.
    """

    splits: ClassVar[tuple[str, ...]] = (*SPLITS, "seen")

    raw_dir: Path | None = None
    """Folder that holds fsdd.npz."""
    held_out_speaker: str | None = "george"
    """The speaker of the split test, who is in no other. None: test has the official
    test clips, whose speakers are all in training."""
    train: int = 100_000
    """Number of training utterances; each is made when it is needed."""
    validation: int = 100
    """Number of utterances for validation."""
    test: int = 500
    """Number of utterances of each of the splits test and seen."""
    max_digits: int = 7
    """Most digits in an utterance; it has one at least."""
    speed_perturbation: float = 0.15
    """Share by which a training utterance is faster and higher, or slower and lower,
    at most."""
    num_mel_bins: int = 40
    """Number of mel filters."""
    stacked_frames: int = 6
    """Number of frames of 10 ms that are one input vector."""
    split_seed: int = 0
    """Seed of the utterances."""

    @property
    def features(self) -> Features:
        """How a sound becomes vectors."""
        return Features(SAMPLE_RATE, self.num_mel_bins, self.stacked_frames)

    def load(self, split: str) -> Sequence[Entry]:
        """See `ReadingDataset`; the entries are made when they are read."""
        return self.utterances(split)

    def utterances(self, split: str) -> Utterances:
        """Joins the clips of a split to utterances.

        Raises:
          UserError: if the data are missing or invalid, or the split is unknown.
        """
        if split not in self.splits:
            raise UserError(
                f"split: expected one of {', '.join(self.splits)}, got {split!r}"
            )
        count = self.test if split == "seen" else getattr(self, split)
        if count < 1:
            raise UserError(f"data.{split}: expected at least 1 utterance, got {count}")
        clips = self._clips()
        speakers = sorted({clip.speaker for clip in clips})
        if self.held_out_speaker not in (None, *speakers):
            raise UserError(
                f"data.held_out_speaker: expected None or one of "
                f"{', '.join(speakers)}, got {self.held_out_speaker!r}"
            )
        recipe = Recipe(
            count,
            self.max_digits,
            self.speed_perturbation if split == "train" else 0.0,
            (self.split_seed, self.splits.index(split)),
        )
        chosen = [clip for clip in clips if self._has(split, clip)]
        if not chosen:
            raise UserError(f"data: expected clips for the split {split}, got none")
        return Utterances(chosen, recipe, self.features)

    def _has(self, split: str, clip: Clip) -> bool:
        if clip.speaker == self.held_out_speaker:
            return split == "test"
        if clip.take in TEST:
            return split == "seen" or (split == "test" and not self.held_out_speaker)
        return split == ("validation" if clip.take in VALIDATION else "train")

    def _clips(self) -> list[Clip]:
        source = building.build(Builder, config(self.raw_dir), self.data_dir)
        records = source.as_data_source("clips")
        return [_clip(one) for one in records.__getitems__(range(len(records)))]


@dataclasses.dataclass(kw_only=True)
class Config(tfds.core.BuilderConfig):
    """One file of clips."""

    file: Path


def config(raw_dir: Path | None) -> Config:
    """Makes the configuration; its name depends on the file's content.

    Raises:
      UserError: if there is no such file.
    """
    if raw_dir is None:
        raise UserError(
            f"raw_dir: expected the folder of {FILE}, got none (name it with "
            "--data.raw-dir)"
        )
    folder = text_files.require_folder(text_files.absolute(raw_dir), "raw_dir")
    file = text_files.require_file(folder / FILE)
    return Config(name=fingerprint([], [file]), file=file)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds one split `clips`; a record is a spoken digit."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Clips as they are recorded."}

    def _info(self) -> building.DatasetInfo:
        features = {
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16),
            "digit": tfds.features.Scalar(np.int32),
            "speaker": tfds.features.Text(),
            "index": tfds.features.Scalar(np.int32),
        }
        return building.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"clips": _records(read_clips(self.builder_config.file))}

    def _generate_examples(self) -> Iterator[Any]:
        raise NotImplementedError  # the generator is made by `_records`


def read_clips(file: Path) -> list[Clip]:
    """Reads the clips of a file.

    Raises:
      UserError: if an array is missing, or has another dtype or length; if samples are
        taken at another rate; if a clip is empty, or its digit none.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            audio, offsets, digit, speaker, index, rate = (
                arrays[name]
                for name in (
                    *("audio", "offsets", "digit", "speaker", "index"),
                    "sample_rate",
                )
            )
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: expected the arrays of clips ({error})") from error
    if rate != SAMPLE_RATE:
        raise UserError(f"{file}: expected {SAMPLE_RATE} samples a second, got {rate}")
    if audio.dtype != np.int16 or audio.ndim != 1:
        raise UserError(
            f"{file}: expected samples of int16 [N], got {audio.dtype} "
            f"{list(audio.shape)}"
        )
    sizes, N = np.diff(offsets), len(digit)
    if not len(sizes) == len(speaker) == len(index) == N or (
        (offsets[0], offsets[-1]) != (0, len(audio)) or sizes.min() < 1
    ):
        raise UserError(
            f"{file}: expected offsets of {N} clips that are not empty, from 0 to "
            f"{len(audio)}, got {len(offsets)} offsets"
        )
    if digit.min() < 0 or digit.max() > 9:
        raise UserError(f"{file}: expected digits from 0 to 9, got {digit.max()}")
    return [
        Clip(audio[start:end], int(d), str(s), int(i))
        for start, end, d, s, i in zip(
            offsets[:-1], offsets[1:], digit, speaker, index, strict=True
        )
    ]


def _records(clips: list[Clip]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, clip in enumerate(clips):
        yield (
            number,
            {
                "audio": clip.audio,
                "digit": clip.digit,
                "speaker": clip.speaker,
                "index": clip.take,
            },
        )


def _clip(record: dict[str, Any]) -> Clip:
    return Clip(
        np.asarray(record["audio"]),
        int(record["digit"]),
        record["speaker"].decode(),
        int(record["index"]),
    )
