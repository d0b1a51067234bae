"""Figures are XML that draws what it was given."""

import math
import xml.etree.ElementTree as ElementTree

from avsr import svg

SVG = "{http://www.w3.org/2000/svg}"


def boxes(text):
    return list(ElementTree.fromstring(text).iter(f"{SVG}rect"))[1:]  # the first is the ground


def words(text):
    return [t.text for t in ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_bars_are_as_high_as_their_values():
    text = svg.bars({"a<b": 1.0, "c&d": 4.0, "none": math.nan}, title='"x" & y', unit="w")
    low, high = (float(box.get("height")) for box in boxes(text))
    assert math.isclose(high, 4 * low)
    assert {"a<b", "c&d", "none", '"x" & y', "w"} <= set(words(text))


def test_heat_map_has_a_cell_for_each_finite_value():
    values = [[0.0, 0.5, 1.0], [math.nan, 2.0, -1.0]]
    text = svg.heat_map(values, title="t", rows="layer", columns="expert", high=1.0)
    cells = [box.get("fill") for box in boxes(text)]
    assert len(cells) == 5
    assert cells[0] == cells[4] == "rgb(255,255,255)"  # at and below the low end
    assert cells[2] == cells[3] != cells[1] != cells[0]  # at and above the high end


def test_lines_follow_their_values_and_skip_gaps():
    series = {"one": [0.0, 1.0, 0.5], "gap": [0.0, math.nan, 1.0], "nothing": []}
    text = svg.lines(series, title="t", across="layer", up="share", high=1.0)
    found = [
        line.get("points").split() for line in ElementTree.fromstring(text).iter(f"{SVG}polyline")
    ]
    assert [len(points) for points in found] == [3, 2, 0]
    heights = [float(point.split(",")[1]) for point in found[0]]
    assert heights[0] > heights[2] > heights[1]
    assert math.isclose(heights[2], (heights[0] + heights[1]) / 2, abs_tol=0.1)
    assert {"one", "gap", "nothing"} <= set(words(text))


def test_empty_and_zero_figures_are_still_xml():
    for text in (
        svg.bars({}, title="", unit=""),
        svg.bars({"a": 0.0}, title="", unit=""),
        svg.heat_map([], title="", rows="", columns=""),
        svg.heat_map([[0.0]], title="", rows="", columns=""),
        svg.lines({}, title="", across="", up=""),
    ):
        assert ElementTree.fromstring(text).tag == f"{SVG}svg"


def test_curves_put_points_where_their_numbers_are():
    series = {"one": [(-5.0, 40.0), (0.0, 20.0), (5.0, 0.0)], "none": [(math.nan, 1.0)]}
    text = svg.curves(series, title="t", across="dB", up="%")
    dots = list(ElementTree.fromstring(text).iter(f"{SVG}circle"))
    x, y = ([float(dot.get(name)) for dot in dots] for name in ("cx", "cy"))
    assert math.isclose(x[1] - x[0], x[2] - x[1])
    assert math.isclose(y[1] - y[0], y[2] - y[1])
    assert x[0] < x[1]
    assert y[0] < y[1]
    assert {"one", "none", "dB", "-5", "5"} <= set(words(text))
