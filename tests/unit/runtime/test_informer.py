from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.runtime.errors import ApiError, Forbidden, NotFound
from msa.runtime.events import PartialMetadata, PartialObject, Unreadable
from msa.runtime.informer import SILENCE_SECONDS, Informer
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Page, WatchStream
from msa.runtime.store import Change
from tests.support.patient import Patient
from tests.support.scripted_server import Fault, ScriptedServer
from tests.support.wire import Thing


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def informer(server: ScriptedServer, registry: CollectorRegistry) -> Informer[Thing]:
    return Informer(server, Random(3), Metrics(registry))


async def test_objects_that_were_there_are_told_as_initial_and_later_ones_are_not(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    told: list[tuple[str, bool]] = []
    informer.subscribe(lambda change: told.append((change.key, change.initial)))
    server.put("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.put("b")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert told == [("ns/a", True), ("ns/b", False)]


async def test_a_deletion_that_nobody_watched_is_told_with_the_last_known_state(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    told: list[Change[Thing]] = []
    server.put("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        informer.subscribe(told.append)
        server.faults.extend((Fault.DROPPED, Fault.REFUSED, Fault.REFUSED))
        await anyio.sleep(60.1)
        server.delete("a")
        server.put("b")
        server.compact()
        await anyio.sleep(120)
        tasks.cancel_scope.cancel()
    gone = next(change for change in told if change.new is None)
    assert gone.missed
    assert gone.old is not None
    assert gone.old.metadata.name == "a"


async def test_a_missing_end_bookmark_delays_the_first_list_by_ten_seconds_at_most(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    server.put("a")
    server.faults.extend((Fault.NO_END, Fault.SILENT))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        start = anyio.current_time()
        await informer.wait_synced()
        assert 10 <= anyio.current_time() - start < 11
        tasks.cancel_scope.cancel()
    assert server.requests[-1].startswith("watch rv=2 initial=False") or server.requests[-1].startswith(
        "list"
    )


async def test_a_refused_connection_leads_to_no_new_list(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        await anyio.sleep(1)
        before = len(server.requests)
        server.faults.extend((Fault.DROPPED, Fault.REFUSED, Fault.REFUSED))
        await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    assert len(server.requests) > before
    assert all(
        "initial=False" in request or request.endswith("limit=1") for request in server.requests[before:]
    )


async def test_a_silent_stream_is_reconnected_within_75_seconds_and_nothing_is_lost(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.faults.append(Fault.SILENT)
        await anyio.sleep(60.5)  # the read after the next bookmark meets the fault
        server.put("a")
        await anyio.sleep(75)
        assert informer.store.get("ns/a") is not None
        tasks.cancel_scope.cancel()


async def test_bookmarks_move_the_version_and_quiet_is_no_problem(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.version = 50
        await anyio.sleep(3600)
        assert informer.problem(anyio.current_time()) is None
        assert informer.trouble() is None
        tasks.cancel_scope.cancel()


async def test_a_watch_that_stopped_trying_is_named(informer: Informer[Thing]) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        tasks.cancel_scope.cancel()
    later = anyio.current_time() + SILENCE_SECONDS + 1
    problem = informer.problem(later)
    assert problem is not None
    assert "things.test" in problem


@pytest.mark.parametrize("error", [ValueError("no"), RecursionError(), OverflowError(), TypeError("no")])
async def test_an_object_that_cannot_be_read_is_left_out_and_counted(
    server: ScriptedServer, error: Exception
) -> None:
    def transform(thing: Thing) -> Thing:
        if thing.metadata.name == "bad":
            raise error
        return thing

    metrics = Metrics(CollectorRegistry())
    informer = Informer[Thing](server, Random(3), metrics, transform=transform)
    server.put("bad")
    server.put("good")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.put("bad")
        await anyio.sleep(1)
        assert informer.store.keys() == ("ns/good",)
        server.delete("bad")
        server.put("good")
        await anyio.sleep(1)
        assert len(informer.store) == 1
        tasks.cancel_scope.cancel()
    assert metrics.registry.get_sample_value("msa_malformed_objects_total", {"resource": "things.test"}) == 2


@pytest.mark.parametrize(
    "error",
    [
        OverflowError,
        RecursionError,
        ValueError,
        KeyError,
        TypeError,
        UnicodeError,
        AttributeError,
        IndexError,
    ],
)
async def test_whatever_a_transform_raises_costs_one_object_and_is_said_once(
    server: ScriptedServer, error: type[Exception], registry: CollectorRegistry, logged: list[Any]
) -> None:
    def transform(thing: Thing) -> Thing:
        if thing.metadata.name == "bad":
            raise error("no")
        return thing

    informer = Informer[Thing](server, Random(3), Metrics(registry), transform=transform)
    server.put("bad")
    server.put("good")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.faults.append(Fault.GONE_EVENT)
        server.put("good")
        await anyio.sleep(30)
        assert informer.store.keys() == ("ns/good",)
        tasks.cancel_scope.cancel()
    assert sum("initial=True" in request for request in server.requests) == 2, "it was listed twice"
    assert registry.get_sample_value("msa_malformed_objects_total", {"resource": "things.test"}) == 2
    told = [line for line in logged if line["event"] == "object_unreadable"]
    assert [(line["key"], line["problem"]) for line in told] == [
        ("ns/bad", f"{error.__name__}: {error('no')}")
    ]


async def test_that_an_object_cannot_be_read_any_more_is_no_deletion_that_was_seen(
    server: ScriptedServer,
) -> None:
    def transform(thing: Thing) -> Thing:
        if thing.metadata.resource_version == "4":
            raise ValueError("no")
        return thing

    told: list[Change[Thing]] = []
    informer = Informer[Thing](server, Random(3), Metrics(CollectorRegistry()), transform=transform)
    informer.subscribe(told.append)
    server.put("a")
    server.put("b")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.put("a")
        server.delete("b")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert [(change.key, change.missed) for change in told if change.new is None] == [
        ("ns/a", True),
        ("ns/b", False),
    ]


async def test_an_object_out_of_shape_leaves_the_store_and_is_counted(
    server: ScriptedServer, informer: Informer[Thing], registry: CollectorRegistry
) -> None:
    """Its last good state is history: whoever acted on it would act on what is no longer so."""
    told: list[Change[Thing]] = []
    server.put("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        informer.subscribe(told.append)
        named = PartialObject(PartialMetadata(name="a", namespace="ns", resource_version="9"))
        await informer.apply([Unreadable(named, "labels")])
        tasks.cancel_scope.cancel()
    assert [(change.key, change.new) for change in told] == [("ns/a", None)]
    assert informer.store.version == 9
    counted = registry.get_sample_value("msa_malformed_objects_total", {"resource": informer.resource})
    assert counted == 1


async def test_a_watch_that_the_server_has_taken_is_well_though_nothing_comes(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.faults.extend((Fault.DROPPED, Fault.REFUSED))
        with anyio.fail_after(90):
            while informer.trouble() is None:
                await anyio.sleep(0.01)
        with anyio.fail_after(40):
            while informer.trouble() is not None:
                await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("refusal", [NotFound("no such resource"), Forbidden("not for you")])
async def test_nobody_waits_for_an_optional_resource_that_cannot_be_had(
    refusal: ApiError, registry: CollectorRegistry
) -> None:
    class Refusing(Patient):
        resource = "things"

        async def list(
            self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
        ) -> Page[Thing]:
            raise refusal

        def watch(
            self, *, resource_version: str, initial_events: bool, timeout_seconds: int
        ) -> AbstractAsyncContextManager[WatchStream[Thing]]:
            raise refusal

    informer = Informer[Thing](Refusing(), Random(3), Metrics(registry), optional=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        with anyio.fail_after(60):
            await informer.wait_settled()
        tasks.cancel_scope.cancel()
    assert informer.not_synced() is None
    assert informer.age(anyio.current_time() + 100) is None


async def test_the_age_of_a_copy_is_of_its_last_bookmark_and_grows_for_as_long_as_attempts_fail(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    def age() -> float:
        found = informer.age(anyio.current_time())
        assert found is not None
        return found

    assert informer.age(anyio.current_time()) is None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await anyio.sleep(1000)
        assert age() <= 60
        server.faults.extend([Fault.DROPPED, *[Fault.REFUSED] * 1000])
        await anyio.sleep(300)
        assert 299 < age() <= 360
        assert informer.problem(anyio.current_time()) is None, "attempts go on"
        server.faults.clear()
        await anyio.sleep(60)
        assert age() <= 60
        tasks.cancel_scope.cancel()


async def test_a_copy_that_was_never_complete_is_as_old_as_the_first_attempt(
    server: ScriptedServer, informer: Informer[Thing]
) -> None:
    server.faults.extend([Fault.REFUSED] * 1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await anyio.sleep(100)
        assert informer.age(anyio.current_time()) == pytest.approx(100)
        tasks.cancel_scope.cancel()


async def test_a_handler_that_raises_costs_neither_the_watch_nor_the_other_handlers(
    server: ScriptedServer, informer: Informer[Thing], registry: CollectorRegistry, logged: list[Any]
) -> None:
    told: list[str] = []

    def broken(change: Change[Thing]) -> None:
        raise RecursionError(change.key)

    informer.subscribe(broken)
    informer.subscribe(lambda change: told.append(change.key))
    server.put("a")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.put("b")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert told == ["ns/a", "ns/b"]
    failed = [line["key"] for line in logged if line["event"] == "handler_failed"]
    assert failed == ["ns/a", "ns/b"]
    assert registry.get_sample_value("msa_handler_errors_total", {"resource": "things.test"}) == 2


@pytest.mark.parametrize("bug", [OverflowError("date"), RecursionError("deep"), KeyError("x")])
async def test_an_object_that_a_transform_trips_over_is_left_out_and_the_others_are_kept(
    server: ScriptedServer, registry: CollectorRegistry, bug: Exception
) -> None:
    def transform(thing: Thing) -> Thing:
        if thing.metadata.name == "bad":
            raise bug
        return thing

    informer = Informer[Thing](server, Random(3), Metrics(registry), transform=transform)
    server.put("bad")
    server.put("good")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        server.put("bad")
        server.put("better")
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert sorted(thing.metadata.name for thing in informer.store.values()) == ["better", "good"]


@pytest.mark.parametrize(
    ("happens", "replaced"),
    [
        (lambda server: server.compact(), False),
        (lambda server: server.restore(2), True),
        (lambda server: server.become_another("other"), True),
    ],
    ids=["compacted", "restored", "another server"],
)
async def test_a_server_that_was_restored_or_is_another_one_is_known_from_then_on(
    server: ScriptedServer,
    informer: Informer[Thing],
    happens: Callable[[ScriptedServer], None],
    *,
    replaced: bool,
) -> None:
    for name in "abcd":
        server.put(name)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        assert not informer.replaced
        happens(server)
        server.faults.append(Fault.DROPPED)
        await anyio.sleep(700)
        tasks.cancel_scope.cancel()
    assert informer.replaced is replaced
