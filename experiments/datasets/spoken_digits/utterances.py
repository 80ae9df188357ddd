"""Utterances of several digits: clips of one speaker, joined with silence between.

Utterance n of a seed is a function of both; its sound is made when it is asked for, so
that there can be as many as a training takes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.datasets.data_dir import fingerprint_content
from experiments.datasets.readings.datasets import Entry
from experiments.datasets.spoken_digits.filterbank import log_mel, num_vectors

WORDS = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
SILENCE = 0.05, 0.4  # seconds before, between and behind digits
NOISE = 20.0, 50.0  # decibels of the digits above the noise


class Clip(NamedTuple):
    """One spoken digit."""

    audio: np.ndarray  # int16 [N]
    digit: int
    speaker: str
    take: int  # number of the recording: of this digit by this speaker, from 0


class Features(NamedTuple):
    """How a sound becomes vectors; see `filterbank.log_mel`."""

    sample_rate: int
    num_mel_bins: int
    stack: int

    @property
    def width(self) -> int:
        """Width of a vector."""
        return self.num_mel_bins * self.stack

    def of(self, sound: np.ndarray) -> np.ndarray:
        """The vectors of a sound, [T, D]."""
        return log_mel(
            sound, self.sample_rate, num_mel_bins=self.num_mel_bins, stack=self.stack
        )


class Recipe(NamedTuple):
    """What utterances are like."""

    size: int  # number of utterances
    max_digits: int
    speed_perturbation: float  # share by which an utterance is faster or slower at most
    seed: tuple[int, ...]


class Utterances(Sequence[Entry]):
    """Utterances as entries: their vectors, and their digits as words.

    Attributes:
      lengths: number of vectors and of digits of each, [N, 2].
      features: how their sounds become vectors.
    """

    def __init__(
        self, clips: Iterable[Clip], recipe: Recipe, features: Features
    ) -> None:
        """Draws what every utterance is made of; makes no sound.

        Raises:
          ValueError: if there are no clips.
        """
        self._clips = sorted(clips, key=lambda c: (c.speaker, c.digit, c.take))
        if not self._clips:
            raise ValueError("clips: expected at least one, got none")
        self._recipe, self.features = recipe, features
        rng = np.random.default_rng(recipe.seed)
        N, K = recipe.size, recipe.max_digits
        speakers = np.array([clip.speaker for clip in self._clips])
        names, first, size = np.unique(speakers, return_index=True, return_counts=True)
        speaker = rng.integers(len(names), size=(N, 1))
        # The clips of a speaker are neighbours.
        self._chosen = first[speaker] + rng.integers(size[speaker], size=(N, K))
        counts = rng.integers(1, K + 1, N)
        low, high = (int(seconds * features.sample_rate) for seconds in SILENCE)
        self._silences = rng.integers(low, high + 1, (N, K + 1))
        most = recipe.speed_perturbation
        self._speeds = 1 + rng.uniform(-most, most, N)
        self._noises = rng.uniform(*NOISE, N)
        real = np.arange(K) < counts[:, None]  # [N] -> [N, 1]
        sizes = np.array([len(clip.audio) for clip in self._clips])[self._chosen]
        samples = (real * (sizes + self._silences[:, 1:])).sum(axis=1)
        self._samples = ((samples + self._silences[:, 0]) / self._speeds).astype(
            np.int64
        )
        vectors = num_vectors(self._samples, features.sample_rate, features.stack)
        self.lengths = np.stack([vectors, counts], axis=1)  # 2 x [N] -> [N, 2]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Makes an utterance; of a slice, all of them."""
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index}: expected one of {len(self)} utterances")
        sound = self.sound(index % len(self))
        return Entry(self.features.of(sound), (self.words(index % len(self)),))

    def words(self, index: int) -> tuple[str, ...]:
        """The digits of an utterance, as words."""
        return tuple(WORDS[clip.digit] for clip in self.clips(index))

    def clips(self, index: int) -> list[Clip]:
        """The clips of an utterance, in order."""
        chosen = self._chosen[index, : self.lengths[index, 1]]
        return [self._clips[n] for n in chosen]

    def sound(self, index: int) -> np.ndarray:
        """The samples of an utterance, between -1 and 1, float32 [N]."""
        rng = np.random.default_rng((*self._recipe.seed, index))
        silences = [np.zeros(n, np.float32) for n in self._silences[index]]
        spoken = [clip.audio.astype(np.float32) / 32768 for clip in self.clips(index)]
        parts = silences[:1]
        for one, silence in zip(spoken, silences[1:], strict=False):
            parts += [one, silence]
        # Faster is also higher, as another speaker's voice may be.
        joined, N = np.concatenate(parts), int(self._samples[index])
        at = np.arange(N) * self._speeds[index]
        sound = np.interp(at, np.arange(len(joined)), joined)
        loudness = np.sqrt(np.mean(np.concatenate(spoken) ** 2))
        noise = loudness * 10 ** (-self._noises[index] / 20)
        return (sound + noise * rng.standard_normal(N)).astype(np.float32)

    def fingerprint(self) -> str:
        """Hashes all that the utterances are made of."""
        settings = repr((self._recipe, self.features, SILENCE, NOISE)).encode()
        return fingerprint_content(
            [
                settings,
                *(clip.audio.tobytes() + bytes([clip.digit]) for clip in self._clips),
            ]
        )
