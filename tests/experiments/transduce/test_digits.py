"""Spoken digits from the real command line, by a transducer and by CTC."""

import io
import json
import shutil
import sys
import wave

import jax
import numpy as np
import pytest

from experiments.datasets.spoken_digits.filterbank import num_vectors
from experiments.transduce.loading import load_run
from experiments.transduce.sounds import batch_reader
from tests.experiments.commands import contents, run
from tests.experiments.transduce import digits
from tests.sharing import made_once

TINY = (
    *("--data.train", 900, "--data.validation", 20, "--data.test", 9),
    *("--data.held-out-speaker", "cy", "--data.max-digits", 2),
    *("--model.hidden-dim", 24, "--model.num-layers", 1, "--model.dropout", 0),
    *("--batch-tokens", 320, "--num-buckets", 1, "--eval-every", 0),
    *("--optimizer.learning-rate", 0.02, "--optimizer.warmup-steps", 5),
    *("--log-every", 20, "--save-every", 20),
)
KINDS = ("transducer", "ctc")


@pytest.fixture(scope="session")
def raw_dir(tmp_path_factory):
    return made_once(tmp_path_factory, "digits-raw", digits.write)


def train(kind, folder, raw_dir, *options):
    data = ("--data.raw-dir", raw_dir, "--data.data-dir", raw_dir / "made")
    return run(
        *("train", f"digits-{kind}", "--out", folder, *data, *TINY, *options),
        program="transduce",
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory, raw_dir):
    """A run of either kind that has learned most of the digits."""

    def make(folder):
        folder.mkdir(exist_ok=True)
        for kind in KINDS:
            assert train(kind, folder / kind, raw_dir, "--steps", 200) == 0

    return made_once(tmp_path_factory, "digits-runs", make)


@pytest.fixture
def decode(monkeypatch, capsysbinary):
    """Decodes lines; returns exit code, lines of stdout, stderr."""

    def call(folder, lines, *options):
        text = "".join(f"{line}\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        code = run("decode", folder, *options, program="transduce")
        out, err = capsysbinary.readouterr()
        return code, out.decode().split("\n")[:-1], err.decode()

    return call


def write_wav(path, sound, rate=digits.RATE):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32768).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_reports_every_held_out_split(kind, runs, tmp_path, capsys):
    """One guess for all has a WER of 0.9; these 200 steps reach half of it."""
    shutil.copytree(runs / kind, tmp_path / "run")
    assert run("evaluate", tmp_path / "run", program="transduce") == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())["splits"]
    assert list(found) == ["validation", "test", "seen"]
    assert found["test"]["utterances"] == 9
    assert found["validation"]["wer"] < 0.45
    row = capsys.readouterr().out.splitlines()[-1].split()
    rates = [f"{100 * found['seen'][name]:.2f}" for name in ("ser", "wer")]
    assert row == ["seen", "9", *rates]


@pytest.mark.parametrize("kind", KINDS)
def test_decode_reads_wav_files_as_evaluate_reads_utterances(
    kind, runs, tmp_path, decode
):
    loaded = load_run(runs / kind)
    utterances = loaded.config.data.utterances("test")
    sounds = [utterances.sound(n) for n in range(4)]
    paths = [write_wav(tmp_path / f"{n}.wav", x) for n, x in enumerate(sounds)]
    code, lines, _ = decode(runs / kind, [paths[0], "", *paths[1:]])
    assert code == 0
    assert lines[1] == ""
    data, search = loaded.config.data, loaded.config.search
    reader = batch_reader(data, loaded.model, search, loaded.mesh)
    found = reader.read(loaded.params, [utterances[n].symbols for n in range(4)])
    want = [" ".join(reader.symbols(one[0][0])) for one in found]
    assert [lines[0], *lines[2:]] == want
    # Alone as in company.
    assert decode(runs / kind, [paths[2]])[1] == [want[2]]


@pytest.mark.parametrize("kind", KINDS)
def test_paths_are_seconds_of_the_sound(kind, runs, tmp_path, decode):
    utterances = load_run(runs / kind).config.data.utterances("seen")
    sound = utterances.sound(0)
    path = write_wav(tmp_path / "a.wav", sound)
    code, (line,), _ = decode(runs / kind, [path], "--paths")
    assert code == 0
    places = [float(cell.partition("@")[2]) for cell in line.split()]
    assert places == sorted(places)
    assert places
    assert 0 < places[0] <= places[-1] <= len(sound) / digits.RATE + 0.06


def test_a_place_is_where_the_next_vector_begins(runs):
    """A sample less than fills its first window, and there is no next vector."""
    loaded = load_run(runs / "ctc")
    data = loaded.config.data
    reader = batch_reader(data, loaded.model, loaded.config.search, loaded.mesh)
    assert [reader.place(n) for n in (0, 1, 24)] == ["0.06", "0.12", "1.50"]
    for n in (0, 1, 24):
        full = round(float(reader.place(n)) * digits.RATE) + 25 * digits.RATE // 1000
        counts = num_vectors([full - 1, full], digits.RATE, data.stacked_frames)
        assert counts.tolist() == [n + 1, n + 2]


def test_ctc_is_decoded_greedily_and_says_so(runs, tmp_path, capsys):
    shutil.copytree(runs / "ctc", tmp_path / "run")
    options = ("--splits", "seen", "--beam-size", 4)
    assert run("evaluate", tmp_path / "run", *options, program="transduce") == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert found["search"]["beam_size"] == 1
    assert capsys.readouterr().out.splitlines()[0].endswith("beam 1")


def test_ctc_has_one_reading_only(runs, decode):
    code, lines, err = decode(runs / "ctc", [], "--n-best", 4)
    assert (code, lines) == (2, [])
    assert "n_best: expected 1 (CTC is decoded greedily), got 4" in err


def test_stopped_and_resumed_it_ends_with_the_same_bits(raw_dir, tmp_path):
    for folder, steps in (("whole", 4), ("parts", 2), ("parts", 4)):
        options = ("--steps", steps, "--resume", "--model.dropout", 0.2)
        assert train("ctc", tmp_path / folder, raw_dir, *options) == 0
    whole, parts = (load_run(tmp_path / name, "last") for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)


def test_bad_sounds_are_named_before_any_output(runs, tmp_path, decode):
    good = write_wav(tmp_path / "good.wav", np.zeros(900))
    before = contents(runs / "ctc")
    for bad, message in (
        (tmp_path / "absent.wav", "absent.wav: expected a WAV file, got none"),
        (write_wav(tmp_path / "fast.wav", np.zeros(900), 16000), "expected 8000 samp"),
        (write_wav(tmp_path / "short.wav", np.zeros(90)), "expected at least 25 ms of"),
    ):
        code, lines, err = decode(runs / "ctc", [good, bad])
        assert (code, lines) == (2, [])
        assert message in err
        assert len(err.splitlines()) == 1
    assert contents(runs / "ctc") == before


def test_what_cannot_be_trained_is_named(raw_dir, tmp_path, capsys):
    for kind, options, message in (
        (
            "ctc",
            ("--data.stacked-frames", 40),
            "model: CTC needs an input position for each label, and one between equal",
        ),
        ("ctc", ("--data.max-digits", 0), "data.max_digits: expected at least 1"),
        (
            "transducer",
            ("--data.speed-perturbation", 1),
            "data.speed_perturbation: expected 0 or more and less than 1",
        ),
        ("transducer", ("--data.held-out-speaker", "me"), "data.held_out_speaker: exp"),
    ):
        assert train(kind, tmp_path / "run", raw_dir, *options) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
