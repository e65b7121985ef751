"""The dashboard's main panels as one SVG, drawn from a Prometheus's answers: to look at without a Grafana.

python -m hack.dashboard_picture http://127.0.0.1:9090 docs/dashboard.svg [SECONDS]    of the last 300 seconds, where nothing is said
"""

import json
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from attrs import frozen

from hack import dashboard
from hack.dashboard import Panel

MAIN: Final = (
    *("Addon by state", "Ready", "Time to expiry", "Rotations by reason"),
    *("TokenRequest latency", "API requests", "Watch health", "Memory"),
)
"""Titles of the panels that are drawn; of two by the same title, both."""

_POINTS: Final = 120
_COLUMNS: Final = 2
_WIDTH, _HEIGHT = 480, 190
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 34, 12, 44
_LEGENDS: Final = 4
_COLOURS: Final = ("#3274d9", "#e0752d", "#5a9e4b", "#a352cc", "#c4162a", "#8f6b00", "#15807f", "#6e6e6e")
_SUFFIXES: Final = {
    "s": ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "percentunit": ((0.01, "%"),),
    "ops": ((1, "/s"),),
    "reqps": ((1, "/s"),),
}

Point = tuple[float, float]
"""Seconds since the epoch, and the value then."""


@frozen
class Drawing:
    """One panel with what it shows.

    Attributes:
        unit: Grafana's name of it.
        lines: by their legends.
    """

    title: str
    unit: str
    lines: Mapping[str, Sequence[Point]]


def draw(address: str, seconds: float) -> str:
    """What the dashboard shows of the last while.

    Args:
        address: of the Prometheus.
        seconds: how far back.

    Raises:
        OSError: it does not answer.
    """
    return svg(
        [
            Drawing(f"{row}: {panel.title}", panel.unit, dict(_lines(address, panel, seconds)))
            for row, panels in dashboard.rows().items()
            for panel in panels
            if panel.title in MAIN
        ]
    )


def svg(drawings: Sequence[Drawing]) -> str:
    """All of them, in columns."""
    rows = -(-len(drawings) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT
    cells = [
        f'<g transform="translate({number % _COLUMNS * _WIDTH},{number // _COLUMNS * _HEIGHT})">{_panel(drawing)}</g>'
        for number, drawing in enumerate(drawings)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#333">'
    )
    return "\n".join((head, f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>', *cells, "</svg>\n"))


def _lines(address: str, panel: Panel, seconds: float) -> Iterator[tuple[str, Sequence[Point]]]:
    for query in panel.queries:
        expression = query.expr.replace("$cluster", ".*").replace("$__rate_interval", "30s")
        for series in _range(address, expression, seconds):
            points = [(float(at), float(value)) for at, value in series["values"]]
            yield _legend(query.legend, series["metric"]), [point for point in points if point[1] == point[1]]


def _range(address: str, expression: str, seconds: float) -> list[Any]:
    end = time.time()
    asked = {"query": expression, "start": end - seconds, "end": end, "step": seconds / _POINTS}
    url = f"{address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the Prometheus that somebody named
        found: list[Any] = json.load(answer)["data"]["result"]
        return found


def _legend(template: str, labels: Mapping[str, str]) -> str:
    for name in {part.partition("}}")[0] for part in template.split("{{")[1:]}:
        template = template.replace(f"{{{{{name}}}}}", labels.get(name, ""))
    return " ".join(template.split())


def _panel(drawing: Drawing) -> str:
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    points = list(chain.from_iterable(drawing.lines.values()))
    parts = [
        f'<rect x="4" y="4" width="{_WIDTH - 8}" height="{_HEIGHT - 8}" rx="3" fill="#fff" stroke="#d8d9da"/>',
        f'<text x="14" y="22" font-weight="bold">{escape(drawing.title)}</text>',
    ]
    if not points:
        return "".join((*parts, f'<text x="{_LEFT}" y="{_HEIGHT // 2}" fill="#888">no data</text>'))
    start, end = min(at for at, _ in points), max(at for at, _ in points)
    top = max(*(value for _, value in points), 0) * 1.05 or 1.0
    low = min(*(value for _, value in points), 0)

    def x(at: float) -> float:
        return _LEFT + (at - start) / ((end - start) or 1) * inner_width

    def y(value: float) -> float:
        return _TOP + (top - value) / (top - low) * inner_height

    for share in (0, 0.5, 1):
        value = low + (top - low) * share
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e6e6e6"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{_said(value, drawing.unit)}</text>'
        )
    for number, line in enumerate(drawing.lines.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
    return "".join((*parts, *_legends(list(drawing.lines))))


def _legends(names: Sequence[str]) -> Iterator[str]:
    """The first few; the others are drawn and not named."""
    room = (_WIDTH - 28) // _COLUMNS
    for number, name in enumerate(names[:_LEGENDS]):
        x, y = 14 + number % _COLUMNS * room, _HEIGHT - 26 + number // _COLUMNS * 14
        yield f'<rect x="{x}" y="{y - 5}" width="10" height="3" fill="{_COLOURS[number % len(_COLOURS)]}"/>'
        more = (
            f" and {len(names) - _LEGENDS} more" if number == _LEGENDS - 1 and len(names) > _LEGENDS else ""
        )
        yield f'<text x="{x + 14}" y="{y}">{escape(name[:32])}{more}</text>'


def _said(value: float, unit: str) -> str:
    """Short, as on an axis."""
    sizes = _SUFFIXES.get(unit, ((1, ""),)) if value else ((1, ""),)
    size, suffix = next((known for known in sizes if abs(value) >= known[0]), sizes[-1])
    return f"{value / size:.3g} {suffix}".rstrip()


def main(arguments: list[str]) -> int:
    match arguments:
        case [address, file, *seconds] if len(seconds) < 2:  # noqa: PLR2004 - one more, or none
            Path(file).write_text(draw(address, float(seconds[0]) if seconds else 300.0))
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
