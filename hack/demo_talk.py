"""How the demo talks: titles, the commands that a user would type with what they print, and how long it waits for what.

Every command is shown as it can be pasted into another terminal, in the root of the clone and with the two variables of `exports`, while the
demo runs.
"""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hack import binaries
from hack.clusters import HOME, Cluster
from hack.processes import wait_until

_BOLD, _DIM, _PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
_ROOT = HOME.parents[1]
HUB = "demo-hub"


class DemoError(Exception):
    """Something is not as the demo promises; the message says what."""


def title(text: str) -> None:
    print(f"\n{_BOLD}== {text}{_PLAIN}", flush=True)


def say(text: str) -> None:
    print(f"{_DIM}{text}{_PLAIN}", flush=True)


def typed(command: str, printed: str) -> None:
    print(f"{_BOLD}$ {command}{_PLAIN}", flush=True)
    print(printed.rstrip(), flush=True)


def run(cluster: Cluster, *arguments: str, check: bool = True) -> str:
    """Shows a kubectl command and what it prints, which it returns."""
    elsewhere = "" if cluster.name == HUB else f"--kubeconfig={relative(cluster.kubeconfig)} "
    printed = cluster.kubectl(*arguments, check=check)
    typed(f"kubectl {elsewhere}{shlex.join(map(_shown, arguments))}", printed)
    return printed


def run_as(cluster: Cluster, kubeconfig: Path, *arguments: str) -> str:
    """The same for whoever has this kubeconfig, and may be refused."""
    printed = cluster.kubectl(*arguments, f"--kubeconfig={kubeconfig}", check=False)
    typed(f"kubectl --kubeconfig={relative(kubeconfig)} {shlex.join(map(_shown, arguments))}", printed)
    return printed


def exports(
    hub: Cluster, purpose: str = "to paste a command into another terminal while the demo runs"
) -> None:
    """What makes the commands that are shown work elsewhere."""
    tools = (relative(hub.binaries["kubectl"].parent), relative(Path(binaries.helm()).parent))
    say(f"{purpose}, change to this folder and run this first:")
    print(
        f"export PATH=$PWD/.venv/bin:{':'.join(tools)}:$PATH KUBECONFIG={relative(hub.kubeconfig)}",
        flush=True,
    )


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


def _shown(argument: str) -> str:
    return relative(Path(argument)) if argument.startswith("/") else argument


def relative(path: Path) -> str:
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)
