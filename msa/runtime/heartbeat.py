"""Renews a Lease for as long as all is well: others take its renewals for a sign of life, so it must be an honest one."""

from collections.abc import Callable

import anyio
import structlog
from attrs import evolve

from msa.runtime.errors import ApiError, Conflict, NotFound
from msa.runtime.ports import LeaseLock, LeaseRecord, Now

_LOOK_SECONDS = 5.0
"""How soon a heartbeat that paused, or failed, goes on."""

_log = structlog.get_logger(__name__)


class Heartbeat:
    """One Lease, renewed every `interval` seconds while `trouble` says None.

    Args:
        lock: the Lease.
        identity: written as its holder.
        trouble: why it must not be renewed now, None when all is well.
        now: wall time.
        interval: seconds; also the Lease's duration.
    """

    def __init__(
        self,
        lock: LeaseLock,
        identity: str,
        trouble: Callable[[], str | None],
        now: Now,
        *,
        interval: int = 60,
    ) -> None:
        self._lock = lock
        self._identity = identity
        self._trouble = trouble
        self._now = now
        self._interval = interval
        self._stored: LeaseRecord | None = None
        self._paused = ""

    async def run(self) -> None:
        """Beats for ever."""
        while True:
            trouble = self._trouble()
            if trouble is None:
                trouble = await self._beat()
            if trouble != self._paused:
                self._paused = trouble
                _log.info("heartbeat_resumed") if not trouble else _log.warning(
                    "heartbeat_paused", problem=trouble
                )
            await anyio.sleep(_LOOK_SECONDS if trouble else self._interval)

    async def _beat(self) -> str:
        """Why it could not be renewed, empty when it was. One request, but for the first time and after a conflict."""
        try:
            if self._stored is None:
                self._stored = await self._lock.get()
            await self._renew()
        except (Conflict, NotFound):
            self._stored = None
            return "the Lease was changed or deleted by somebody else"
        except ApiError as error:
            return f"{error.reason}: {error.message}"
        return ""

    async def _renew(self) -> None:
        now = self._now()
        if self._stored is None:
            self._stored = await self._lock.create(LeaseRecord(self._identity, self._interval, now, now))
        else:
            record = evolve(
                self._stored, holder=self._identity, duration_seconds=self._interval, renew_time=now
            )
            self._stored = await self._lock.update(record)
