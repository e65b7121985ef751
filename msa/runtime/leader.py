"""Leader election over a Lease, and the fence that keeps a former leader from writing.

After client-go's leaderelection: 15 s lease, 10 s to renew it, a try every 2 s. Expiry is measured on the local monotonic clock from
when a change of the Lease was seen, by the holder's own duration up to a bound, so clocks need not agree. The Lease is watched, not polled, and
released on a clean stop, so that a successor takes over at once.

Unlike client-go's, an election goes on after the lead was lost: the work stops, the process and its caches stay. A holder that comes
back to a Lease that still names it takes it at once.
"""

import logging
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

LONGEST_LEASE_SECONDS = 60
"""Nobody waits longer for a holder that does not renew, whatever duration the Lease names: no release of ours asked for more than 15 s."""

_MOST_TRANSITIONS = 2**31 - 1
"""What the API server stores at most."""

_RETRY_SECONDS = 2.0
_JITTER = 1.2
_RELEASE_SECONDS = 2.0
_RELEASE_LOOKS = 4
_LOOK_SECONDS = 0.1
_STUCK_SECONDS = 60.0
_log = structlog.get_logger(__name__)


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
        identity: of this candidate; no two processes that may run at the same time share one.
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
        self._perhaps_ours = False  # a request may have made the Lease ours, whether or not its answer came
        self._problem = ""

    def problem(self, now: float) -> str | None:
        """That the election does nothing any more, None while it does.

        Args:
            now: monotonic seconds.
        """
        late = now - self._next_move
        return f"leader election: nothing done for {late:.0f} s" if late > _STUCK_SECONDS else None

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Runs `lead` whenever this candidate leads, and returns once that is done; then the Lease is released.

        Where the lead is lost first, `lead` is cancelled, and called again with the next lead.
        """
        try:
            while not await self._term(lead):
                pass
        finally:
            self._step_down()
            await self._release()

    async def _term(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """One lead, from its beginning to its end: whether `lead` was done by then."""
        await self._acquire()
        self._leading.set(1)
        self._problem = ""
        _log.info("leading", identity=self._identity)
        done = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew, tasks.cancel_scope)
            await lead()
            done = True
            tasks.cancel_scope.cancel()
        return done

    def _step_down(self) -> None:
        self._leading.set(0)
        self._fence.close()

    async def _acquire(self) -> None:
        while True:
            try:
                wait = await self._attempt()
                if wait is not None:
                    self._next_move = anyio.current_time() + wait
                    await self._lock.wait_for_change(self._seen, wait)
                elif not self._overdue():  # an answer may come later than the lead lasts that it brings
                    return
            except ApiError as error:
                self._tell(error)
                await self._lock.rest(_RETRY_SECONDS * (1 + _JITTER * self._rng.random()))

    def _tell(self, error: ApiError) -> None:
        """Each problem once."""
        level = (
            logging.DEBUG if error.reason == self._problem or isinstance(error, Conflict) else logging.WARNING
        )
        _log.log(level, "lead_not_acquired", reason=error.reason, problem=error.message)
        self._problem = error.reason

    async def _attempt(self) -> float | None:
        """`_try`, begun anew where the server comes back meanwhile: what was sent before its outage may never be answered."""
        outcome: float | ApiError | None = 0.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._give_up, tasks.cancel_scope)
            try:
                outcome = await self._try()
            except ApiError as error:
                outcome = error
            tasks.cancel_scope.cancel()
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    async def _give_up(self, scope: anyio.CancelScope) -> None:
        if await self._lock.rest(math.inf):
            scope.cancel()

    async def _try(self) -> float | None:
        """Takes the Lease if it is to be had; else the seconds after which it will be, if its holder does not renew it."""
        self._next_move = anyio.current_time()
        found = await self._lock.get()
        started = anyio.current_time()
        self._observe(found, started)
        if found is not None and found.holder not in ("", self._identity):
            self._perhaps_ours = False
            left = self._seen_at + min(found.duration_seconds, LONGEST_LEASE_SECONDS) - started
            if left > 0:
                return left
        self._perhaps_ours = True
        taken = LeaseRecord(self._identity, LEASE_SECONDS, self._now(), self._now())
        if found is None:
            self._hold(await self._lock.create(taken), started)
        else:
            transitions = found.transitions + (found.holder != self._identity)
            transitions = min(transitions, _MOST_TRANSITIONS)
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
                self._step_down()
                _log.warning(
                    "lead_lost", identity=self._identity, remedy="the work goes on with the next lead"
                )
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
        """Gives the lead back at once, if it is ours, or becomes so by a request that was cut short a moment ago."""
        if not self._perhaps_ours:
            return
        with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
            for _ in range(_RELEASE_LOOKS):
                try:
                    if await self._released():
                        return
                except Conflict:
                    self._held = None  # a renewal that was cut short came through
                except ApiError as error:
                    _log.warning("lead_not_released", reason=error.reason, problem=error.message)
                    return
                await anyio.sleep(_LOOK_SECONDS)

    async def _released(self) -> bool:
        held = self._held or await self._lock.get()
        if held is None or held.holder != self._identity:
            return False
        await self._lock.update(evolve(held, holder="", duration_seconds=1, renew_time=self._now()))
        return True
