"""The time before a process has anything to do: its probes answer, and an API server that is away is waited for."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import structlog

from msa.runtime.errors import Forbidden, Network, ServerError, Throttled, Unauthorized
from msa.runtime.http import Response
from msa.runtime.supervisor import Addresses, serve_at

T = TypeVar("T")

_AGAIN_SECONDS = 1.0
_REFUSALS = 15
"""A server that starts refuses everybody until it has read its roles."""

_log = structlog.get_logger(__name__)


async def _alive() -> Response:
    return Response(b"ok\n")


async def _not_ready() -> Response:
    return Response(b"starting\n", 503)


@asynccontextmanager
async def starting(addresses: Addresses) -> AsyncIterator[anyio.CancelScope]:
    """Answers probes while the block lasts: alive and not ready. A signal cancels the block, which the scope tells then.

    Raises:
        StartError: an address cannot be had; the block has not begun then. In a group, as what the block raises.
    """
    probes = {"/healthz": _alive, "/livez": _alive, "/readyz": _not_ready}
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            await serve_at(tasks, addresses, metrics={}, health=probes)
            tasks.start_soon(_stop, scope)
            yield scope
            tasks.cancel_scope.cancel()


async def _stop(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("stopping", signal=signal.Signals(number).name)
            scope.cancel()


async def first_answer(ask: Callable[[], Awaitable[T]], server: str) -> T:
    """Asks until there is an answer: an API server that is away is no reason to end.

    Args:
        ask: the question.
        server: the server's address, for the log.

    Raises:
        ApiError: the server answered, and refuses.
    """
    told, refusals = "", _REFUSALS
    while True:
        try:
            return await ask()
        except (Network, ServerError, Throttled) as error:
            if told != error.reason:
                _log.warning(
                    "waiting_for_api_server", server=server, reason=error.reason, problem=error.message
                )
            told, refusals = error.reason, 0
        except (Forbidden, Unauthorized) as error:
            refusals += 1
            if refusals > _REFUSALS:
                raise
            _log.debug("api_server_refuses", server=server, problem=error.message)
        await anyio.sleep(_AGAIN_SECONDS)
