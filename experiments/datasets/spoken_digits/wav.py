"""Sounds from WAV files: 16-bit PCM, one channel, by the standard library."""

import wave
from pathlib import Path

import numpy as np

from experiments.datasets.text_files import expand
from experiments.errors import UserError


def read_wav(path: Path, sample_rate: int) -> np.ndarray:
    """Reads a sound.

    Args:
      path: of a WAV file.
      sample_rate: samples per second that it must have.

    Returns:
      Samples between -1 and 1, float32 [N].

    Raises:
      UserError: if there is no such file, or its format is another.
    """
    path = expand(path)
    try:
        with wave.open(str(path), "rb") as file:
            found = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise UserError(f"{path}: expected a WAV file, got none ({error})") from error
    for name, got, want, fix in zip(
        ("channels", "bits in a sample", "samples a second"),
        found,
        (1, 16, sample_rate),
        ("mix them", "convert it", "resample it"),
        strict=True,
    ):
        if got != want:
            raise UserError(
                f"{path}: expected {want} {name}, got {got} ({fix}: "
                f"sox IN.wav -r {sample_rate} -c 1 -b 16 OUT.wav)"
            )
    samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    if not len(samples):
        raise UserError(f"{path}: expected a sound, got no samples")
    return samples.astype(np.float32) / 32768
