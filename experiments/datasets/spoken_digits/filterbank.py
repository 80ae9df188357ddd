"""Log-mel features of sounds: Kaldi's filterbank, normalised, several frames in one.

The filterbank is that of the library kaldi-native-fbank: windows of 25 ms, one every
10 ms, without dither, so that equal sounds have equal features.
"""

import kaldi_native_fbank as knf
import numpy as np

WINDOW_MS, SHIFT_MS = 25, 10
_FLAT = 1e-3  # a standard deviation below which a bin only carries rounding errors


def num_vectors(samples: np.ndarray | int, sample_rate: int, stack: int) -> np.ndarray:
    """Counts the vectors that `log_mel` makes of so many samples; 0 of too few.

    Example:
      >>> num_vectors([0, 199, 200, 520], 8000, 4).tolist()
      [0, 0, 1, 2]
    """
    window, shift = (ms * sample_rate // 1000 for ms in (WINDOW_MS, SHIFT_MS))
    given = np.asarray(samples)
    frames = np.where(given < window, 0, 1 + (given - window) // shift)
    return -(-frames // stack)  # rounded up


def log_mel(
    sound: np.ndarray, sample_rate: int, *, num_mel_bins: int = 40, stack: int = 4
) -> np.ndarray:
    """Computes the log-mel vectors of one sound.

    Every bin has mean 0 and standard deviation 1 over the sound, which takes away the
    loudness and the microphone. `stack` frames after one another are one vector, so
    that a model has fewer steps to make; the last frame is repeated to fill the last.

    Args:
      sound: samples between -1 and 1, shape [N].
      sample_rate: samples per second.
      num_mel_bins: number of triangular filters.
      stack: number of frames in a vector.

    Returns:
      Shape [`num_vectors(N)`, stack * num_mel_bins], float32.

    Raises:
      ValueError: if the sound has another shape, is shorter than a window, or holds a
        number that is not finite.
    """
    if sound.ndim != 1:
        raise ValueError(
            f"sound: expected shape [N], got {list(sound.shape)} (one channel only)"
        )
    if not np.isfinite(sound).all():
        raise ValueError("sound: expected finite samples, got NaN or an infinity")
    frames = _filterbank(sound, sample_rate, num_mel_bins)
    if not len(frames):
        raise ValueError(
            f"sound: expected at least {WINDOW_MS} ms of sound, got {len(sound)} "
            f"samples at {sample_rate} a second"
        )
    mean, spread = (f(frames, axis=0, dtype=np.float64) for f in (np.mean, np.std))
    frames = (frames - mean) / np.where(spread > _FLAT, spread, 1)
    missing = -len(frames) % stack
    filled = np.pad(frames, ((0, missing), (0, 0)), mode="edge")
    vectors = filled.reshape(-1, stack * num_mel_bins)  # [T*K, M] -> [T, K*M]
    return vectors.astype(np.float32)


def _filterbank(sound: np.ndarray, sample_rate: int, num_mel_bins: int) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.samp_freq = sample_rate
    options.frame_opts.frame_length_ms = WINDOW_MS
    options.frame_opts.frame_shift_ms = SHIFT_MS
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = num_mel_bins
    made = knf.OnlineFbank(options)
    # Kaldi's floor of energies is meant for samples of 16 bits.
    made.accept_waveform(sample_rate, (32768.0 * sound.astype(np.float32)).tolist())
    made.input_finished()
    frames = [made.get_frame(n) for n in range(made.num_frames_ready)]
    return np.array(frames, np.float32).reshape(-1, num_mel_bins)  # [0] -> [0, M]
