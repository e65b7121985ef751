import gc
import math
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from random import Random

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.runtime.backoff import Backoff
from msa.runtime.connectivity import Connectivity
from msa.runtime.controller import Controller
from msa.runtime.errors import ApiError, Network, Refused
from msa.runtime.freshness import Freshness
from msa.runtime.health import Check, report
from msa.runtime.informer import Informer
from msa.runtime.leader import Fence, LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.ports import LeaseRecord
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.supervisor import Addresses, Ended, StartError, Supervisor, for_ever
from tests.support.patient import Patient
from tests.support.scripted_server import Fault, ScriptedServer
from tests.support.wire import Thing


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    """A supervisor sets up the garbage collector of its process; here it is the tests' own."""
    threshold, callbacks = gc.get_threshold(), gc.callbacks[:]
    yield
    gc.set_threshold(*threshold)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


class HeldLease(Patient):
    """`LeaseLock` that another replica holds for good."""

    async def get(self) -> LeaseRecord | None:
        return LeaseRecord("other", 3600, None, None, resource_version="1")

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        raise AssertionError

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        raise AssertionError

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        await anyio.sleep(seconds)


@define
class OwnLease(Patient):
    """`LeaseLock` that nobody else wants; for as long as `error` is there it cannot be reached."""

    stored: LeaseRecord | None = None
    error: ApiError | None = None

    def __attrs_post_init__(self) -> None:
        super().__init__()

    async def get(self) -> LeaseRecord | None:
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return self.stored

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        return await self.update(record)

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        await self.get()
        self.stored = record
        return record

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        raise AssertionError


async def _no_answer() -> int:
    return 0


@define
class Process:
    """A supervisor with one informer and one controller; what is special about it is set before `run`."""

    server: ScriptedServer
    prepare: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
    reconcile_seconds: float = 0.0
    standby: bool = False
    lease: OwnLease | None = None
    outage: Connectivity = field(factory=lambda: Connectivity(_no_answer, str))
    queue: WorkQueue = field(init=False)
    checks: tuple[Check, ...] = ()
    idle: bool = False
    begun: int = 0
    finished: int = 0
    failure: ApiError | None = None

    async def _reconcile(self, _key: Key) -> Result:
        self.begun += 1
        await anyio.sleep(self.reconcile_seconds)
        if self.failure is not None:
            raise self.failure
        self.finished += 1
        return Done()

    def supervisor(self) -> Supervisor:
        metrics = Metrics(CollectorRegistry())
        informer = Informer[Thing](self.server, Random(3), metrics)
        self.queue = queue = WorkQueue("test", Backoff(Random(1)), metrics)
        informer.subscribe(lambda change: queue.add(change.key))
        elector = LeaderElector(
            self.lease or HeldLease(),
            "one",
            Fence(),
            name="test",
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            rng=Random(1),
            metrics=metrics,
        )
        return Supervisor(
            metrics=metrics,
            addresses=Addresses("", ""),
            informers=[informer],
            controllers=[
                Controller(queue, self._reconcile, workers=2, freshness=Freshness(), metrics=metrics)
            ][: not self.idle],
            always={},
            leading={},
            elector=elector if self.standby or self.lease else None,
            servers=[self.outage],
            prepare=self.prepare,
            checks=self.checks,
        )

    async def seconds_to_stop(self, *signals_at: float) -> float:
        """Runs it, sends SIGTERM at these times; how long after the first one it ended."""
        start = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send_signals, [start + at for at in signals_at])
            await self.supervisor().run()
        return anyio.current_time() - start - signals_at[0]


async def _send_signals(times: list[float]) -> None:
    for time in times:
        await anyio.sleep_until(time)
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def process() -> Process:
    return Process(ScriptedServer())


async def test_a_task_that_ends_takes_the_others_with_it_and_is_named() -> None:
    others: list[str] = []

    async def other() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            others.append("stopped")

    async def short() -> None:
        await anyio.sleep(5)

    with pytest.RaisesGroup(pytest.RaisesExc(Ended, match="the watch of secrets")):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(for_ever, "other", other)
            tasks.start_soon(for_ever, "the watch of secrets", short)
    assert others == ["stopped"]


async def test_an_error_goes_through_as_it_is() -> None:
    async def broken() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await for_ever("the watch of secrets", broken)


async def test_a_signal_during_the_preparation_ends_it_at_once(process: Process) -> None:
    process.prepare = anyio.sleep_forever
    assert await process.seconds_to_stop(1) < 0.1


async def test_a_signal_while_the_caches_fill_ends_it_at_once(process: Process) -> None:
    process.server.faults.extend([Fault.REFUSED] * 1000)
    assert await process.seconds_to_stop(60) < 0.1


async def test_a_replica_that_waits_for_the_lead_ends_at_once(process: Process) -> None:
    process.standby = True
    assert await process.seconds_to_stop(60) < 0.1
    assert process.begun == 0


async def test_a_process_without_controllers_runs_until_a_signal_and_ends_at_once(process: Process) -> None:
    process.idle = True
    assert 0 <= await process.seconds_to_stop(60) < 0.1


async def test_a_worker_finishes_what_it_has_begun_before_the_process_ends(process: Process) -> None:
    process.server.put("a")
    process.reconcile_seconds = 5
    assert 3 < await process.seconds_to_stop(1) < 5
    assert process.finished == 1


async def test_a_worker_that_does_not_finish_is_waited_for_eight_seconds(process: Process) -> None:
    process.server.put("a")
    process.reconcile_seconds = 100
    assert 7.9 < await process.seconds_to_stop(1) < 8.1
    assert (process.begun, process.finished) == (1, 0)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def kill(code: int) -> None:
        codes.append(code)
        raise Killed

    monkeypatch.setattr(os, "_exit", kill)
    return codes


@pytest.mark.parametrize("working", [True, False])
async def test_a_second_signal_ends_the_process_whatever_is_left_to_do(
    process: Process, killed: list[int], *, working: bool
) -> None:
    async def prepare() -> None:
        try:
            await anyio.sleep(0 if working else math.inf)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0 if working else 100)

    process.server.put("a")
    process.prepare, process.reconcile_seconds = prepare, 100
    start = anyio.current_time()
    with pytest.RaisesGroup(Killed, flatten_subgroups=True):
        await process.seconds_to_stop(1, 1.5)
    assert killed == [128 + signal.SIGTERM]
    assert anyio.current_time() - start >= 1.5


async def test_what_the_preparation_finds_missing_comes_out_as_the_reason_not_to_start(
    process: Process,
) -> None:
    async def check() -> None:
        await anyio.sleep(1)
        raise StartError("the cluster is too old")

    process.prepare = check
    with pytest.RaisesGroup(pytest.RaisesExc(StartError, match="too old"), flatten_subgroups=True):
        await process.supervisor().run()


async def test_a_process_that_still_prepares_is_alive(process: Process) -> None:
    assert (await report(process.supervisor()._alive())).code == 200


async def test_what_else_must_live_is_asked_by_the_liveness_probe(process: Process) -> None:
    process.checks = (lambda _now: "sending of Events: stuck",)
    answer = await report(process.supervisor()._alive())
    assert (answer.code, answer.body) == (503, b"sending of Events: stuck\n")


async def test_a_lead_that_is_lost_stops_the_work_and_the_next_one_takes_it_up_where_it_was(
    process: Process,
) -> None:
    """What was begun is done again, what came meanwhile is done too, and the caches were kept."""
    process.server.put("a")
    process.lease, process.reconcile_seconds = OwnLease(), 100
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.supervisor().run)
        await anyio.sleep(5)
        process.lease.error = Refused("away")
        await anyio.sleep(50)
        assert (process.begun, process.finished) == (1, 0)
        process.server.put("b")
        process.reconcile_seconds, process.lease.error = 0, None
        await anyio.sleep(5)
        assert process.finished == 2
        assert sum("list" in request for request in process.server.requests) <= 1
        signal.raise_signal(signal.SIGTERM)


async def test_a_signal_while_the_lead_is_lost_ends_the_process_at_once(process: Process) -> None:
    process.lease = OwnLease()

    async def lose() -> None:
        await anyio.sleep(5)
        assert process.lease is not None
        process.lease.error = Refused("away")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lose)
        assert await process.seconds_to_stop(60) < 0.1


async def test_a_lead_that_is_lost_after_the_signal_ends_the_process(process: Process) -> None:
    process.server.put("a")
    process.lease, process.reconcile_seconds = OwnLease(), 100

    async def lose() -> None:
        await anyio.sleep(1)
        assert process.lease is not None
        process.lease.error = Refused("away")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lose)
        assert await process.seconds_to_stop(6) < 8.1
    assert process.begun == 1


async def test_what_failed_in_an_outage_is_tried_again_as_soon_as_the_server_is_back(
    process: Process,
) -> None:
    process.failure = Network("refused")
    process.server.put("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.supervisor().run)
        await anyio.sleep(60)
        process.failure, process.outage.lost = None, True
        process.outage.answered()
        await anyio.sleep(0.01)
        assert process.finished == 1
        signal.raise_signal(signal.SIGTERM)
