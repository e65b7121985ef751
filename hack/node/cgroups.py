"""The cgroup that a node's pods live under, on machines with cgroup v1 (one tree for each controller) and v2 (one tree)."""

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hack.node.network import Link
from hack.processes import wait_until

_SECONDS = 10.0


def trees(mounts: str) -> list[Path]:
    """Where cgroups are made, from the text of /proc/self/mounts; machines with v1 have an empty v2 beside it, which runc uses too."""
    lines = [line.split() for line in mounts.splitlines()]
    return [Path(path) for _, path, kind, *_ in lines if kind in ("cgroup", "cgroup2")]


def create(roots: list[Path], link: Link) -> None:
    """Makes it in each tree; on v2 the kubelet wants every controller handed down to it."""
    for root in roots:
        if (controllers := root / "cgroup.controllers").exists():
            for controller in controllers.read_text().split():
                (root / "cgroup.subtree_control").write_text(f"+{controller}")
        (root / link.name).mkdir(exist_ok=True)


def remove_unused(roots: list[Path], used: Callable[[Link], bool]) -> None:
    """Removes those of all nodes of this machine that are no more."""
    for root in roots:
        for top in root.glob("msa*"):
            number = top.name.removeprefix("msa")
            if number.isdecimal() and not used(Link(int(number))):
                _remove(top)


def _remove(top: Path) -> None:
    for folder in sorted([top, *top.rglob("*/")], reverse=True):
        wait_until(partial(_gone, folder), _SECONDS)


def _gone(folder: Path) -> bool:
    """Whether it is, now; killed processes take a moment to leave it, and another node that stops removes it too."""
    with contextlib.suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            raise
    return True
