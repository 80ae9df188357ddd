"""Connected digits: which clips are in which split, what an utterance is, features."""

import wave

import numpy as np
import pytest

from experiments.datasets.spoken_digits import wav
from experiments.datasets.spoken_digits.filterbank import log_mel, num_vectors
from experiments.datasets.spoken_digits.spoken_digits_builder import SpokenDigits
from experiments.datasets.spoken_digits.utterances import WORDS
from experiments.errors import UserError
from tests.experiments.transduce import digits
from tests.sharing import made_once

COUNTS = {"train": 60, "validation": 20, "test": 30}


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory):
    return made_once(tmp_path_factory, "digits-raw", digits.write)


@pytest.fixture
def data(raw_dir):
    return dataset(raw_dir)


def dataset(raw_dir, **changes):
    settings = {"held_out_speaker": "ben", "data_dir": raw_dir / "made"} | COUNTS
    return SpokenDigits(raw_dir=raw_dir, **(settings | changes))


def takes(utterances):
    """Speaker and take of every clip in use."""
    clips = [clip for n in range(len(utterances)) for clip in utterances.clips(n)]
    return {(clip.speaker, clip.take) for clip in clips}


def test_the_held_out_speaker_is_in_no_other_split(data):
    found = {split: takes(data.utterances(split)) for split in data.splits}
    assert {speaker for speaker, _ in found["test"]} == {"ben"}
    others = ("ann", "cy")
    for split, some in (
        ("train", (10, 11)),
        ("validation", range(5, 10)),
        ("seen", range(5)),
    ):
        assert found[split] == {(speaker, take) for speaker in others for take in some}


def test_without_one_the_official_test_clips_are_of_all_speakers(raw_dir):
    data = dataset(raw_dir, held_out_speaker=None)
    for split in ("test", "seen"):
        want = {(speaker, take) for speaker in digits.SPEAKERS for take in range(5)}
        assert takes(data.utterances(split)) == want
    assert {speaker for speaker, _ in takes(data.utterances("train"))} == {
        *digits.SPEAKERS
    }


def test_an_utterance_is_of_one_speaker_and_of_one_to_seven_digits(data):
    utterances = data.utterances("train")
    for n in range(len(utterances)):
        clips = utterances.clips(n)
        assert len({clip.speaker for clip in clips}) == 1
        assert utterances.words(n) == tuple(WORDS[clip.digit] for clip in clips)
    assert set(utterances.lengths[:, 1]) == set(range(1, 8))


def test_lengths_are_those_of_the_vectors_that_come(data):
    for split in ("train", "test"):
        utterances = data.utterances(split)
        for n in range(12):
            vectors, (words,) = utterances[n]
            assert vectors.dtype == np.float32
            assert [len(vectors), len(words)] == utterances.lengths[n].tolist()
            assert vectors.shape[1] == data.features.width == 240


def test_an_utterance_depends_on_seed_and_number_only(raw_dir, data):
    first, again = data.utterances("train"), data.utterances("train")
    again.sound(3)
    np.testing.assert_array_equal(first.sound(7), again.sound(7))
    assert first.fingerprint() == again.fingerprint()
    for change in ({"split_seed": 1}, {"num_mel_bins": 41}, {"max_digits": 3}):
        other = dataset(raw_dir, **change).utterances("train")
        assert other.fingerprint() != first.fingerprint()
    assert dataset(raw_dir, split_seed=1).utterances("train").words(0) != first.words(0)


def test_the_clips_lie_in_the_sound_in_their_order(data):
    """At speed 1: what is no silence correlates with the clips at their places."""
    utterances = data.utterances("validation")
    sound, at = utterances.sound(0), 0
    for clip in utterances.clips(0):
        clean = clip.audio / 32768
        lags = np.correlate(sound[at:], clean, "valid")[:3201]  # 0.4 s of silence
        at += int(np.argmax(lags))
        piece = sound[at : at + len(clean)]
        assert np.corrcoef(piece, clean)[0, 1] > 0.9
        at += len(clean)


def test_speed_stretches_training_and_nothing_else(raw_dir):
    fast = dataset(raw_dir, speed_perturbation=0.3)
    plain = dataset(raw_dir, speed_perturbation=0.0)
    for split, same in (("train", False), ("test", True)):
        a, b = fast.utterances(split).lengths, plain.utterances(split).lengths
        np.testing.assert_array_equal(a[:, 1], b[:, 1])
        assert (a[:, 0] == b[:, 0]).all() == same


def test_features_do_not_depend_on_loudness():
    sound = digits.tone(3, 0, 0) / 32768
    quiet, loud = log_mel(sound / 10, 8000), log_mel(sound, 8000)
    np.testing.assert_allclose(quiet, loud, atol=2e-2)
    bins = log_mel(sound, 8000, stack=1)
    np.testing.assert_allclose(bins.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(bins.std(axis=0), 1, atol=1e-5)
    assert len(loud) == num_vectors(len(sound), 8000, 4)


def test_a_tone_is_loudest_at_its_filter():
    """Above a low tone, against a high one: the filters are in the order of pitch."""
    seconds = np.arange(4000) / 8000
    sweep = np.concatenate([np.sin(2 * np.pi * f * seconds) for f in (400, 3000)])
    frames = log_mel(sweep, 8000, stack=1)
    low, high = frames[:40], frames[-40:]
    assert (low[:, 5:9].mean(axis=1) > high[:, 5:9].mean(axis=1)).all()
    assert (low[:, 32:36].mean(axis=1) < high[:, 32:36].mean(axis=1)).all()


def test_silence_has_finite_features():
    assert np.abs(log_mel(np.zeros(800), 8000)).max() < 1e-5


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(199), "expected at least 25 ms of sound, got 199 samples"),
        (np.array([0.0, np.nan] * 200), "expected finite samples, got NaN"),
        (np.zeros((400, 2)), r"expected shape \[N\], got \[400, 2\] \(one channel"),
    ],
)
def test_bad_sounds_are_named(sound, message):
    with pytest.raises(ValueError, match="sound: " + message):
        log_mel(sound, 8000)


def write_wav(path, rate=8000, channels=1, width=2, samples=900):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(range(256)) * (samples * channels * width // 256))
    return path


def test_wav_files_are_read(tmp_path):
    sound = wav.read_wav(write_wav(tmp_path / "a.wav"), 8000)
    assert sound[0] == np.float32(256 / 32768)
    assert len(sound) == 896
    assert sound.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 16000}, "expected 8000 samples a second, got 16000 .resample it"),
        ({"channels": 2}, "expected 1 channels, got 2 .mix them"),
        ({"width": 1}, "expected 16 bits in a sample, got 8 .convert it"),
        ({"samples": 0}, "expected a sound, got no samples"),
    ],
)
def test_other_formats_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        wav.read_wav(write_wav(tmp_path / "a.wav", **changes), 8000)


def test_what_is_no_wav_file_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    for name in ("text.wav", "absent.wav"):
        with pytest.raises(UserError, match=f"{name}: expected a WAV file, got none"):
            wav.read_wav(tmp_path / name, 8000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": np.int32(16000)}, "expected 8000 samples a second, got 16000"),
        ({"audio": np.zeros(9)}, r"expected samples of int16 \[N\], got float64 \[9\]"),
        ({"offsets": np.zeros(4, int)}, "expected offsets of 360 clips that are not"),
        ({"digit": np.full(360, 11)}, "expected digits from 0 to 9, got 11"),
    ],
)
def test_bad_files_are_named(tmp_path, changes, message):
    data = dataset(digits.write(tmp_path, **changes))
    with pytest.raises(UserError, match=r"fsdd\.npz: " + message):
        data.load("train")


def test_bad_settings_are_named(tmp_path, raw_dir):
    (tmp_path / "fsdd.npz").write_bytes(b"nothing")
    for data, message in (
        (SpokenDigits(), r"raw_dir: expected the folder of fsdd\.npz, got none"),
        (dataset(tmp_path), r"fsdd\.npz: expected the arrays of clips"),
        (dataset(raw_dir, train=0), r"data\.train: expected at least 1 utterance"),
        (
            dataset(raw_dir, held_out_speaker="dan"),
            r"data\.held_out_speaker: expected None or one of ann, ben, cy, got 'dan'",
        ),
    ):
        with pytest.raises(UserError, match=message):
            data.load("train")
    with pytest.raises(UserError, match="split: expected one of train, validation"):
        dataset(raw_dir).load("dev")


def test_the_real_clips_are_as_described(shared, tmp_path):
    data = SpokenDigits(raw_dir=shared / "data/fsdd", data_dir=tmp_path)
    utterances = data.utterances("test")
    assert takes(utterances) <= {("george", take) for take in range(50)}
    assert len(utterances) == 500
