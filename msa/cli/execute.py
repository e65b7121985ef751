"""Runs a program to its end: the exit code, and one line for whoever started it when it could not do its work."""

import sys
from collections.abc import Awaitable, Callable

import anyio
import structlog

from msa.kube.credentials import CredentialError
from msa.runtime.leader import LeaseLost
from msa.runtime.supervisor import Ended, StartError

_log = structlog.get_logger(__name__)


def execute(command: str, run: Callable[[], Awaitable[None]]) -> int:
    """Runs until it is told to stop; the exit code."""
    code = 0
    try:
        anyio.run(run)
    except* (StartError, CredentialError, LeaseLost, Ended) as group:
        print(f"msa {command}: {_first(group)}", file=sys.stderr)  # noqa: T201 - for whoever started it
        code = 1
    except* Exception as group:  # noqa: BLE001 - a bug: told where logs are read, then the process is started again
        _log.critical("crashed", exc_info=group)
        code = 1
    return code


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
