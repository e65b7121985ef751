from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.runtime.errors import AnswerTooLarge, Invalid
from msa.runtime.events import WatchEvent
from msa.runtime.informer import SILENCE_SECONDS, Informer
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Page, WatchStream
from tests.support.patient import Patient
from tests.support.scripted_server import Fault, ScriptedServer
from tests.support.wire import Meta, Thing

_PAGE_SECONDS = SILENCE_SECONDS - 20


class SlowPages(Patient):
    """A server that lists by pages only, each of which takes its time."""

    resource = "things.test"

    def __init__(self, pages: int) -> None:
        super().__init__()
        self._pages = pages

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Thing]:
        await anyio.sleep(_PAGE_SECONDS)
        number = int(continue_token or 0) + 1
        thing = Thing(Meta("ns", f"t{number}", f"uid-{number}", "1"))
        return Page([thing], "1", str(number) if number < self._pages else "")

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator[WatchStream[Thing]]:
        raise Invalid("no streaming lists here", code=422)
        yield  # type: ignore[unreachable]  # makes it the generator that a context manager is made of


class Deaf(Patient):
    """A server whose watches are open and say nothing, and a transport that does not notice."""

    resource = "things.test"

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Thing]:
        return Page([], "1", "")

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator[WatchStream[Thing]]:
        if initial_events:
            raise Invalid("no streaming lists here", code=422)
        self.opened += 1
        yield self

    async def receive(self) -> Sequence[WatchEvent[Thing]]:
        await anyio.sleep_forever()
        raise AssertionError


async def test_a_watch_that_its_transport_has_forgotten_is_opened_anew_before_anybody_complains() -> None:
    deaf = Deaf()
    informer = Informer[Thing](deaf, Random(3), Metrics(CollectorRegistry()))
    problems: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        for _ in range(1000):
            await anyio.sleep(1)
            if (problem := informer.problem(anyio.current_time())) is not None:
                problems.append(problem)
        tasks.cancel_scope.cancel()
    assert 1000 / 130 < deaf.opened <= 1000 / 100 + 1
    assert problems == []


@pytest.fixture
def informer() -> Informer[Thing]:
    return Informer(SlowPages(4), Random(3), Metrics(CollectorRegistry()))


async def test_each_page_of_a_long_list_is_a_sign_of_life(informer: Informer[Thing]) -> None:
    problems: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        for _ in range(int(4 * _PAGE_SECONDS)):
            await anyio.sleep(1)
            if (problem := informer.problem(anyio.current_time())) is not None:
                problems.append(problem)
        await informer.wait_synced()
        tasks.cancel_scope.cancel()
    assert problems == []
    assert len(informer.store) == 4


def test_a_watch_that_has_not_begun_is_no_problem(informer: Informer[Thing]) -> None:
    assert informer.problem(1e9) is None


async def _seconds_until_it_asks(server: ScriptedServer) -> float:
    start, before = anyio.current_time(), len(server.requests)
    while len(server.requests) == before:
        await anyio.sleep(0.01)
    return anyio.current_time() - start


async def test_a_watch_that_backs_off_goes_on_at_once_when_its_server_is_back_after_an_outage() -> None:
    server = ScriptedServer()
    server.faults.extend([Fault.REFUSED] * 12)
    informer = Informer[Thing](server, Random(3), Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        while len(server.faults) > 2:
            await anyio.sleep(0.01)
        await anyio.sleep(0.01)
        server.come_back()
        assert await _seconds_until_it_asks(server) <= 0.01, "not after its backoff of up to 30 s"
        assert await _seconds_until_it_asks(server) <= 0.9, "nor is the next attempt long in coming"
        tasks.cancel_scope.cancel()


async def test_a_server_that_is_back_is_not_asked_before_the_time_that_it_asked_for() -> None:
    server = ScriptedServer()
    server.faults.append(Fault.THROTTLED_FOR_5_S)
    informer = Informer[Thing](server, Random(3), Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await anyio.sleep(1)
        server.come_back()
        assert await _seconds_until_it_asks(server) >= 3.9
        tasks.cancel_scope.cancel()


class HeavyPages(SlowPages):
    """A server whose answers are too long to be read with more than so many objects."""

    def __init__(self, pages: int, most: int) -> None:
        super().__init__(pages)
        self._most = most
        self.limits: list[int] = []

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Thing]:
        self.limits.append(limit)
        if limit > self._most:
            raise AnswerTooLarge
        return await super().list(continue_token=continue_token)


async def test_pages_that_are_too_long_are_asked_for_with_fewer_objects() -> None:
    heavy = HeavyPages(3, 10)
    informer = Informer[Thing](heavy, Random(3), Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        tasks.cancel_scope.cancel()
    assert heavy.limits == [500, 62, 7, 7, 7]
    assert len(informer.store) == 3
