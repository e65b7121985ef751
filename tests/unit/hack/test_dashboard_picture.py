"""The picture of the dashboard, from answers that are made up."""

from xml.etree import ElementTree as ET

from hack import dashboard
from hack.dashboard_picture import MAIN, Drawing, svg

_SVG = "{http://www.w3.org/2000/svg}"


def _drawn(*drawings: Drawing) -> ET.Element:
    return ET.fromstring(svg(drawings))  # noqa: S314 - our own


def _texts(picture: ET.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{_SVG}text")]


def test_each_panel_that_is_to_be_drawn_is_one_of_the_dashboards() -> None:
    titles = {panel.title for panels in dashboard.rows().values() for panel in panels}
    assert set(MAIN) <= titles


def test_a_line_runs_from_its_first_point_to_its_last_the_greatest_value_near_the_top() -> None:
    picture = _drawn(Drawing("Memory", "bytes", {"one": [(0, 0), (50, 2**20), (100, 2**19)]}))
    (line,) = picture.iter(f"{_SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y1 < y2 < y0
    assert x1 - x0 == x2 - x1


def test_values_on_the_axis_have_their_unit() -> None:
    picture = _drawn(Drawing("Memory", "bytes", {"one": [(0, 0), (1, 100 * 2**20)]}))
    assert {"100 MiB", "50 MiB", "0"} <= set(_texts(picture))


def test_the_time_on_the_axis_is_that_before_the_last_point() -> None:
    texts = _texts(_drawn(Drawing("Memory", "bytes", {"one": [(1000, 1), (1240, 1)]})))
    assert [text for text in texts if text.endswith(("ago", "now"))] == ["now", "2 min ago", "4 min ago"]


def test_all_panels_show_the_same_time() -> None:
    whole, half = _drawn(
        Drawing("Memory", "bytes", {"one": [(0, 1), (100, 1)]}),
        Drawing("Ready", "percentunit", {"one": [(50, 1), (100, 1)]}),
    ).iter(f"{_SVG}polyline")
    first, last = (point.split(",")[0] for point in whole.attrib["points"].split())
    late, end = (point.split(",")[0] for point in half.attrib["points"].split())
    assert end == last
    assert float(late) == (float(first) + float(last)) / 2


def test_the_lines_that_are_named_are_the_highest() -> None:
    lines = {f"line {number}": [(0.0, number), (1.0, number)] for number in range(6)}
    texts = _texts(_drawn(Drawing("Requests", "reqps", lines)))
    assert [text for text in texts if text.startswith("line")] == ["line 5", "line 4", "line 3", "line 2"]


def test_what_is_less_than_the_smallest_unit_has_it_all_the_same() -> None:
    assert "0.4 /s" in _texts(_drawn(Drawing("Rotations", "ops", {"one": [(0, 0), (1, 0.5)]})))


def test_what_is_always_zero_is_a_line_at_the_bottom() -> None:
    picture = _drawn(Drawing("Errors", "ops", {"one": [(0, 0), (1, 0)]}))
    (line,) = picture.iter(f"{_SVG}polyline")
    assert {point.split(",")[1] for point in line.attrib["points"].split()} == {"146.0"}


def test_a_panel_without_an_answer_says_so() -> None:
    assert "no data" in _texts(_drawn(Drawing("Ready", "percentunit", {})))


def test_names_cannot_break_the_picture_and_too_many_are_counted() -> None:
    lines = {f"<{number}>&": [(0.0, 1.0), (1.0, 1.0)] for number in range(6)}
    picture = _drawn(Drawing("a < b", "short", lines))
    texts = _texts(picture)
    assert "a < b" in texts
    assert "<0>&" in texts
    assert "<3>&" in texts
    assert "<4>&" not in texts
    assert "and 2 more" in texts
    assert len(list(picture.iter(f"{_SVG}polyline"))) == 6
