"""Has held deletions carried out when a person says that they are meant: an annotation on the agent's Deployment."""

from collections.abc import Callable

import anyio
import structlog
from attrs import frozen

from msa.agent.ports import Managed
from msa.agent.retirement import Retirement
from msa.policy.removal import can_release
from msa.runtime.errors import ApiError
from msa.runtime.ports import Now
from msa.runtime.result import Key

_LOOK_SECONDS = 10.0
_log = structlog.get_logger(__name__)


@frozen
class Release:
    """Runs for ever; asks nothing while nothing is held.

    Attributes:
        released: told of each key that need not wait any longer.
    """

    managed: Managed
    retirement: Retirement
    now: Now
    released: Callable[[Key], None]

    async def run(self) -> None:
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            if self.retirement.held:
                await self._look()

    async def _look(self) -> None:
        try:
            moment = await self.managed.released_at()
        except ApiError as error:
            _log.warning("release_unknown", reason=error.reason, problem=error.message)
            return
        if moment is None or not can_release(moment, self.now()):
            return
        until = anyio.current_time() - (self.now() - moment).total_seconds()
        if until <= self.retirement.released:
            return
        _log.info("held_deletions_released", count=len(self.retirement.held))
        for key in self.retirement.release(until):
            self.released(key)
