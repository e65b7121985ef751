from collections.abc import Callable
from datetime import datetime

import anyio
from attrs import define, evolve, field

from msa.runtime.errors import ApiError, Conflict, Network
from msa.runtime.heartbeat import Heartbeat
from msa.runtime.ports import LeaseRecord


@define
class Lock:
    stored: LeaseRecord | None = None
    requests: list[str] = field(factory=list)
    error: ApiError | None = None

    async def get(self) -> LeaseRecord | None:
        self.requests.append("get")
        return self.stored

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        self.requests.append("create")
        self.stored = evolve(record, resource_version="1")
        return self.stored

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        self.requests.append("update")
        if self.error is not None:
            raise self.error
        assert self.stored is not None
        if record.resource_version != self.stored.resource_version:
            raise Conflict
        self.stored = evolve(record, resource_version=str(int(record.resource_version) + 1))
        return self.stored

    async def rest(self, seconds: float) -> bool:
        raise NotImplementedError

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        raise NotImplementedError


async def _beat(heartbeat: Heartbeat, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        await heartbeat.run()


async def test_a_healthy_agent_renews_once_a_minute_with_one_request(now: Callable[[], datetime]) -> None:
    lock = Lock()
    await _beat(Heartbeat(lock, "me", lambda: None, now), 301)
    assert lock.requests == ["get", "create", *["update"] * 5]
    assert lock.stored is not None
    assert lock.stored.renew_time is not None
    assert (now() - lock.stored.renew_time).total_seconds() < 2
    assert (lock.stored.holder, lock.stored.duration_seconds) == ("me", 60)


async def test_an_agent_in_trouble_does_not_renew_and_goes_on_soon_after(now: Callable[[], datetime]) -> None:
    lock, trouble = Lock(), ["the hub is unreachable"]
    heartbeat = Heartbeat(lock, "me", lambda: trouble[0] if trouble else None, now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(heartbeat.run)
        await anyio.sleep(600)
        assert lock.requests == []
        trouble.clear()
        await anyio.sleep(6)
        assert lock.requests == ["get", "create"]
        tasks.cancel_scope.cancel()


async def test_a_lease_that_another_wrote_is_read_again(now: Callable[[], datetime]) -> None:
    lock = Lock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Heartbeat(lock, "me", lambda: None, now).run)
        await anyio.sleep(1)
        assert lock.stored is not None
        lock.stored = evolve(lock.stored, resource_version="50")
        await anyio.sleep(66)
        assert lock.requests[-3:] == ["update", "get", "update"]
        tasks.cancel_scope.cancel()


async def test_a_renewal_that_fails_is_tried_again_within_seconds(now: Callable[[], datetime]) -> None:
    lock = Lock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Heartbeat(lock, "me", lambda: None, now).run)
        await anyio.sleep(59)
        lock.error = Network("cut")
        await anyio.sleep(12)
        assert lock.requests.count("update") == 3
        tasks.cancel_scope.cancel()
