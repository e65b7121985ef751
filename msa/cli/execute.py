"""Runs a program to its end: the exit code, and one line for whoever started it when it could not do its work."""

import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

import anyio
import structlog

from msa.cli.logs import Threshold
from msa.cli.masking import mask
from msa.kube.credentials import CredentialError
from msa.runtime.supervisor import Ended, StartError

_INTERRUPTED = 130
_log = structlog.get_logger(__name__)


def execute(command: str, run: Callable[[], Awaitable[None]], threshold: Threshold) -> NoReturn:
    """Runs until it is told to stop, then ends the process with its exit code; meanwhile signals change the level of its logs.

    `run` has let go of all it held by then. What may be left are threads in the middle of looking up a name, which nobody can
    cancel, and both the event loop and the interpreter would wait for them: so the process ends here, without either.
    """

    async def to_the_end() -> NoReturn:
        threshold.listen()
        _leave(await _exit_code(command, run))

    anyio.run(to_the_end)


async def _exit_code(command: str, run: Callable[[], Awaitable[None]]) -> int:
    code = 0
    try:
        await run()
    except* (StartError, CredentialError, Ended) as group:
        print(mask(f"msa {command}: {first(group)}"), file=sys.stderr)  # noqa: T201 - for whoever started it
        code = 1
    except* Exception as group:  # noqa: BLE001 - a bug: told where logs are read, then the process is started again
        _log.critical("crashed", exc_info=group)
        code = 1
    except* (
        anyio.get_cancelled_exc_class()
    ):  # Ctrl-C before `run` listened for it, which asyncio turns into this
        code = _INTERRUPTED
    return code


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(code)


def first(group: BaseExceptionGroup[Exception]) -> Exception:
    inner = group.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner
