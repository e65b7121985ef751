"""What a silent stream, another server and one that was restored mean: nothing is lost, nothing healthy is complained of."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.runtime.errors import ApiError, Forbidden, Invalid, ServerError, Silent
from msa.runtime.events import WatchEvent
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.ports import WatchStream
from msa.runtime.store import Change
from tests.support.scripted_server import Fault, ScriptedServer
from tests.support.wire import Thing

_HOUR = 3600.0


@asynccontextmanager
async def _followed(server: ScriptedServer) -> AsyncIterator[Informer[Thing]]:
    informer = Informer[Thing](server, Random(3), Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        yield informer
        tasks.cancel_scope.cancel()


def _copied(informer: Informer[Thing], server: ScriptedServer) -> bool:
    return {thing.metadata.name: thing for thing in informer.store.values()} == server.objects


async def _seconds_until_copied(informer: Informer[Thing], server: ScriptedServer) -> float:
    start = anyio.current_time()
    while not _copied(informer, server):
        await anyio.sleep(0.1)
    return anyio.current_time() - start


@pytest.mark.parametrize("bookmarks", [True, False])
async def test_an_idle_hour_has_no_warnings_and_no_interruptions_and_costs_few_requests(
    bookmarks: bool, logged: list[Any]
) -> None:
    server = ScriptedServer(bookmarks=bookmarks)
    server.put("a")
    oldest = 0.0
    async with _followed(server) as informer:
        await anyio.sleep(1)
        logged.clear()
        before = len(server.requests)
        for _ in range(int(_HOUR)):
            await anyio.sleep(1)
            assert informer.problem(anyio.current_time()) is None
            oldest = max(oldest, informer.age(anyio.current_time()) or 0.0)
        assert informer.interruptions == 0
        requests = len(server.requests) - before
    assert [line for line in logged if line["log_level"] in ("warning", "error")] == []
    assert requests <= (12 if bookmarks else 76), "a watch ends after 5 to 10 minutes; silent ones after 50 s"
    assert oldest < 70


async def test_a_half_open_stream_is_healed_within_75_seconds_of_its_last_byte() -> None:
    server = ScriptedServer()
    async with _followed(server) as informer:
        await anyio.sleep(59)
        server.meet(Fault.SILENT)
        await anyio.sleep(1)
        server.put("a")
        assert await _seconds_until_copied(informer, server) <= 75
        assert informer.interruptions == 0


@pytest.mark.parametrize("cut", [True, False])
async def test_a_server_that_was_restored_is_listed_anew(cut: bool) -> None:
    """Whether the connections broke, or a load balancer kept them."""
    server = ScriptedServer()
    told: list[Change[Thing]] = []
    async with _followed(server) as informer:
        server.put("kept")
        saved = server.version
        for name in ("lost", "x", "y", "z"):
            server.put(name)
        await anyio.sleep(1)
        informer.subscribe(told.append)
        server.restore(saved, cut=cut)
        await anyio.sleep(3)
        server.put("after")
        assert await _seconds_until_copied(informer, server) <= (5 if cut else 66)
    gone = {change.key: change.missed for change in told if change.new is None}
    assert gone == {"ns/lost": True, "ns/x": True, "ns/y": True, "ns/z": True}
    assert not any(change.initial for change in told)


async def test_a_version_given_a_second_time_is_not_taken_for_the_first() -> None:
    server = ScriptedServer()
    async with _followed(server) as informer:
        server.put("a")
        saved = server.version
        server.put("b")
        server.put("a")
        await anyio.sleep(1)
        server.restore(saved)
        server.put("a")
        told: list[Change[Thing]] = []
        informer.subscribe(told.append)
        assert await _seconds_until_copied(informer, server) <= 5
    assert [change.key for change in told] == ["ns/b", "ns/a"]


@pytest.mark.parametrize("ahead", [0, 60])
async def test_another_server_is_listed_anew_and_what_it_has_not_was_missed(ahead: int) -> None:
    """Were its versions taken for the former's, old objects would be missed, and those of the former one stay as ghosts."""
    server, told = ScriptedServer(), list[Change[Thing]]()
    async with _followed(server) as informer:
        server.put("ghost")
        for _ in range(20):
            server.put("bump")
        await anyio.sleep(1)
        informer.subscribe(told.append)
        server.become_another("https://two")
        server.put("elder")
        for _ in range(ahead):
            server.put("bump")
        assert await _seconds_until_copied(informer, server) <= 2
        server.put("later")
        assert await _seconds_until_copied(informer, server) <= 1
    assert {change.key for change in told if change.new is None and change.missed} >= {"ns/ghost"}
    assert not any(change.initial for change in told)


class Buffering(ScriptedServer):
    """Behind a proxy that passes on nothing of an answer before it has ended."""

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator[WatchStream[Thing]]:
        if initial_events or timeout_seconds >= 65:
            await anyio.sleep(65)
            raise Silent("no byte arrived in time")
        await anyio.sleep(timeout_seconds)
        yield _Held(self._since(int(resource_version)))


class _Held:
    def __init__(self, events: Sequence[WatchEvent[Thing]]) -> None:
        self._events = events

    async def receive(self) -> Sequence[WatchEvent[Thing]]:
        events, self._events = self._events, ()
        return events


async def test_behind_a_proxy_that_buffers_changes_are_late_and_the_suspicion_is_named_once(
    logged: list[Any],
) -> None:
    server = Buffering()
    server.put("a")
    start = anyio.current_time()
    async with _followed(server) as informer:
        assert anyio.current_time() - start <= 11
        server.put("b")
        assert await _seconds_until_copied(informer, server) <= 120
        for name in ("c", "d", "e"):
            server.put(name)
            assert await _seconds_until_copied(informer, server) <= 51
        await anyio.sleep(1000)
        assert informer.interruptions == 0
    named = [line for line in logged if line["event"] == "watch_held_back"]
    assert len(named) == 1
    assert "proxy" in named[0]["problem"]


class Refusing(ScriptedServer):
    """Answers watches with an error for a while; lists are answered."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(streams_lists=False)
        self.error: ApiError | None = error

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator[WatchStream[Thing]]:
        if initial_events:
            raise Invalid("no streaming lists here", code=422)
        if self.error is not None:
            raise self.error
        async with super().watch(
            resource_version=resource_version, initial_events=False, timeout_seconds=timeout_seconds
        ) as stream:
            yield stream


@pytest.mark.parametrize(
    "error",
    [
        ServerError("broken", code=500),
        Forbidden("not for you", code=403),
        ServerError("the answer is an HTML page", code=502),
    ],
)
async def test_a_refused_watch_is_backed_off_named_in_one_line_and_healed(
    error: ApiError, logged: list[Any]
) -> None:
    server = Refusing(error)
    async with _followed(server) as informer:
        await anyio.sleep(300)
        refused = len(server.requests)
        assert informer.trouble() == f"things.test: {error.reason}: {error.message}"
        server.error = None
        server.put("a")
        assert await _seconds_until_copied(informer, server) <= 30
        assert informer.trouble() is None
    told = [line for line in logged if line["event"] == "watch_failed" and line["log_level"] == "warning"]
    assert [line["reason"] for line in told].count(error.reason) == 1
    assert refused < 80


async def test_a_maintenance_window_that_ends_early_is_not_waited_out() -> None:
    server = Refusing(ServerError("maintenance", code=503, retry_after=3600.0))
    async with _followed(server) as informer:
        await anyio.sleep(5)
        server.error = None
        server.put("a")
        assert await _seconds_until_copied(informer, server) <= 31
