import importlib.util
from datetime import UTC, datetime
from random import Random
from types import ModuleType
from typing import Any

import anyio
import pytest
import trio
from attrs import define, evolve, field
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from msa.runtime.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Fenced,
    Forbidden,
    Network,
    Refused,
    ShortWatch,
)
from msa.runtime.leader import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, Fence, LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.ports import LeaseRecord
from tests.support.patient import Patient


@define
class Lease:
    """The stored object, shared by all candidates; one of them may be cut off from it."""

    stored: LeaseRecord | None = None
    version: int = 0
    changed: anyio.Event = field(factory=anyio.Event)

    def write(self, record: LeaseRecord) -> LeaseRecord:
        self.version += 1
        self.stored = evolve(record, resource_version=str(self.version))
        self.changed.set()
        self.changed = anyio.Event()
        return self.stored


@define
class Lock:
    """`LeaseLock` over a `Lease`."""

    lease: Lease
    error: ApiError | None = None
    hangs: bool = False
    seconds: float = 0.01
    watch_error: ApiError | None = None
    gets: int = 0
    server: Patient = field(factory=Patient)
    late: LeaseRecord | None = None

    async def _reach(self) -> None:
        await anyio.sleep(self.seconds)
        if self.hangs:
            await anyio.sleep_forever()
        if self.error is not None:
            raise self.error

    async def get(self) -> LeaseRecord | None:
        self.gets += 1
        await self._reach()
        return self.lease.stored

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        await self._reach()
        if self.lease.stored is not None:
            raise AlreadyExists
        return self.lease.write(record)

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        self.late = record
        await self._reach()
        self.late = None
        if self.lease.stored is None or self.lease.stored.resource_version != record.resource_version:
            raise Conflict
        return self.lease.write(record)

    async def rest(self, seconds: float) -> bool:
        return await self.server.rest(seconds)

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        if self.watch_error is not None:
            raise self.watch_error
        changed = self.lease.changed
        with anyio.move_on_after(seconds):
            if self.lease.stored == record:
                await changed.wait()
            await self._reach()


@define
class Abandoned(Lock):
    """A lock whose writes reach the server even though nobody waits for their answer any more."""

    arrives: bool = True

    async def _reach(self) -> None:
        try:
            await anyio.sleep(self.seconds)
        except anyio.get_cancelled_exc_class():
            if self.arrives and self.late is not None:
                self.lease.write(self.late)
                self.seconds = 0.01
            raise
        if self.error is not None:
            raise self.error


@define
class Candidate:
    """Notes when it began to lead and when it lost the lead; a write may be sent at any moment of a term."""

    lock: Lock
    fence: Fence = field(factory=Fence)
    led_from: float | None = None
    terms: list[float] = field(factory=list)
    lost_at: list[float] = field(factory=list)
    elector_type: type[LeaderElector] = LeaderElector
    stop: anyio.Event = field(factory=anyio.Event)
    ended: bool = False

    def elector(self, name: str) -> LeaderElector:
        return self.elector_type(
            self.lock,
            name,
            self.fence,
            name="test",
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            rng=Random(1),
            metrics=Metrics(CollectorRegistry()),
        )

    async def run(self, name: str) -> None:
        await self.elector(name).run(self._lead)
        self.ended = True

    async def _lead(self) -> None:
        self.led_from = anyio.current_time()
        self.terms.append(self.led_from)
        self.fence.check()
        try:
            await self.stop.wait()
        except anyio.get_cancelled_exc_class():
            self.lost_at.append(anyio.current_time())
            self.led_from = None
            raise

    def leads(self) -> bool:
        return self.led_from is not None

    def may_write(self) -> bool:
        try:
            self.fence.check()
        except Fenced:
            return False
        return True


async def test_a_clean_stop_hands_the_lead_over_within_two_seconds() -> None:
    lease = Lease()
    one, two = Candidate(Lock(lease)), Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(1)
        tasks.start_soon(two.run, "two")
        await anyio.sleep(100)
        assert not two.leads()
        stopped = anyio.current_time()
        one.stop.set()
        await anyio.sleep(5)
        assert two.led_from is not None
        assert two.led_from - stopped <= 2
        assert lease.stored is not None
        assert lease.stored.transitions == 1
        tasks.cancel_scope.cancel()
    assert one.ended
    assert not one.lost_at


async def test_a_follower_watches_the_lease_and_reads_it_only_when_it_changes() -> None:
    lease = Lease()
    one, two = Candidate(Lock(lease)), Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(1)
        tasks.start_soon(two.run, "two")
        await anyio.sleep(100)
        assert one.lock.gets == 1, "a leader renews with one request"
        assert two.lock.gets <= 52
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("cut", ["network", "hang", "slow"])
async def test_a_leader_cut_off_stops_writing_before_anybody_else_begins(cut: str) -> None:
    lease = Lease()
    one, two = Candidate(Lock(lease)), Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(1)
        tasks.start_soon(two.run, "two")
        await anyio.sleep(20)
        one.lock.error, one.lock.hangs = Network() if cut == "network" else None, cut == "hang"
        one.lock.seconds = RENEW_DEADLINE_SECONDS + 1 if cut == "slow" else 0.01
        cut_at, both, last_write = anyio.current_time(), False, 0.0
        for _ in range(400):
            await anyio.sleep(0.1)
            both = both or (one.may_write() and two.may_write())
            last_write = anyio.current_time() if one.may_write() else last_write
        assert not both
        assert one.lost_at
        assert not one.ended, "the process goes on"
        assert last_write - cut_at <= RENEW_DEADLINE_SECONDS
        assert two.led_from is not None
        assert LEASE_SECONDS - 3 <= two.terms[0] - cut_at <= LEASE_SECONDS + 2
        tasks.cancel_scope.cancel()


async def test_a_lease_that_was_had_too_late_to_write_by_it_is_had_again_before_the_lead_begins() -> None:
    """Its time counts from before the request, so a slow answer may bring a lead that is over."""
    one = Candidate(Lock(Lease(), seconds=RENEW_DEADLINE_SECONDS + 1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(60)
        assert not one.leads()
        assert not one.may_write()
        one.lock.seconds = 0.01
        await anyio.sleep(RENEW_DEADLINE_SECONDS + 5)
        assert one.leads()
        assert one.may_write()
        tasks.cancel_scope.cancel()


async def test_the_lead_counts_from_before_the_request_that_brought_it() -> None:
    """Others count from the write, which may have been long before its answer came; a frozen process has no renewal to end it."""
    one, clock = Candidate(Lock(Lease(), seconds=4.5)), trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(9.1)
        assert one.may_write()
        clock.jump(4.5 + RENEW_DEADLINE_SECONDS - 9)
        assert not one.may_write()
        tasks.cancel_scope.cancel()


async def test_a_follower_whose_watch_breaks_at_once_asks_again_at_most_every_two_seconds() -> None:
    lease = Lease()
    lease.write(LeaseRecord("other", 3600, None, None))
    two = Candidate(Lock(lease, watch_error=ShortWatch()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(two.run, "two")
        await anyio.sleep(100)
        assert 20 <= two.lock.gets <= 51
        tasks.cancel_scope.cancel()


async def test_a_process_that_was_frozen_may_not_write_when_it_wakes() -> None:
    """Nothing of it ran meanwhile, not even its renewals: only the deadline on the clock tells."""
    fence = Fence()
    fence.open_until(anyio.current_time() + RENEW_DEADLINE_SECONDS)
    fence.check()
    await anyio.sleep(RENEW_DEADLINE_SECONDS)
    with pytest.raises(Fenced):
        fence.check()


async def test_a_lease_whose_holder_never_renews_is_taken_after_the_holders_own_duration() -> None:
    lease = Lease()
    lease.write(LeaseRecord("dead", 40, None, None))
    two = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(two.run, "two")
        await anyio.sleep(39)
        assert not two.leads()
        await anyio.sleep(3)
        assert two.leads()
        tasks.cancel_scope.cancel()


async def test_a_lease_of_whatever_duration_holds_an_election_up_for_a_minute_at_most() -> None:
    lease = Lease()
    lease.write(LeaseRecord("dead", 2**31 - 1, None, None, transitions=2**31 - 1))
    two = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(two.run, "two")
        await anyio.sleep(59)
        assert not two.leads()
        await anyio.sleep(3)
        assert two.leads()
        tasks.cancel_scope.cancel()
    assert lease.stored is not None
    assert lease.stored.transitions == 2**31 - 1, "an API server refuses a greater number"


async def test_a_label_on_the_lease_does_not_cost_the_lead() -> None:
    lease = Lease()
    one = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(5)
        assert lease.stored is not None
        lease.write(lease.stored)
        await anyio.sleep(20)
        assert one.may_write()
        assert not one.lost_at
        tasks.cancel_scope.cancel()


async def test_a_lease_taken_by_another_ends_the_lead_at_the_next_renewal() -> None:
    lease = Lease()
    one = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(5)
        assert lease.stored is not None
        lease.write(evolve(lease.stored, holder="thief"))
        await anyio.sleep(2.1)
        assert one.lost_at
        assert not one.may_write()
        tasks.cancel_scope.cancel()
    assert lease.stored is not None
    assert lease.stored.holder == "thief", "what is not ours is not released"


async def test_a_cancelled_leader_releases_the_lease() -> None:
    lease = Lease()
    one = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    assert lease.stored is not None
    assert lease.stored.holder == ""


async def test_an_election_that_hangs_is_told_to_the_liveness_probe() -> None:
    lock = Lock(Lease())
    elector = LeaderElector(
        lock,
        "one",
        Fence(),
        name="test",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        rng=Random(1),
        metrics=Metrics(CollectorRegistry()),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(elector.run, anyio.sleep_forever)
        await anyio.sleep(300)
        assert elector.problem(anyio.current_time()) is None
        tasks.cancel_scope.cancel()
    lock.lease.stored, lock.hangs = None, True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(elector.run, anyio.sleep_forever)
        await anyio.sleep(30)
        assert elector.problem(anyio.current_time()) is None
        await anyio.sleep(60)
        assert "leader election" in (elector.problem(anyio.current_time()) or "")
        tasks.cancel_scope.cancel()


@define
class Outage:
    """The server both candidates speak to; while it is away requests are refused, or hang."""

    locks: list[Lock]
    hangs: bool = False

    async def last(self, seconds: float) -> float:
        """Takes it away for so long, and has who waits called a second after its return, as `connectivity` does; the return's time."""
        for lock in self.locks:
            lock.error, lock.hangs = None if self.hangs else Refused(), self.hangs
        await anyio.sleep(seconds)
        for lock in self.locks:
            lock.error, lock.hangs = None, False
        back = anyio.current_time()
        await anyio.sleep(1)
        for lock in self.locks:
            lock.server.come_back()
        return back


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("seconds", [12, 60, 150, 3600])
async def test_a_leader_leads_again_within_two_seconds_of_its_server_s_return(
    seconds: float, *, hangs: bool
) -> None:
    """Whatever the outage's length: the Lease still names it, so there is nothing to wait for."""
    one = Candidate(Lock(Lease()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(20)
        gone = anyio.current_time()
        back = await Outage([one.lock], hangs).last(seconds)
        await anyio.sleep(1)
        assert len(one.lost_at) == 1
        assert one.lost_at[0] - gone <= RENEW_DEADLINE_SECONDS
        assert one.led_from is not None
        assert one.led_from - back <= 2
        assert one.may_write()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [12, 16, 60, 150])
async def test_of_two_replicas_one_leads_within_two_seconds_and_never_two(seconds: float) -> None:
    lease = Lease()
    one, two = Candidate(Lock(lease)), Candidate(Lock(lease))
    both: list[float] = []

    async def look() -> None:
        while True:
            if one.may_write() and two.may_write():
                both.append(anyio.current_time())
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(1)
        tasks.start_soon(two.run, "two")
        tasks.start_soon(look)
        await anyio.sleep(20)
        back = await Outage([one.lock, two.lock]).last(seconds)
        await anyio.sleep(1)
        led = [moment for candidate in (one, two) for moment in candidate.terms if moment > back]
        assert len(led) == 1
        assert led[0] - back <= 2
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    assert both == []


async def test_a_short_outage_costs_no_lead() -> None:
    one = Candidate(Lock(Lease()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(20)
        await Outage([one.lock]).last(5)
        await anyio.sleep(20)
        assert one.lost_at == []
        tasks.cancel_scope.cancel()


async def test_a_process_that_comes_back_under_its_own_name_takes_its_lease_at_once() -> None:
    """A container that was restarted: what held the Lease under this name is dead."""
    lease = Lease()
    lease.write(LeaseRecord("pod", LEASE_SECONDS, None, None, transitions=3))
    again = Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(again.run, "pod")
        await anyio.sleep(0.1)
        assert again.leads()
        assert lease.stored is not None
        assert lease.stored.transitions == 3
        tasks.cancel_scope.cancel()


async def test_two_that_both_believe_to_hold_the_lease_are_one_after_its_next_write() -> None:
    """Forced by hand: the Lease is written over while its holder leads, and back again."""
    lease = Lease()
    one, two = Candidate(Lock(lease)), Candidate(Lock(lease))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(5)
        assert lease.stored is not None
        lease.write(evolve(lease.stored, holder="two"))
        tasks.start_soon(two.run, "two")
        await anyio.sleep(2.2)
        assert (one.leads(), two.leads()) == (False, True)
        assert not one.may_write()
        await anyio.sleep(60)
        assert (one.leads(), two.leads()) == (False, True)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("moment", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_candidate_that_is_cancelled_while_it_takes_the_lease_leaves_it_to_the_next(
    moment: float, *, arrives: bool
) -> None:
    """Its request may come through all the same."""
    lease = Lease()
    lease.write(LeaseRecord("", 1, None, None))
    one, two = Candidate(Abandoned(lease, seconds=1, arrives=arrives)), Candidate(Lock(lease))
    with anyio.move_on_after(moment):
        await one.run("one")
    assert lease.stored is not None
    assert lease.stored.holder == ""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(two.run, "two")
        await anyio.sleep(2)
        assert two.leads()
        tasks.cancel_scope.cancel()


async def test_a_leader_that_is_cancelled_while_it_renews_releases_the_lease() -> None:
    """The renewal comes through, and with it a version that the release did not know of."""
    lease = Lease()
    one = Candidate(Abandoned(lease, seconds=0.3))
    with anyio.move_on_after(0.3 + 0.3 + 2 + 0.1):
        await one.run("one")
    assert lease.stored is not None
    assert lease.stored.holder == ""


async def test_a_right_that_is_missing_is_told_once(logged: list[Any]) -> None:
    one = Candidate(Lock(Lease(), error=Forbidden("no leases for you", code=403)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, "one")
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    told = [line for line in logged if line["log_level"] == "warning"]
    assert [line["event"] for line in told] == ["lead_not_acquired"]


class Skewed:
    """anyio on a clock that runs at another rate than the others': what a module sees of it.

    Args:
        rate: its seconds in one true second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def __getattr__(self, name: str) -> Any:
        return getattr(anyio, name)

    def current_time(self) -> float:
        return anyio.current_time() * self._rate

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / self._rate)

    def move_on_at(self, moment: float) -> anyio.CancelScope:
        return anyio.move_on_after(max(0.0, (moment - self.current_time()) / self._rate))


def _on_clock_of(rate: float) -> ModuleType:
    """The module, as a process has it whose clock runs at that rate."""
    spec = importlib.util.find_spec("msa.runtime.leader")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.anyio = Skewed(rate)  # type: ignore[attr-defined]  # a module's own name
    return module


@pytest.mark.parametrize(("slow", "fast"), [(0.8, 1.0), (1.0, 1.2), (0.9, 1.1), (0.85, 1.2)])
async def test_clocks_that_run_at_different_rates_never_make_two_writers(slow: float, fast: float) -> None:
    """The leader's runs slowly, so it believes in its lead for longer; the other's runs fast, so it waits for less long."""
    lease, both = Lease(), 0
    leader, follower = Candidate(Lock(lease)), Candidate(Lock(lease))
    for candidate, rate in ((leader, slow), (follower, fast)):
        module = _on_clock_of(rate)
        candidate.fence, candidate.elector_type = module.Fence(), module.LeaderElector
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leader.run, "leader")
        await anyio.sleep(1)
        tasks.start_soon(follower.run, "follower")
        await anyio.sleep(30)
        leader.lock.error = Network("cut off")
        for _ in range(600):
            await anyio.sleep(0.05)
            both += leader.may_write() and follower.may_write()
        assert follower.leads()
        tasks.cancel_scope.cancel()
    assert both == 0
