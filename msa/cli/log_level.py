"""`msa log-level`: changes how much the program that runs in this container logs."""

import os
import signal
from pathlib import Path
from typing import Final

import click

from msa.cli.options import explained

_SIGNALS: Final = {"debug": signal.SIGUSR1, "default": signal.SIGUSR2}
_PROC: Final = Path("/proc")
_PROGRAMS: Final = ("manager", "agent")


def _options() -> list[click.Parameter]:
    return [
        click.Argument(["level"], type=click.Choice(list(_SIGNALS))),
        click.Option(
            ["--pid"],
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Process of msa manager or msa agent. In a container it is the first one.",
        ),
    ]


def _run(level: str, pid: int) -> None:
    r"""Changes what a running msa manager or msa agent logs, without a restart.

    debug logs everything, with a line for each request and each decision. default returns to what --log-level said at the start.

    \b
    Example:
      kubectl exec -n open-cluster-management-addon deploy/managed-serviceaccount-addon-manager -- /msa log-level debug
    """
    if not _is_ours(pid):
        raise click.ClickException(f"process {pid} is not msa manager or msa agent")
    try:
        os.kill(pid, _SIGNALS[level])
    except PermissionError:
        raise click.ClickException(f"process {pid} belongs to another user") from None


def _is_ours(pid: int) -> bool:
    """Another program may end on a signal that it does not know."""
    try:
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(program.encode() in arguments for program in _PROGRAMS) and any(
        Path(os.fsdecode(argument)).name.startswith("msa") for argument in arguments
    )


command = click.Command("log-level", callback=_run, params=_options(), help=explained(_run))
