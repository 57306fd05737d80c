"""Charts are pure functions: sound SVG, the same numbers in words, nothing inline that a strict policy refuses."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.core.panels import Chart, Kind, Node, Series, Tree, Window
from noa_perf.dashboard import charts
from noa_perf.dashboard.formats import brief, milliseconds, written

WINDOW = Window(1_000_000, 1_003_600)
POINTS = [(1_000_020 + 60 * n, float(n % 7)) for n in range(50)]


def drawn(chart):
    return ET.fromstring(charts.draw(chart, WINDOW))


@pytest.mark.parametrize("kind", ["line", "stacked", "histogram"])
def test_each_kind_is_sound_and_says_what_it_shows(kind):
    svg = drawn(Chart(title="a <b> & c", series=[Series(title="x & y", points=POINTS)], kind=kind, unit=Kind.MS))

    assert svg.find("title").text == "a <b> & c"
    assert "x & y: from 0" in svg.find("desc").text
    assert svg.get("role") == "img"


@pytest.mark.parametrize("kind", ["line", "stacked", "histogram"])
def test_nothing_inline(kind):
    text = charts.draw(Chart(title="t", series=[Series(title="s", points=POINTS)], kind=kind), WINDOW)

    assert "style=" not in text
    assert "script" not in text


def test_nothing_counted_is_no_chart():
    assert charts.draw(Chart(title="t", series=[Series(title="s", points=[])]), WINDOW) == ""


def test_a_missing_step_is_zero_not_the_last_value():
    chart = Chart(title="t", series=[Series(title="s", points=[(1_000_020, 5.0), (1_000_320, 5.0)])])

    points = drawn(chart).find("polyline").get("points").split()

    assert len({point.partition(",")[2] for point in points}) == 2


def test_bars_are_stacked_to_their_sum():
    chart = Chart(
        title="t",
        kind="stacked",
        series=[Series(title="a", points=[(1_000_020, 2.0)]), Series(title="b", points=[(1_000_020, 3.0)])],
    )

    lower, upper = drawn(chart).findall("rect")

    assert float(upper.get("y")) + float(upper.get("height")) == pytest.approx(float(lower.get("y")), abs=0.2)


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_the_scale_ends_at_a_round_number_above(value):
    top = charts.nice(value)

    assert value * 0.999 <= top <= value * 10.001
    assert re.match(r"^[125](\.0+)?e", f"{top:.5e}")


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-310])
def test_what_is_next_to_nothing_has_a_scale(value):
    assert charts.nice(value) == 1.0


@given(st.lists(st.tuples(st.integers(1_000_000, 1_003_600), st.floats(0, 1e9)), min_size=1, max_size=80))
def test_any_points_stay_inside_the_picture(points):
    svg = charts.draw(Chart(title="t", series=[Series(title="s", points=sorted(points))], kind="stacked"), WINDOW)

    for x, y, width, height in re.findall(r'x="([\d.-]+)" y="([\d.-]+)" width="([\d.-]+)" height="([\d.-]+)"', svg):
        assert 0 <= float(x) <= charts.WIDTH + 1 - float(width)
        assert -0.01 <= float(y) <= charts.HEIGHT + 1 - float(height)


def test_a_plan_is_drawn_with_its_dear_steps():
    tree = Tree(
        title="Plan",
        roots=[Node(title="Sort", weight=0.1, children=[Node(title="Seq Scan on <t>", figures="rows 9", weight=0.9)])],
    )

    svg = ET.fromstring(charts.tree(tree))

    assert [one.text for one in svg.findall("text") if one.get("class") != "small"] == ["Sort", "Seq Scan on <t>"]
    assert len(svg.findall("rect")) == 2
    assert len(svg.findall("path")) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.34, "340 µs"), (12.5, "12.5 ms"), (340, "340 ms"), (3_200, "3.20 s"), (250_000, "4 min 10 s")],
)
def test_durations_are_written_in_their_unit(value, text):
    assert milliseconds(value) == text


def test_figures_are_written_alike():
    assert written(0.123, Kind.SHARE) == "12.3%"
    assert written(1234567, Kind.COUNT) == "1,234,567"
    assert written(None, Kind.MS) == ""
    assert written(0, Kind.TIME) == "1970-01-01 00:00:00"
    assert [brief(value, Kind.COUNT) for value in (5, 12_000, 3_000_000, 2e9)] == ["5", "12 k", "3 M", "2 G"]


def test_a_deep_plan_stays_inside_the_picture():
    node = Node(title="x" * 200)
    for _ in range(40):
        node = Node(title="Nested Loop " * 20, figures="rows 9", children=[node])

    svg = charts.tree(Tree(title="Plan", roots=[node]))

    ends = [(float(x), len(text)) for x, text in re.findall(r'<text x="([\d.]+)" y="\d+">([^<]*)<', svg)]
    assert len(ends) == 41
    assert all(x + 7 * letters <= charts.TREE_WIDTH for x, letters in ends)
