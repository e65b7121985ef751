"""Where the tree says which version it is. `msa.__version__` is the source; all other places follow it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from msa.api import names

_CHART = "manifests/charts/managed-serviceaccount/Chart.yaml"
_TAG = re.compile(re.escape(f"{names.IMAGE}:{names.TAG_PREFIX}") + r"([^\s\"']+)")
_SAYINGS = {
    "msa/__init__.py": [re.compile(r'^__version__ = "(.+)"')],
    _CHART: [re.compile(r"^version: (\S+)"), re.compile(r"^appVersion: (\S+)")],
    "manifests/default/hub.yaml": [_TAG],
    "manifests/overlays/addontemplate/hub.yaml": [_TAG],
}
_CHANGELOG = "CHANGELOG.md"
_HEADING = re.compile(r"^## \[?([^\]\s]+)")


@frozen
class Place:
    """One of them.

    Attributes:
        file: seen from the root.
        line: from 1; 0 where no line of the file says a version.
    """

    file: str
    line: int
    says: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} says {self.says}"


def places(root: Path) -> list[Place]:
    """All of them, of the changelog its newest heading."""
    found = [place for file, sayings in _SAYINGS.items() for place in _of(root, file, sayings)]
    return [*found, _of(root, _CHANGELOG, [_HEADING])[0]]


def _of(root: Path, file: str, sayings: Sequence[re.Pattern[str]]) -> list[Place]:
    lines = (root / file).read_text().splitlines()
    return [place for saying in sayings for place in list(_said(file, lines, saying)) or [_silent(file)]]


def _said(file: str, lines: list[str], saying: re.Pattern[str]) -> Iterator[Place]:
    for number, line in enumerate(lines, start=1):
        if match := saying.search(line):
            yield Place(file, number, match[1])


def _silent(file: str) -> Place:
    return Place(file, 0, "nothing")


def refusal(version: str, found: Sequence[Place], changed: Sequence[str]) -> str:
    """Why this is no release of that version, in one line that says what to change; empty if it is one.

    Args:
        version: that was asked for.
        found: where the tree says a version.
        changed: files that are not as the last commit has them.
    """
    others = [str(place) for place in found if place.says != version]
    if others:
        return f"the tree is not {version}: {', '.join(others)}"
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        return f"{changed[0]}{more} is not as the last commit has it: commit it, or take it away"
    return ""
