"""Leader election over a Lease, and the fence that keeps a former leader from writing.

After client-go's leaderelection: 15 s lease, 10 s to renew it, a try every 2 s. Expiry is measured on the local monotonic clock from
when a change of the Lease was seen, by the holder's own duration, so clocks need not agree. The Lease is watched, not polled, and
released on a clean stop, so that a successor takes over at once.
"""

import math
from collections.abc import Awaitable, Callable
from random import Random

import anyio
import structlog
from attrs import evolve

from msa.runtime.errors import ApiError, Conflict, Fenced
from msa.runtime.metrics import Metrics
from msa.runtime.ports import LeaseLock, LeaseRecord, Now

LEASE_SECONDS = 15
RENEW_DEADLINE_SECONDS = 10.0
"""Without a renewal for so long the leader stops: well before anybody else may take over."""

_RETRY_SECONDS = 2.0
_JITTER = 1.2
_RELEASE_SECONDS = 2.0
_STUCK_SECONDS = 60.0
_log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Somebody else may lead by now: this process must end, since what it had begun may be half done."""


class Fence:
    """Asked before every write: passes only while this process surely leads."""

    def __init__(self) -> None:
        self._until = -math.inf

    def open_until(self, moment: float) -> None:
        """Lets writes pass until a monotonic time."""
        self._until = moment

    def close(self) -> None:
        self._until = -math.inf

    def check(self) -> None:
        """Raises Fenced where a write must not be sent."""
        if anyio.current_time() >= self._until:
            raise Fenced("this process does not hold the leader lease")


class LeaderElector:
    """One candidate.

    Args:
        lock: the Lease that all candidates compete for.
        identity: of this candidate; no two processes may share one.
        fence: opened and closed with the lead.
        name: of the election, for metrics.
        now: wall time, for the record only.
        rng: jitter between attempts.
        metrics: where the lead is shown.
    """

    def __init__(
        self,
        lock: LeaseLock,
        identity: str,
        fence: Fence,
        *,
        name: str,
        now: Now,
        rng: Random,
        metrics: Metrics,
    ) -> None:
        self._lock = lock
        self._identity = identity
        self._fence = fence
        self._now = now
        self._rng = rng
        self._leading = metrics.leader.labels(name)
        self._held: LeaseRecord | None = None
        self._seen: LeaseRecord | None = None
        self._seen_at = -math.inf
        self._renewed = -math.inf
        self._next_move = math.inf

    def problem(self, now: float) -> str | None:
        """That the election does nothing any more, None while it does.

        Args:
            now: monotonic seconds.
        """
        late = now - self._next_move
        return f"leader election: nothing done for {late:.0f} s" if late > _STUCK_SECONDS else None

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Waits for the lead, then runs `lead` for as long as it lasts, and releases it when that is done.

        Raises:
            LeaseLost: the lead was lost before `lead` was done; `lead` has been cancelled.
        """
        lost = True
        try:
            await self._acquire()
            self._leading.set(1)
            _log.info("leading", identity=self._identity)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._renew, tasks.cancel_scope)
                await lead()
                lost = False
                tasks.cancel_scope.cancel()
        finally:
            self._leading.set(0)
            self._fence.close()
            await self._release()
        if lost:
            raise LeaseLost(f"{self._identity} does not hold the leader lease any more")

    async def _acquire(self) -> None:
        while True:
            try:
                wait = await self._try()
                if wait is not None:
                    self._next_move = anyio.current_time() + wait
                    await self._lock.wait_for_change(self._seen, wait)
                elif not self._overdue():  # an answer may come later than the lead lasts that it brings
                    return
            except ApiError as error:
                _log.debug("lead_not_acquired", reason=error.reason, problem=error.message)
                await anyio.sleep(_RETRY_SECONDS * (1 + _JITTER * self._rng.random()))

    async def _try(self) -> float | None:
        """Takes the Lease if it is to be had; else the seconds after which it will be, if its holder does not renew it."""
        self._next_move = anyio.current_time()
        found = await self._lock.get()
        started = anyio.current_time()
        self._observe(found, started)
        if found is not None and found.holder not in ("", self._identity):
            left = self._seen_at + found.duration_seconds - started
            if left > 0:
                return left
        taken = LeaseRecord(self._identity, LEASE_SECONDS, self._now(), self._now())
        if found is None:
            self._hold(await self._lock.create(taken), started)
        else:
            transitions = found.transitions + (found.holder != self._identity)
            record = evolve(taken, transitions=transitions, resource_version=found.resource_version)
            self._hold(await self._lock.update(record), started)
        return None

    def _observe(self, found: LeaseRecord | None, now: float) -> None:
        """Remembers when the Lease was last seen to change: that moment, not what is written in it, starts its duration."""
        if found != self._seen:
            self._seen, self._seen_at = found, now

    def _hold(self, record: LeaseRecord, since: float) -> None:
        """The lead counts from before the request that renewed it was sent."""
        self._held = record
        self._renewed = since
        self._fence.open_until(since + RENEW_DEADLINE_SECONDS)

    def _overdue(self) -> bool:
        return anyio.current_time() >= self._renewed + RENEW_DEADLINE_SECONDS

    async def _renew(self, scope: anyio.CancelScope) -> None:
        """Renews until that fails for too long, then ends the lead."""
        while True:
            self._next_move = anyio.current_time() + _RETRY_SECONDS
            await anyio.sleep(_RETRY_SECONDS)
            with anyio.move_on_at(self._renewed + RENEW_DEADLINE_SECONDS) as deadline:
                still_ours = await self._renew_once()
            if deadline.cancelled_caught or not still_ours or self._overdue():
                _log.error("lead_lost", identity=self._identity)
                scope.cancel()
                return

    async def _renew_once(self) -> bool:
        """Whether the Lease is, as far as is known, still ours."""
        started = anyio.current_time()
        try:
            if self._held is None:
                self._held = await self._lock.get()
            if self._held is None or self._held.holder != self._identity:
                return False
            self._hold(await self._lock.update(evolve(self._held, renew_time=self._now())), started)
        except Conflict:
            self._held = None  # read it again: somebody wrote it, perhaps only a label
            return await self._renew_once()
        except ApiError as error:
            _log.warning("lead_not_renewed", reason=error.reason, problem=error.message)
        return True

    async def _release(self) -> None:
        """Gives the lead back at once, if it is still ours."""
        if self._held is None or self._held.holder != self._identity:
            return
        record = evolve(self._held, holder="", duration_seconds=1, renew_time=self._now())
        with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
            try:
                await self._lock.update(record)
            except ApiError as error:
                _log.warning("lead_not_released", reason=error.reason)
