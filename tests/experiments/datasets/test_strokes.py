"""Lines of strokes: generated ones, Omniglot's, IAM-OnDB's; statistics and batches."""

import dataclasses

import numpy as np
import pytest

from experiments.datasets.iam_ondb.iam_ondb_builder import IAMOnDB
from experiments.datasets.omniglot_strokes.omniglot_strokes_builder import (
    OmniglotStrokes,
)
from experiments.datasets.pen_traces.glyphs import glyphs
from experiments.datasets.pen_traces.pen import draw_writer, write_line
from experiments.datasets.pen_traces.pen_traces_builder import PenTraces
from experiments.datasets.pen_traces.words import draw_text, split_of
from experiments.datasets.strokes.alphabet import Alphabet
from experiments.datasets.strokes.batches import StrokeBatches, StrokeLine, pad_lines
from experiments.datasets.strokes.lines import (
    Line,
    Statistics,
    check_line,
    to_offsets,
    to_places,
)
from experiments.errors import UserError


def line(points, text="", characters=()):
    points = np.asarray(points, np.float32)
    return Line(text, points, np.asarray(characters, np.int32))


# --- lines ----------------------------------------------------------------------


def test_offsets_begin_without_a_jump_and_end_with_a_stroke():
    places = np.array([[100.0, 50.0], [101, 52], [90, 60]])
    points = to_offsets(places, np.array([False, True, False]))
    assert points.tolist() == [[0, 0, 0], [1, 2, 1], [-11, 8, 1]]
    np.testing.assert_array_equal(to_places(points), places - places[0])


def test_statistics_are_of_real_points_and_leave_the_first_offset_out():
    lines = [
        line([[0, 0, 0], [1, 2, 0], [3, -2, 1]]),
        line([[0, 0, 0], [5, 6, 1]]),
    ]
    found = Statistics.of(lines)
    np.testing.assert_allclose(found.mean, [3, 2])
    np.testing.assert_allclose(found.std, np.std([[1, 2], [3, -2], [5, 6]], axis=0))
    normal = [found.normalise(one.points)[1:, :2] for one in lines]
    together = np.concatenate(normal)
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(together.std(axis=0), 1, rtol=1e-6)
    assert not found.normalise(lines[0].points)[0].any()
    back = found.restore(found.normalise(lines[0].points))
    np.testing.assert_allclose(back, lines[0].points, rtol=1e-6, atol=1e-6)


def test_nats_of_the_scale_are_two_logarithms_for_a_factor():
    found = Statistics(np.zeros(2), np.array([2.0, 2.0]))
    larger = Statistics(np.zeros(2), np.array([6.0, 6.0]))
    added = larger.nats_per_point - found.nats_per_point
    np.testing.assert_allclose(added, 2 * np.log(3))


def test_statistics_and_alphabets_are_saved_and_loaded(tmp_path):
    found = Statistics(np.array([0.25, -1.5]), np.array([2.0, 3.0]))
    found.save(tmp_path)
    Alphabet(" aé").save(tmp_path)
    np.testing.assert_array_equal(Statistics.load(tmp_path), found)
    assert Alphabet.load(tmp_path).encode("é a").tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "content",
    [
        '{"mean": [0, 0], "std": [1, NaN]}',
        '{"mean": [0, 1e999], "std": [1, 1]}',
        '{"mean": [0, 0], "std": [1, 0]}',
        '{"mean": [0, 0], "std": [1]}',
        '{"mean": [0, true], "std": [1, 1]}',
    ],
)
def test_statistics_that_cannot_be_are_named(tmp_path, content):
    (tmp_path / "offsets.json").write_text(content)
    with pytest.raises(UserError, match=r"offsets\.json: cannot be read: .*expected"):
        Statistics.load(tmp_path)


@pytest.mark.parametrize("load", [Statistics.load, Alphabet.load])
@pytest.mark.parametrize("content", [None, "{", "[1]", "9" * 5000, "[" * 10**5])
def test_a_damaged_file_of_a_run_is_named(tmp_path, load, content):
    if content is not None:
        for name in ("offsets.json", "alphabet.json"):
            (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"\.json: cannot be read: .*copy it back"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0, 0, 0]], r"x: expected two points or more .* got \[1, 3\]"),
        ([[0, 0], [1, 2]], r"x: expected two points or more .* got \[2, 2\]"),
        ([[0, 0, 0], [np.nan, 0, 1]], "x: expected finite numbers, got .* at point 2"),
        ([[0, 0, 0], [1, 0, 0.5]], "x: expected an end of stroke of 0 or 1, got 0.5"),
    ],
)
def test_invalid_strokes_are_refused(points, words):
    with pytest.raises(UserError, match=words):
        check_line(line(points), "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "text: expected characters to write, got ''"),
        ("  ", "text: expected characters to write, got '  '"),
        ("aßb", "text: expected characters of the training data .* got 'bß'"),
    ],
)
def test_text_outside_the_alphabet_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        Alphabet(" a").encode(text)


# --- batches --------------------------------------------------------------------


def some_lines(count=23):
    rng = np.random.default_rng(0)
    return [
        StrokeLine(
            np.full((int(rng.integers(2, 40)), 3), n + 1, np.float32),
            np.full(int(rng.integers(1, 6)), n % 7, np.int32),
        )
        for n in range(count)
    ]


def test_an_epoch_has_every_line_at_most_once_and_whole():
    lines = some_lines()
    batches = StrokeBatches(lines, batch_size=3, buckets=3, seed=1)
    seen = []
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(step)
        for row in range(3):
            number = int(batch.points[row, 0, 0]) - 1
            seen.append(number)
            assert batch.mask[row].sum() == len(lines[number].points)
            assert batch.text_mask[row].sum() == len(lines[number].text)
            assert not batch.points[row][~batch.mask[row]].any()
            assert not batch.text_mask[row, -1]  # room for the end of the text
    assert len(seen) == len(set(seen))
    assert len(seen) > len(lines) - 3 * 3


def test_batches_depend_on_seed_and_step_only():
    lines = some_lines()
    make = lambda seed: StrokeBatches(lines, batch_size=4, buckets=2, seed=seed)  # noqa: E731
    one, other = make(0), make(0)
    far = one.steps_per_epoch * 5 + 1
    np.testing.assert_array_equal(one.batch(far).points, other.batch(far).points)
    epochs = [one.batch(0).points, one.batch(one.steps_per_epoch).points]
    assert epochs[0].shape != epochs[1].shape or (epochs[0] != epochs[1]).any()
    shapes = {one.batch(n).points.shape for n in range(40)}
    assert len(shapes) <= 2


def test_more_rows_than_lines_are_refused():
    with pytest.raises(UserError, match="batch_size: expected at most the 2 training"):
        StrokeBatches(some_lines(2), batch_size=3, buckets=1, seed=0)


def test_padding_is_at_the_end():
    batch = pad_lines(some_lines(2), 50, 9)
    assert batch.mask[0].tolist() == sorted(batch.mask[0].tolist(), reverse=True)


# --- generated lines ------------------------------------------------------------

PEN_TRACES = PenTraces(train=20, validation=3, test=3, max_text_length=12)


def test_every_point_of_a_generated_line_knows_its_character(rng_numpy):
    text = "It's a 7, ok?"
    made = write_line(rng_numpy, text, draw_writer(rng_numpy))
    assert made.points.shape == (len(made.characters), 3)
    assert (np.diff(made.characters) >= 0).all()
    written = {number for number, c in enumerate(text) if c != " "}
    assert set(made.characters.tolist()) == written
    # As many strokes as the characters have.
    strokes = sum(len(glyphs()[c].strokes) for c in text if c != " ")
    assert made.points[:, 2].sum() == strokes
    assert not made.points[0].any()
    # A stroke never goes from one character to the next.
    turns = np.flatnonzero(np.diff(made.characters))
    assert (made.points[turns, 2] == 1).all()


def test_an_h_is_higher_than_an_x_and_a_g_reaches_below_it(rng_numpy):
    """With y downwards."""
    writer = dataclasses.replace(
        draw_writer(rng_numpy), wobble=0.0, tremor=0.0, rise=0.0, wave=0.0, height=1.0
    )
    made = write_line(rng_numpy, "xhg", writer)
    y = to_places(made.points)[:, 1]
    x, h, g = (y[made.characters == n] for n in range(3))
    assert h.min() < x.min() - 7
    assert g.max() > x.max() + 6


def test_writers_differ_and_a_seed_repeats_a_line():
    def write(seed):
        rng = np.random.default_rng(seed)
        return write_line(rng, "same", draw_writer(rng)).points

    np.testing.assert_array_equal(write(3), write(3))
    assert write(3).shape != write(4).shape or (write(3) != write(4)).any()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_texts_are_of_words_of_their_split(split):
    rng = np.random.default_rng(5)
    for _ in range(30):
        text = draw_text(rng, split, max_length=15)
        assert 1 <= len(text) <= 15
        for word in text.split():
            plain = word.rstrip(".,!?")
            inner = plain.replace("'", "").replace("-", "")
            assert split in (split_of(plain), split_of(inner))


def test_a_generated_set_is_built_once_and_is_the_same_again(tmp_path):
    data = dataclasses.replace(PEN_TRACES, data_dir=tmp_path)
    lines = data.load("train")
    assert [len(data.load(split)) for split in data.splits] == [20, 3, 3]
    again = dataclasses.replace(data, data_dir=tmp_path / "other").load("train")
    for one, other in zip(lines, again, strict=True):
        assert one.text == other.text
        np.testing.assert_array_equal(one.points, other.points)
    assert set("".join(one.text for one in lines)) <= set(data.characters(lines))


def test_a_character_without_strokes_is_refused(rng_numpy):
    with pytest.raises(UserError, match=r"text: expected letters, digits, .* got 'ß'"):
        write_line(rng_numpy, "aß", draw_writer(rng_numpy))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_text_length": 7}, "max_text_length: expected at least 8, got 7"),
        ({"test": 0}, "test: expected at least 1, got 0"),
    ],
)
def test_generated_sets_out_of_range_are_refused(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(PEN_TRACES, data_dir=tmp_path, **change).load("train")


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"split: expected one of train, .* got 'dev'"):
        dataclasses.replace(PEN_TRACES, data_dir=tmp_path).load("dev")


@pytest.fixture
def rng_numpy():
    return np.random.default_rng(20130804)


# --- Omniglot -------------------------------------------------------------------


def write_omniglot(folder, drawings):
    arrays = {}
    for name in ("train", "valid", "test"):
        arrays[f"{name}_strokes"] = np.concatenate(drawings).astype(np.int16)
        lengths = [len(drawing) for drawing in drawings]
        arrays[f"{name}_offsets"] = np.append(0, np.cumsum(lengths)).astype(np.int64)
    np.savez(folder / "omniglot_stroke3.npz", **arrays)


def test_omniglot_has_whole_drawings_without_a_first_jump(tmp_path):
    drawings = [
        np.array([[9, 9, 0], [10, -20, 1], [5, 6, 0]]),
        np.array([[0, 0, 1]]),  # a single point: nothing to predict
        np.array([[0, 0, 0], [-7, 3, 1]]),
    ]
    write_omniglot(tmp_path, drawings)
    data = OmniglotStrokes(raw_dir=tmp_path, data_dir=tmp_path / "built")
    first, second = data.load("validation")
    assert first.points[0].tolist() == [0, 0, 0]
    assert first.points[:, 2].tolist() == [0, 1, 1]  # its last stroke lacks its end
    # Noise of at most half a unit at each place, hence one in an offset.
    assert abs(second.points[1, :2] - [-7, 3]).max() <= 1
    assert (second.points[1, :2] != [-7, 3]).all()
    exact = dataclasses.replace(data, jitter=0.0).load("validation")
    assert exact[1].points.tolist() == [[0, 0, 0], [-7, 3, 1]]


def test_the_real_omniglot_is_read(shared, tmp_path):
    name = "omniglot_stroke3.npz"
    with np.load(shared / "data" / "omniglot-strokes" / name) as file:
        some = {key: file[key][:201] for key in file if key.endswith("offsets")}
        arrays = {
            key: file[key][: some[key.replace("strokes", "offsets")][-1]]
            for key in file
            if key.endswith("strokes")
        }
    np.savez(tmp_path / name, **arrays, **some)
    data = OmniglotStrokes(raw_dir=tmp_path, data_dir=tmp_path / "built")
    lines = data.load("validation")
    assert 195 < len(lines) <= 200
    assert 25 < np.mean([len(one.points) for one in lines]) < 40


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "raw_dir: expected the folder of omniglot_stroke3.npz, got none"),
        (b"no archive", r"omniglot_stroke3.npz: expected strokes and offsets"),
    ],
)
def test_a_missing_or_damaged_omniglot_is_refused(tmp_path, content, words):
    raw = None
    if content is not None:
        raw = tmp_path / "raw"
        raw.mkdir()
        (raw / "omniglot_stroke3.npz").write_bytes(content)
    with pytest.raises(UserError, match=words):
        OmniglotStrokes(raw_dir=raw, data_dir=tmp_path / "built").load("train")


# --- IAM-OnDB -------------------------------------------------------------------

XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<WhiteboardCaptureSession>
  <WhiteboardDescription><SensorLocation corner="top_left"/></WhiteboardDescription>
  <StrokeSet>
    <Stroke colour="black" start_time="1.0" end_time="1.1">
      <Point x="100" y="{y}" time="1.0"/><Point x="103" y="{below}" time="1.1"/>
    </Stroke>
    <Stroke colour="black" start_time="1.2" end_time="1.3">
      <Point x="90" y="{y}" time="1.2"/><Point x="95" y="{y}" time="1.3"/>
    </Stroke>
  </StrokeSet>
</WhiteboardCaptureSession>
"""
LISTS = {
    "trainset.txt": ["a01-000u"],
    "testset_f.txt": ["b02-010"],
    "testset_v.txt": ["c03-001z"],
    "testset_t.txt": ["d04-002a"],
}
# Lines of each form: testset_v.txt is larger here than testset_t.txt.
TEXTS = {
    "a01-000u": ["A MOVE to stop", "Mr. Gaitskell"],
    "b02-010": ["by Trevor"],
    "c03-001z": ["two lines", 'of 1961: "so"'],
    "d04-002a": ["one line"],
}


@pytest.fixture
def iam(tmp_path):
    """A folder in the layout of IAM-OnDB."""
    root = tmp_path / "iam"
    for form, lines in TEXTS.items():
        folder = f"{form[:3]}/{form[:7]}"
        strokes, ascii_ = root / "lineStrokes" / folder, root / "ascii" / folder
        strokes.mkdir(parents=True)
        ascii_.mkdir(parents=True)
        body = "OCR:\n\nread by machine\n\nCSR:\n\n" + "\n".join(lines) + "\n"
        (ascii_ / f"{form}.txt").write_text(body)
        for number in range(len(lines)):
            text = XML.format(y=50 + number, below=60 + number)
            (strokes / f"{form}-{number + 1:02}.xml").write_text(text)
    for name, forms in LISTS.items():
        (root / name).write_text("".join(f" {form}\n" for form in forms))
    return root


def test_iam_has_the_splits_of_the_paper(iam, tmp_path):
    """Training: training, test and larger validation set; the smaller one stops."""
    data = IAMOnDB(raw_dir=iam, data_dir=tmp_path / "built")
    train, validation = data.load("train"), data.load("validation")
    assert [one.text for one in validation] == ["one line"]
    assert [one.text for one in train] == [
        *("A MOVE to stop", "Mr. Gaitskell", "by Trevor"),
        *("two lines", "of ##### #so#"),
    ]
    # y grows downwards, the pen does not jump to the first point.
    assert train[0].points.tolist() == [[0, 0, 0], [3, 10, 1], [-13, -10, 0], [5, 0, 1]]
    assert len(data.characters(train)) == 57
    exact = dataclasses.replace(data, few_characters=False)
    lines = exact.load("train")
    assert lines[-1].text == TEXTS["c03-001z"][1]
    assert '"' in exact.characters(lines)


def test_a_line_whose_strokes_are_missing_is_left_out(iam, tmp_path):
    (iam / "lineStrokes/a01/a01-000/a01-000u-01.xml").unlink()
    data = IAMOnDB(raw_dir=iam, data_dir=tmp_path / "built")
    assert data.load("train")[0].text == "Mr. Gaitskell"


LINE = "lineStrokes/a01/a01-000/a01-000u-01.xml"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (LINE, "<WhiteboardCaptureSession>", "u-01.xml: expected XML of strokes, got"),
        (LINE, "<a/>", "u-01.xml: expected two points or more in .* got 0"),
        (
            LINE,
            XML.format(y="nan", below=1),
            "u-01.xml: expected finite coordinates in stroke 1, got .*nan",
        ),
        (LINE, XML.format(y="", below=1), "expected numbers x and y in stroke 1"),
        ("ascii/a01/a01-000/a01-000u.txt", "OCR:\n", 'expected a line "CSR:"'),
        ("ascii/a01/a01-000/a01-000u.txt", "CSR:\n\none\n", "a line from 1 to 1, of"),
        ("trainset.txt", "hello\n", "trainset.txt:1: expected the name of a form"),
        ("testset_v.txt", None, "testset_v.txt: expected a file, got nothing"),
        ("ascii/a01/a01-000/a01-000u.txt", None, "a01-000u.txt: expected a file"),
    ],
)
def test_a_wrong_file_of_iam_is_named(iam, tmp_path, file, content, words):
    if content is None:
        (iam / file).unlink()
    else:
        (iam / file).write_text(content)
    with pytest.raises(UserError, match=words):
        IAMOnDB(raw_dir=iam, data_dir=tmp_path / "built").load("train")


def test_iam_without_its_folder_says_where_it_is_from(tmp_path):
    with pytest.raises(UserError, match=r"raw_dir: expected .* after registration"):
        IAMOnDB(data_dir=tmp_path).load("train")


def test_iam_leaves_no_test_set_apart(iam, tmp_path):
    data = IAMOnDB(raw_dir=iam, data_dir=tmp_path / "built")
    with pytest.raises(UserError, match=r"expected one of train, validation, got"):
        data.load("test")
