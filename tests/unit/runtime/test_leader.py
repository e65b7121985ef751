from datetime import UTC, datetime
from random import Random

import anyio
import pytest
import trio
from attrs import define, evolve, field
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from msa.runtime.errors import AlreadyExists, ApiError, Conflict, Fenced, Network, ShortWatch
from msa.runtime.leader import LEASE_SECONDS, RENEW_DEADLINE_SECONDS, Fence, LeaderElector, LeaseLost
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
        await self._reach()
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
class Candidate:
    lock: Lock
    fence: Fence = field(factory=Fence)
    led_from: float | None = None
    stop: anyio.Event = field(factory=anyio.Event)
    lost: bool = False

    async def run(self, name: str) -> None:
        elector = LeaderElector(
            self.lock,
            name,
            self.fence,
            name="test",
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            rng=Random(1),
            metrics=Metrics(CollectorRegistry()),
        )
        try:
            await elector.run(self._lead)
        except LeaseLost:
            self.lost = True

    async def _lead(self) -> None:
        self.led_from = anyio.current_time()
        self.fence.check()
        await self.stop.wait()

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
    assert not one.lost


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
        assert one.lost
        assert last_write - cut_at <= RENEW_DEADLINE_SECONDS
        assert two.led_from is not None
        assert LEASE_SECONDS - 3 <= two.led_from - cut_at <= LEASE_SECONDS + 2
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
        assert not one.lost
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
        assert one.lost
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
