"""Made-up digits in the format of the Free Spoken Digit Dataset: two tones each."""

import numpy as np

RATE = 8000
SPEAKERS = ("ann", "ben", "cy")


def tone(digit, speaker, take):
    """A digit is a pair of tones; a speaker's are higher by a twentieth."""
    rng = np.random.default_rng((digit, speaker, take))
    length = int(rng.integers(1400, 2000))
    seconds = np.arange(length) / RATE
    low, high = 300 + 90 * (digit % 5), 1500 + 500 * (digit // 5)
    pitch = 1 + 0.05 * speaker
    wave = sum(np.sin(2 * np.pi * f * pitch * seconds) for f in (low, high))
    return (4000 * wave + 20 * rng.standard_normal(length)).astype(np.int16)


def arrays(takes=12, digits=10):
    """The arrays of the file, as `np.savez` takes them."""
    rows = [
        (speaker, digit, take)
        for speaker in range(len(SPEAKERS))
        for digit in range(digits)
        for take in range(takes)
    ]
    clips = [tone(digit, speaker, take) for speaker, digit, take in rows]
    return {
        "audio": np.concatenate(clips),
        "offsets": np.cumsum([0, *map(len, clips)]),
        "digit": np.array([digit for _, digit, _ in rows], np.int8),
        "speaker": np.array([SPEAKERS[speaker] for speaker, _, _ in rows]),
        "index": np.array([take for *_, take in rows], np.int16),
        "sample_rate": np.int32(RATE),
    }


def write(folder, **changes):
    """Writes fsdd.npz, with some arrays changed; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "fsdd.npz", **(arrays() | changes))
    return folder
