"""Figures: reproducible bytes, contents, and no side effects."""

import importlib.util
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from functools import partial

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from attnjax import align, viz
from attnjax.viz import _fonts

SOURCE = ["The", "European", "Economic", "Area", "<end>"]
TARGET = ["la", "zone", "économique", "européenne", "$x$", "5", "<end>"]
WEIGHTS = np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=7)
GOLD = align.alignment([(0, 0), (3, 1)], possible=[(1, 3)])
BUCKETS = [(1, 10), (11, 20), (21, 21)]
SERIES = {"RNNenc": [20.1, 11.0, np.nan], "RNNsearch": [26.0, 27.5, 25.0]}


CURVES = {"one": ([0, 10, 30], [80.0, np.nan, 2.0]), "other": ([5, 10], [70.0, 60.0])}


@pytest.fixture
def no_cjk_font(monkeypatch):
    """A machine with no other font than matplotlib's own."""
    first = _fonts._characters(_fonts._FIRST)
    monkeypatch.setattr(
        _fonts, "_characters", lambda f: first if f == _fonts._FIRST else frozenset()
    )
    monkeypatch.setattr(_fonts, "_warned", set())


DRAWN = {
    "plot": lambda path: viz.alignment_plot(
        WEIGHTS, SOURCE, TARGET, path, gold=GOLD, title="fr"
    ),
    "grid": lambda path: viz.alignment_grid(
        {"a": (np.zeros((7, 5)), SOURCE, TARGET), "b": (WEIGHTS, SOURCE, TARGET, GOLD)},
        path,
        title="both",
    ),
    "length": lambda path: viz.length_plot(
        SERIES, BUCKETS, path, counts=[7, 5, 3], x_label="words"
    ),
    "curves": lambda path: viz.curve_plot(
        CURVES, path, x_label="steps", y_label="bits", levels={"published": 30.0}
    ),
    "vectors": lambda path: viz.vector_plot(
        VECTORS, ["ein $x$", *"bcdefg"], path, groups=[0] * 3 + [1] * 4, title="nine"
    ),
}
each_figure = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
each_suffix = pytest.mark.parametrize("suffix", [".png", ".svg"])


# Laws.


@each_figure
@each_suffix
def test_the_same_data_give_the_same_bytes(draw, suffix, tmp_path):
    one, other = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    draw(one)
    with matplotlib.rc_context(
        {"font.size": 31, "axes.facecolor": "red", "svg.id": "u"}
    ):
        draw(other)  # under any user settings
    assert one.read_bytes() == other.read_bytes()
    assert sorted(tmp_path.iterdir()) == [one, other]


@each_figure
def test_a_notebook_displays_a_figure_as_it_would_be_saved(draw, tmp_path):
    figure = draw(tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 31, "savefig.dpi": 31}):
        png, size = figure._repr_png_()  # what IPython asks of any object
    assert png == (tmp_path / "a.png").read_bytes()
    inches = figure.get_size_inches()
    assert [size["width"], size["height"]] == [round(96 * side) for side in inches]


@each_figure
def test_figures_do_not_change_the_settings(draw, tmp_path):
    before = dict(matplotlib.rcParams)
    draw(tmp_path / "a.svg")
    assert dict(matplotlib.rcParams) == before


def test_neither_attnjax_nor_a_figure_imports_pyplot():
    code = (
        "import sys, attnjax; assert 'matplotlib' not in sys.modules; "
        "from attnjax import viz; viz.alignment_plot([[1.0]], ['a'], ['b']); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@each_figure
def test_every_label_lies_within_the_figure(draw):
    figure = draw(None)
    width, height = figure.bbox.size
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height


@pytest.mark.parametrize("shape", [(1, 1), (1, 23), (30, 35), (2, 101)])
def test_panels_and_their_labels_do_not_overlap(shape):
    T, S = shape
    panel = np.full(shape, 0.5), ["a long source word"] * S, ["target"] * T
    figure = viz.alignment_grid(
        dict.fromkeys(("one", "two", "three"), panel), columns=2
    )
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])


# Contents.


def test_weight_one_is_white_and_zero_black_in_its_cell(tmp_path):
    weights = np.zeros((2, 3))
    weights[1, 0] = 1.0  # the second target word attends to the first source word
    figure = viz.alignment_plot(
        weights, ["a", "b", "c"], ["x", "y"], tmp_path / "a.png"
    )
    pixels = imread(tmp_path / "a.png")[..., :3].mean(axis=-1)
    for t in range(2):
        for s in range(3):
            x, y = figure.axes[0].transData.transform((s + 0.5, t + 0.5))
            got = pixels[round(pixels.shape[0] - y), round(x)]
            assert got == pytest.approx(weights[t, s], abs=0.01)


def test_source_words_are_above_and_target_words_at_the_left():
    figure = viz.alignment_plot(WEIGHTS, SOURCE, TARGET)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == SOURCE
    assert [label.get_text() for label in axes.get_yticklabels()] == TARGET
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90.0}
    frame = axes.get_window_extent()
    assert all(x.get_window_extent().y0 >= frame.y1 for x in axes.get_xticklabels())
    tops = [label.get_window_extent().y1 for label in axes.get_yticklabels()]
    assert tops == sorted(tops, reverse=True)


def test_gold_links_are_boxes_solid_or_dashed():
    axes = viz.alignment_plot(WEIGHTS, SOURCE, TARGET, gold=GOLD).axes[0]
    boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
    got = {(int(p.get_x()), int(p.get_y())): p.get_linestyle() == "-" for p in boxes}
    assert got == {(0, 0): True, (3, 1): True, (1, 3): False}


def test_an_svg_is_xml_and_holds_no_fonts(tmp_path):
    DRAWN["plot"](tmp_path / "a.svg")
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.tag.endswith("}svg")
    assert not list(root.iter("{http://www.w3.org/2000/svg}text"))


def test_a_line_breaks_where_a_model_has_no_score():
    axes = viz.length_plot(
        SERIES, BUCKETS, counts=[7, 5, 3], score="WER", x_label="letters"
    ).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("letters", "WER")
    first, second = (line.get_ydata() for line in axes.lines)
    np.testing.assert_array_equal(first, SERIES["RNNenc"])
    np.testing.assert_array_equal(second, SERIES["RNNsearch"])
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["1–10\nn=7", "11–20\nn=5", "21\nn=3"]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == list(SERIES)


def test_curves_and_levels_are_where_the_numbers_say():
    figure = viz.curve_plot(
        CURVES,
        x_label="steps",
        y_label="bits",
        levels={"published": 30.0},
        y_limits=(1, 90),
    )
    axes = figure.axes[0]
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert list(drawn) == ["one", "other", "published"]
    np.testing.assert_array_equal(
        drawn["one"].get_xydata(), np.transpose(CURVES["one"])
    )
    assert set(drawn["published"].get_ydata()) == {30.0}
    assert axes.get_ylim() == (1, 90)


def test_long_words_are_truncated_and_control_characters_shown():
    axes = viz.alignment_plot([[1.0]], ["x" * 99], ["a\tb"]).axes[0]
    assert axes.get_xticklabels()[0].get_text() == "x" * 27 + "…"
    assert axes.get_yticklabels()[0].get_text() == "a□b"


# Fonts.


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib_fontja") is None,
    reason="needs the font of matplotlib-fontja",
)
def test_east_asian_words_are_vertical_and_have_glyphs(tmp_path):
    weights = [[0.0, 0.2, 0.8]]
    words = ["日曜日", "タワー", "3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs it lacks
        for suffix in ("png", "svg"):
            figure = viz.alignment_plot(
                weights, words, ["年"], tmp_path / f"a.{suffix}"
            )
    labels = figure.axes[0].get_xticklabels()
    assert [x.get_text() for x in labels] == ["日\n曜\n日", "タワー", "3"]
    assert [x.get_rotation() for x in labels] == [0.0, 90.0, 0.0]


def test_missing_characters_are_boxes_and_warn_once(no_cjk_font, tmp_path):
    draw = partial(viz.alignment_plot, [[0.5]], ["曜日"], ["a"], tmp_path / "a.png")
    with pytest.warns(
        UserWarning,
        match=r"no installed font has 2 of .* \(日曜\).*install matplotlib-fontja",
    ):
        figure = draw()
    assert figure.axes[0].get_xticklabels()[0].get_text() == "□□"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw()


# Error messages.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: viz.alignment_plot(WEIGHTS, SOURCE, TARGET, "a.gif"),
            r"path: expected a name that ends in \.png or \.svg, got 'a\.gif'",
        ),
        (
            lambda: viz.alignment_plot(WEIGHTS, TARGET, SOURCE),
            "^source_words: expected 5 words, got 7",
        ),
        (
            lambda: viz.alignment_plot(
                WEIGHTS, SOURCE, TARGET, gold=align.alignment([(6, 0)])
            ),
            r"gold: expected source positions below 5, got 6 in 6-0 .*swapped\?",
        ),
        (lambda: viz.alignment_grid({}), "panels: expected at least one alignment"),
        (
            lambda: viz.alignment_grid({"m": (WEIGHTS, SOURCE, TARGET)}, columns=0),
            "columns: expected at least 1, got 0",
        ),
        (
            lambda: viz.alignment_grid({"diagonal": (WEIGHTS + 1, SOURCE, TARGET)}),
            "^diagonal: weights: expected values from 0 to 1, got",
        ),
        (
            lambda: viz.length_plot({}, BUCKETS),
            "series: expected at least one model and one bucket, got 0 and 3",
        ),
        (
            lambda: viz.length_plot({"m": [1.0, 2.0]}, BUCKETS),
            r"series\['m'\]: expected 3 values, got 2 \(one per bucket, NaN",
        ),
        (
            lambda: viz.curve_plot({}, x_label="x", y_label="y"),
            "curves: expected at least one, got none",
        ),
        (
            lambda: viz.curve_plot({"m": ([1], [1, 2])}, x_label="x", y_label="y"),
            r"curves\['m'\]: expected as many numbers along x as along y, .* \[1\] and",
        ),
        (
            lambda: viz.length_plot(SERIES, BUCKETS, counts=[1]),
            "counts: expected 3 values, got 1",
        ),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Vectors.

VECTORS = np.random.default_rng(7).normal(size=(7, 11)) * np.arange(1, 12)


def test_vectors_are_shown_by_their_directions_of_largest_variance():
    """Against the eigenvectors of the covariance."""
    figure = viz.vector_plot(VECTORS, "abcdefg", groups=[0, 0, 0, 1, 1, 2, 7])
    (axes,) = figure.axes
    points = np.asarray(axes.collections[0].get_offsets())
    values, vectors = np.linalg.eigh(np.cov(VECTORS.T, bias=True))
    centred = VECTORS - VECTORS.mean(axis=0)
    for k in range(2):
        want = vectors[:, -1 - k]
        want = centred @ want * np.sign(want[np.abs(want).argmax()])
        np.testing.assert_allclose(points[:, k], want, rtol=1e-9)
    shares = values[::-1][:2] / values.sum()
    labels = axes.get_xlabel(), axes.get_ylabel()
    assert labels == tuple(f"{share:.0%} of the variance" for share in shares)
    assert [text.get_text() for text in axes.texts] == [*"abcdefg"]
    colours = [tuple(c) for c in axes.collections[0].get_facecolors()]
    assert len(set(colours[:3])) == len(set(colours[3:5])) == 1
    assert len({colours[0], colours[3], colours[5]}) == 3


def test_names_of_near_vectors_do_not_cover_each_other():
    close = np.repeat(VECTORS, 2, axis=0) + 1e-3 * np.arange(14)[:, None]
    figure = viz.vector_plot(close, [f"sentence number {n}" for n in range(14)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for n, box in enumerate(boxes):
        assert box.count_overlaps(boxes[:n]) == 0


@pytest.mark.parametrize("vectors", [np.ones((3, 5)), np.arange(3.0)[:, None]])
def test_vectors_of_one_point_or_of_one_number_are_shown(vectors):
    (axes,) = viz.vector_plot(vectors, "abc").figure.axes
    assert axes.get_ylabel() == "0% of the variance"
    assert not np.asarray(axes.collections[0].get_offsets())[:, 1].any()


@pytest.mark.parametrize(
    ("vectors", "names", "options", "message"),
    [
        (np.ones((2, 5)), "ab", {}, r"^vectors: expected three or more, .* \[2, 5\]"),
        (np.full((3, 5), np.nan), "abc", {}, "^vectors: expected finite numbers, got"),
        (np.ones((3, 5)), "ab", {}, "^names: expected 3, one for each vector, got 2"),
        (np.ones((3, 5)), "abc", {"groups": [1]}, "^groups: expected 3, one for each"),
    ],
)
def test_vectors_that_cannot_be_shown_are_named(vectors, names, options, message):
    with pytest.raises(ValueError, match=message):
        viz.vector_plot(vectors, names, **options)
