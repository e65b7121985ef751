"""The dashboard's main panels as one SVG, drawn from a Prometheus's answers: to look at without a Grafana.

python -m hack.dashboard_picture http://127.0.0.1:9090 docs/dashboard.svg [SECONDS]    of the last 300 seconds, where nothing is said
"""

import json
import math
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
    *("Addon by state", "CSR decisions", "Time to expiry", "Ready", "Rotations by reason"),
    *("TokenRequest latency", "Queue latency", "API requests", "Watch health", "Memory"),
)
"""Titles of the panels that are drawn; of two by the same title, both."""

_POINTS: Final = 120
_COLUMNS: Final = 2
_WIDTH, _HEIGHT = 480, 204
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 34, 12, 58
_LEGENDS: Final = 4
_LEGEND_LETTERS: Final = 30
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


@frozen
class _Scale:
    """From times and values to places in a panel."""

    start: float
    end: float
    low: float
    top: float

    def x(self, at: float) -> float:
        return _LEFT + (at - self.start) / ((self.end - self.start) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _TOP + (self.top - value) / (self.top - self.low) * (_HEIGHT - _TOP - _BOTTOM)


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
    """All of them, in columns, over the same time."""
    times = [at for drawing in drawings for line in drawing.lines.values() for at, _ in line] or [0.0]
    rows = -(-len(drawings) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH, rows * _HEIGHT
    cells = [
        f'<g transform="translate({number % _COLUMNS * _WIDTH},{number // _COLUMNS * _HEIGHT})">'
        f"{_panel(drawing, min(times), max(times))}</g>"
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
            numbers = [(float(at), float(value)) for at, value in series["values"]]
            if points := [point for point in numbers if not math.isnan(point[1])]:
                yield _legend(query.legend, series["metric"]), points


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


def _panel(drawing: Drawing, start: float, end: float) -> str:
    lines = sorted(drawing.lines.items(), key=_peak, reverse=True)
    values = [value for _, line in lines for _, value in line]
    parts = [
        f'<rect x="4" y="4" width="{_WIDTH - 8}" height="{_HEIGHT - 8}" rx="3" fill="#fff" stroke="#d8d9da"/>',
        f'<text x="14" y="22" font-weight="bold">{escape(drawing.title)}</text>',
    ]
    if not values:
        return "".join((*parts, f'<text x="{_LEFT}" y="{_HEIGHT // 2}" fill="#888">no data</text>'))
    scale = _Scale(start, end, min(*values, 0), max(*values, 0) * 1.05 or 1.0)
    parts += chain(_times(scale), _values(scale, drawing.unit))
    for number, (_, line) in enumerate(lines):
        path = " ".join(f"{scale.x(at):.1f},{scale.y(value):.1f}" for at, value in line)
        parts.append(f'<polyline fill="none" stroke="{_colour(number)}" stroke-width="1.5" points="{path}"/>')
    return "".join((*parts, *_legends([name for name, _ in lines])))


def _peak(named: tuple[str, Sequence[Point]]) -> float:
    return max((value for _, value in named[1]), default=0.0)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _times(scale: _Scale) -> Iterator[str]:
    for ago in _marks(0, scale.end - scale.start, "s"):
        said, anchor = (f"{_said(ago, 's')} ago", "middle") if ago else ("now", "end")
        where = f'x="{scale.x(scale.end - ago):.1f}" y="{_HEIGHT - _BOTTOM + 13}" text-anchor="{anchor}"'
        yield f'<text {where} fill="#888">{said}</text>'


def _values(scale: _Scale, unit: str) -> Iterator[str]:
    for value in _marks(scale.low, scale.top, unit):
        y = scale.y(value)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6e6e6"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_said(value, unit)}</text>'


def _marks(low: float, top: float, unit: str) -> list[float]:
    """Two to five round ones of an axis; one, where it has no length."""
    if low == top:
        return [low]
    size, _ = _size(max(top, -low), unit)
    step = _round((top - low) / 2 / size) * size
    return [number * step for number in range(math.ceil(low / step), math.floor(top / step) + 1)]


def _round(most: float) -> float:
    """The greatest of ... 0.1, 0.2, 0.5, 1, 2, 5, 10 ... that is not more."""
    power: float = 10 ** math.floor(math.log10(most))
    return max(power * digit for digit in (1, 2, 5) if power * digit <= most)


def _legends(names: Sequence[str]) -> Iterator[str]:
    """The first few; the others are drawn and not named."""
    room = (_WIDTH - 28) // _COLUMNS
    for number, name in enumerate(names[:_LEGENDS]):
        x, y = 14 + number % _COLUMNS * room, _HEIGHT - 26 + number // _COLUMNS * 14
        yield f'<rect x="{x}" y="{y - 5}" width="10" height="3" fill="{_colour(number)}"/>'
        short = name if len(name) <= _LEGEND_LETTERS else f"{name[:_LEGEND_LETTERS]}…"
        yield f'<text x="{x + 14}" y="{y}">{escape(short)}</text>'
    if (more := len(names) - _LEGENDS) > 0:
        yield f'<text x="{_WIDTH - 14}" y="22" text-anchor="end" fill="#888">and {more} more</text>'


def _said(value: float, unit: str) -> str:
    """Short, as on an axis."""
    if not value:
        return "0"
    size, suffix = _size(abs(value), unit)
    return f"{value / size:.3g} {suffix}".rstrip()


def _size(value: float, unit: str) -> tuple[float, str]:
    """The greatest that is not more than the value, and its suffix."""
    sizes = _SUFFIXES.get(unit, ((1, ""),))
    return next((known for known in sizes if value >= known[0]), sizes[-1])


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
