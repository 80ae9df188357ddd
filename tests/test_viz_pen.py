"""Pictures of handwriting, and a pen that a browser moves."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from attnjax import viz

POINTS = np.array([[0, 0, 0], [3, -2, 0], [2, 4, 1], [5, 0, 0], [1, 1, 0]])
WEIGHTS = np.eye(5)[:, :3] + 0.1
SVG = "{http://www.w3.org/2000/svg}"


def test_strokes_are_cut_where_the_pen_goes_up():
    first, last = viz.strokes_of(POINTS)
    assert first.tolist() == [[0, 0], [3, -2], [5, 2]]
    assert last.tolist() == [
        [10, 2],
        [11, 3],
    ]  # it does not end, and is one all the same


def test_a_line_is_drawn_with_its_window(tmp_path):
    path = tmp_path / "line.png"
    line = viz.Writing(POINTS, "a b", WEIGHTS, prime=3)
    figure = viz.pen_plot([line, (POINTS,)], path, title="writing")
    strokes, window, other = figure.axes
    assert [tick.get_text() for tick in window.get_yticklabels()] == ["a", "␣", "b"]
    image = window.images[0].get_array()
    assert image.shape == (3, 5)
    np.testing.assert_allclose(np.max(image, axis=0), 1)  # black at the largest weight
    drawn = [drawn.get_xydata().tolist() for drawn in other.lines]
    assert drawn == [stroke.tolist() for stroke in viz.strokes_of(POINTS)]
    low, high = strokes.get_ylim()
    assert low > high  # y downwards
    assert strokes.lines[0].get_color() != strokes.lines[1].get_color()  # the prime
    assert imread(path).std() > 0.01


def test_lines_of_a_picture_have_one_scale():
    figure = viz.pen_plot([(POINTS,), (3 * POINTS,)])
    scales = []
    for axes in figure.axes:
        inches = axes.get_window_extent().width / figure.dpi
        scales.append(inches / np.ptp(axes.get_xlim()))
    np.testing.assert_allclose(scales[0], scales[1], rtol=1e-6)


def test_the_same_line_gives_the_same_bytes(tmp_path):
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        viz.pen_plot([(POINTS, "ab", WEIGHTS)], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_pen_writes_stroke_by_stroke_in_one_file(tmp_path):
    path = tmp_path / "pen.svg"
    lines = [viz.Writing(POINTS, "a<b", prime=3), viz.Writing(POINTS, "c")]
    svg = viz.pen_animation(lines, path, points_per_second=10)
    assert path.read_text() == svg
    root = ElementTree.fromstring(svg)
    assert root.find(f"{SVG}title").text == "a<b c"
    paths = root.findall(f".//{SVG}path")
    times = [dict(p.split(":") for p in x.get("style").split(";")) for x in paths]
    begin = [float(t["animation-delay"].rstrip("s")) for t in times]
    lasts = [float(t["animation-duration"].rstrip("s")) for t in times]
    # One after another, without a gap, at ten points a second.
    np.testing.assert_allclose(begin, [0, 0.3, 0.5, 0.8])
    np.testing.assert_allclose(lasts, [0.3, 0.2, 0.3, 0.2])
    assert [x.get("class") for x in paths] == ["given", None, None, None]
    assert "prefers-reduced-motion" in svg
    assert svg.count("http") == 1  # the name space: nothing is loaded


def test_a_dot_is_seen():
    svg = viz.pen_animation([[[[0, 0, 1]]]])
    assert "L" in ElementTree.fromstring(svg).find(f".//{SVG}path").get("d")
    assert viz.pen_plot([([[0, 0, 1]],)]).axes[0].lines


@pytest.mark.parametrize("draw", [viz.pen_plot, viz.pen_animation])
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "lines: expected at least one, got none"),
        ([(np.zeros((2, 2)),)], r"points: expected shape \[N, 3\] .* got \[2, 2\]"),
        ([(np.full((2, 3), np.nan),)], "points: expected finite numbers"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, lines, words):
    with pytest.raises(ValueError, match=words):
        draw(lines)


def test_weights_of_other_points_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weights: expected shape \[5, S\], got \[4"):
        viz.pen_plot([(POINTS, "a", WEIGHTS[1:])])
    with pytest.raises(ValueError, match="path: expected a name that ends in"):
        viz.pen_plot([(POINTS,)], tmp_path / "a.gif")
    with pytest.raises(ValueError, match="points_per_second: expected more than 0"):
        viz.pen_animation([(POINTS,)], points_per_second=0)
