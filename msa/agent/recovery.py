"""Has what waits for an API server looked at as soon as the server is back, instead of when its patience is over."""

from collections.abc import Callable, Mapping

import anyio
import structlog

from msa.agent.failures import Side

_LOOK_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Recovery:
    """Runs for ever.

    Args:
        troubles: for each side, why its API server cannot be relied on now, None while it can.
        recovered: told of a side that can be relied on again.
    """

    def __init__(
        self, troubles: Mapping[Side, Callable[[], str | None]], recovered: Callable[[Side], None]
    ) -> None:
        self._troubles = troubles
        self._recovered = recovered
        self._down: set[Side] = set()

    async def run(self) -> None:
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            for side, trouble in self._troubles.items():
                if trouble() is not None:
                    self._down.add(side)
                elif side in self._down:
                    self._down.discard(side)
                    _log.info("server_is_back", server=side.value)
                    self._recovered(side)
