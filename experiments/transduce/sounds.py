"""Sounds as inputs: padded vectors, and the reader that decodes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jax.sharding import Mesh

from experiments.datasets.pairs.batching import PADDING_ROW, Ids, fill_row
from experiments.datasets.pairs.bucketing import Shape
from experiments.datasets.spoken_digits.filterbank import SHIFT_MS
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.datasets.spoken_digits.utterances import Features, Utterances
from experiments.datasets.spoken_digits.wav import read_wav
from experiments.datasets.tokenizers.sentences import PAD, Tokenizer
from experiments.errors import UserError
from experiments.transduce.config import DataConfig, SearchConfig
from experiments.transduce.model import Frames, Reader
from experiments.transduce.reading import BatchReader


class SoundBatch(NamedTuple):
    """A batch of sounds; a row without a vector completes it."""

    source: Frames
    target: np.ndarray  # label ids with EOS, then PAD, int32 [B, U]


class Examples(Sequence[tuple[np.ndarray, Ids]]):
    """Utterances with the ids of their digits; a sound is made when it is read."""

    def __init__(self, utterances: Utterances, target: Tokenizer) -> None:
        """Keeps both; `lengths` are those of `Utterances`."""
        self._utterances, self._target = utterances, target
        self.lengths, self.width = utterances.lengths, utterances.features.width

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """Returns vectors [T, D], and ids."""
        vectors, (words,) = self._utterances[index]
        return vectors, self._target.tokenize(" ".join(words))


class Pairs(Sequence[tuple[np.ndarray, Ids]]):
    """Vectors [T, D] with label ids."""

    def __init__(self, sources: Sequence[np.ndarray], targets: Sequence[Ids]) -> None:
        """Keeps both; `lengths` are those of every pair, [N, 2]."""
        self._pairs = list(zip(sources, targets, strict=True))
        self.lengths = np.array([(len(x), len(y)) for x, y in self._pairs])
        self.width = sources[0].shape[1]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        return self._pairs[index]


def pad_sources(
    sources: Sequence[np.ndarray], indices: np.ndarray, length: int
) -> Frames:
    """Copies the vectors of these indices; a row of index -1 has none."""
    rows = [None if i == PADDING_ROW else sources[i] for i in indices.tolist()]
    return _frames(rows, length, sources[0].shape[1])


def pad_batch(examples: Any, indices: np.ndarray, shape: Shape) -> SoundBatch:
    """Copies `Examples` or `Pairs` into a batch of this shape."""
    target = np.full((len(indices), shape.target), PAD, np.int32)
    rows: list[np.ndarray | None] = [None] * len(indices)
    for row, index in enumerate(indices.tolist()):
        if index != PADDING_ROW:
            rows[row], ids = examples[index]
            fill_row(target[row], ids)
    return SoundBatch(_frames(rows, shape.source, examples.width), target)


def _frames(rows: Sequence[np.ndarray | None], length: int, width: int) -> Frames:
    vectors = np.zeros((len(rows), length, width), np.float32)
    counts = np.zeros(len(rows), np.int32)
    for row, one in enumerate(rows):
        if one is not None:
            vectors[row, : len(one)], counts[row] = one, len(one)
    return Frames(vectors, counts)


class SoundReader(BatchReader):
    """Decodes sounds; its inputs are vectors [T, D], its lines names of WAV files."""

    unit: ClassVar[str] = "utterances"
    rates: ClassVar[tuple[str, str]] = ("ser", "wer")
    pad_sources = staticmethod(pad_sources)  # type: ignore[assignment]
    pad_batch = staticmethod(pad_batch)  # type: ignore[assignment]
    pairs = Pairs  # type: ignore[assignment]

    def __init__(
        self, reader: Reader, search: SearchConfig, mesh: Mesh, features: Features
    ) -> None:
        """See `BatchReader`; `features` makes vectors of sounds."""
        super().__init__(reader, search, mesh)
        self.features = features

    def can_read(self, symbols: Any) -> bool:
        """Every sound can be read."""
        return True

    def tokenize(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Returns the vectors as they are."""
        return inputs

    def name(self, line: str) -> str:
        """The path of a WAV file."""
        return line.strip()

    def parse(self, names: Sequence[str]) -> list[np.ndarray]:
        """Reads the WAV files of these names; an empty name has no vector.

        Raises:
          UserError: naming a file that is missing, or of another format.
        """
        return [self._vectors(name) for name in names]

    def _vectors(self, name: str) -> np.ndarray:
        if not name:
            return np.zeros((0, self.features.width), np.float32)
        sound = read_wav(Path(name), self.features.sample_rate)
        try:
            return self.features.of(sound)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error

    def place(self, position: int) -> str:
        """The second at which a vector ends, and the next begins.

        Its last window reaches 15 ms further: windows are longer than their shift.
        """
        return f"{(position + 1) * self.features.stack * SHIFT_MS / 1000:.2f}"


def batch_reader(
    data: DataConfig, reader: Reader, search: SearchConfig, mesh: Mesh
) -> BatchReader:
    """Makes the reader of these data's inputs."""
    if isinstance(data, SpokenDigits):
        return SoundReader(reader, search, mesh, data.features)
    return BatchReader(reader, search, mesh)
