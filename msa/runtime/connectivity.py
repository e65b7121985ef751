"""Whether an API server answers at all, and a call to all who wait for it as soon as it does again.

Watches, the leader election and failing keys back off on their own, up to 30 s and more. While the server is away one small request
each second finds out for all of them when it is back, so that work resumes at once, whatever the outage's length.
"""

from collections.abc import Awaitable, Callable

import anyio
import structlog

Probe = Callable[[], Awaitable[int]]
"""The HTTP status of one small request, 0 without an answer."""

PROBE_SECONDS = 1.0

_REFUSALS = 10
"""A server that starts refuses everybody until it has read its roles. One that goes on refusing answers as well as it ever will."""

_SUCCESS, _REFUSED, _THROTTLED, _BROKEN = 200, 400, 429, 500
_log = structlog.get_logger(__name__)


class Connectivity:
    """Of one API server.

    Args:
        probe: asks it.
        server: its address, for the log.
    """

    def __init__(self, probe: Probe, server: Callable[[], str]) -> None:
        self._probe = probe
        self._server = server
        self._doubted = anyio.Event()
        self._back = anyio.Event()
        self.lost = False

    def failed(self) -> None:
        """A request got no answer, or that of a broken server: the server may be away."""
        self._doubted.set()

    def answered(self) -> None:
        """A request succeeded."""
        if self.lost:
            self.lost = False
            self._back.set()
            self._back = anyio.Event()
            _log.info("api_server_is_back", server=self._server())

    async def rest(self, seconds: float) -> bool:
        """Returns after so many seconds, or as soon as the server is back after an outage; True then."""
        with anyio.move_on_after(seconds):
            await self._back.wait()
            return True
        return False

    async def run(self) -> None:
        """Finds out for ever; sends nothing while requests succeed."""
        while True:
            await self._doubted.wait()
            if not _SUCCESS <= await self._probe() < _BROKEN:
                await self._wait_out()
            self._doubted = anyio.Event()
            await anyio.sleep(PROBE_SECONDS)

    async def _wait_out(self) -> None:
        self.lost = True
        _log.warning("api_server_is_away", server=self._server())
        refusals = 0
        while self.lost:
            await anyio.sleep(PROBE_SECONDS)
            status = await self._probe()
            refusals += _REFUSED <= status < _BROKEN and status != _THROTTLED
            if _SUCCESS <= status < _REFUSED or refusals >= _REFUSALS:
                self.answered()
