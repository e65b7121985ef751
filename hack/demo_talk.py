"""How the demo talks: titles, the commands that a user would type with what they print, and how long it waits for what."""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hack.clusters import HOME, Cluster
from hack.processes import wait_until

_BOLD, _DIM, _PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
_ROOT = HOME.parents[1]


class DemoError(Exception):
    """Something is not as the demo promises; the message says what."""


def title(text: str) -> None:
    print(f"\n{_BOLD}== {text}{_PLAIN}", flush=True)


def say(text: str) -> None:
    print(f"{_DIM}{text}{_PLAIN}", flush=True)


def typed(command: str, printed: str) -> None:
    print(f"{_BOLD}$ {command}{_PLAIN}", flush=True)
    print(printed.rstrip(), flush=True)


def run(cluster: Cluster, *arguments: str, check: bool = True) -> None:
    """Shows a kubectl command and what it prints."""
    shown = [relative(Path(argument)) if argument.startswith("/") else argument for argument in arguments]
    typed(f"kubectl {shlex.join(shown)}", cluster.kubectl(*arguments, check=check))


def waiting(what: str, holds: Callable[[], bool], seconds: float) -> float:
    """Seconds until it holds, with a dot for each; raises DemoError when it does not in time."""
    start = time.monotonic()
    print(f"{_DIM}waiting until {what} ", end="", flush=True)
    came, dots = False, 0
    while not came and time.monotonic() - start < seconds:
        came = wait_until(holds, min(1.0, seconds), 0.1)
        dots += 1
        print("" if came else ".", end="", flush=True)
    took = time.monotonic() - start
    print(f" {took:.1f} s{_PLAIN}", flush=True)
    if not came:
        raise DemoError(f"{seconds:.1f} s were not enough until {what}")
    return took


def relative(path: Path) -> str:
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)
