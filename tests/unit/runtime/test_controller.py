from random import Random
from typing import Any

import anyio
import pytest
import structlog
from attrs import define
from prometheus_client import CollectorRegistry

from msa.runtime.backoff import Backoff, StreamBackoff
from msa.runtime.controller import Controller
from msa.runtime.errors import Fenced, Network, Throttled
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Done, Key, RequeueAfter, Result, Terminal

A = Key("a")


@define
class Cache:
    version: int = 0


class Bench:
    """A controller whose reconciler answers from a script, and notes when it was asked."""

    def __init__(self, *answers: Result | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []
        self.metrics = Metrics(CollectorRegistry())
        self.freshness = Freshness()
        self.queue = WorkQueue("test", Backoff(Random(1)), self.metrics)
        self.controller = Controller(
            self.queue, self._reconcile, workers=2, freshness=self.freshness, metrics=self.metrics
        )

    async def _reconcile(self, key: Key) -> Result:
        self.asked.append(anyio.current_time())
        answer = self.answers.pop(0) if self.answers else Done()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run(self, seconds: float) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.controller.run)
            await anyio.sleep(seconds)
            self.queue.shut_down()

    def count(self, result: str) -> float | None:
        labels = {"controller": "test", "result": result}
        return self.metrics.registry.get_sample_value("controller_runtime_reconcile_total", labels)


async def test_a_key_that_is_done_is_not_looked_at_again() -> None:
    bench = Bench(Done())
    bench.queue.add(A)
    await bench.run(1000)
    assert len(bench.asked) == 1
    assert bench.count("success") == 1


async def test_requeue_after_means_exactly_then() -> None:
    bench = Bench(RequeueAfter(86400), Done())
    bench.queue.add(A)
    await bench.run(100_000)
    assert bench.asked[1] - bench.asked[0] == 86400


async def test_terminal_is_not_tried_again_until_something_changes() -> None:
    bench = Bench(Terminal("NoUse"), Done())
    bench.queue.add(A)
    await bench.run(10_000)
    assert len(bench.asked) == 1
    assert bench.count("terminal") == 1


@pytest.mark.parametrize("error", [Network("cut"), RuntimeError("a bug")])
async def test_a_failure_is_tried_again_and_its_worker_lives_on(error: Exception) -> None:
    bench = Bench(error, error, Done())
    bench.queue.add(A)
    await bench.run(10)
    assert len(bench.asked) == 3
    assert bench.count("error") == 2


async def test_the_servers_retry_after_is_the_least_delay() -> None:
    bench = Bench(Throttled(retry_after=30), Done())
    bench.queue.add(A)
    await bench.run(100)
    assert bench.asked[1] - bench.asked[0] >= 30


async def test_a_reconcile_that_hangs_is_ended_after_five_minutes() -> None:
    bench = Bench()

    async def hang(_key: Key) -> Result:
        bench.asked.append(anyio.current_time())
        await anyio.sleep_forever()
        raise AssertionError

    bench.controller._reconcile = hang
    bench.queue.add(A)
    await bench.run(400)
    assert bench.asked[1] - bench.asked[0] >= 300


async def test_the_log_lines_of_a_reconcile_name_its_own_object_and_no_other() -> None:
    bench, bound = Bench(), list[dict[str, object]]()

    async def look(_key: Key) -> Result:
        bound.append(structlog.contextvars.get_contextvars())
        return Done()

    controller = Controller(
        bench.queue,
        look,
        workers=1,
        freshness=bench.freshness,
        metrics=Metrics(CollectorRegistry()),
        bind=lambda key: {"name": "first", "key": "never in the place of the key itself"} if key == A else {},
    )
    bench.queue.add(A)
    bench.queue.add(Key("b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller.run)
        await anyio.sleep(1)
        bench.queue.shut_down()
    assert bound == [
        {"controller": "test", "key": "a", "reconcile_id": 1, "name": "first"},
        {"controller": "test", "key": "b", "reconcile_id": 2},
    ]


async def test_a_key_is_not_looked_at_before_the_cache_has_our_own_write() -> None:
    bench, cache = Bench(), Cache(version=5)
    bench.freshness.wrote(A, cache, "7", anyio.current_time())
    bench.queue.add(A)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.controller.run)
        await anyio.sleep(5)
        assert bench.asked == []
        cache.version = 7
        bench.queue.add(A)  # as the informer does with the event that brings the write
        await anyio.sleep(1)
        assert len(bench.asked) == 1
        await anyio.sleep(100)
        assert len(bench.asked) == 1, "the fallback timer went with the wait"
        bench.queue.shut_down()


async def test_a_write_that_the_cache_never_shows_is_waited_for_ten_seconds() -> None:
    bench = Bench()
    bench.freshness.wrote(A, Cache(), "7", anyio.current_time())
    bench.queue.add(A)
    start = anyio.current_time()
    await bench.run(60)
    assert bench.asked[0] - start == 10
    assert (
        bench.metrics.registry.get_sample_value("msa_stale_sync_timeouts_total", {"controller": "test"}) == 1
    )


def test_a_version_that_is_no_number_is_not_waited_for() -> None:
    freshness = Freshness()
    freshness.wrote(A, Cache(), "opaque", 0)
    assert freshness.lag(A, 0) is None


def test_events_during_a_backoff_do_not_lengthen_it() -> None:
    """kubernetes/kubernetes#132805: an early attempt that fails as well counts for nothing."""
    calm, hectic = Backoff(Random(1)), Backoff(Random(1))
    now = 0.0
    for _ in range(8):
        due = calm.due(A, now)
        assert hectic.due(A, now) == due
        for step in range(5):
            assert hectic.due(A, now + (due - now) * step / 10) == due
        now = due


def test_the_backoff_of_a_key_grows_to_its_cap_and_starts_over_when_forgotten() -> None:
    backoff, now = Backoff(Random(1), cap=1.0), 0.0
    delays = []
    for _ in range(200):
        due = backoff.due(A, now)
        delays.append(due - now)
        now = due
    assert delays[0] <= 0.005
    assert 0.5 < max(delays) <= 1.0
    backoff.forget(A)
    assert backoff.due(A, now) - now <= 0.005


def test_a_watch_backs_off_to_thirty_seconds_and_starts_over_after_two_quiet_minutes() -> None:
    backoff, now = StreamBackoff(Random(1)), 0.0
    delays = []
    for _ in range(100):
        delays.append(backoff.next(now))
        now += delays[-1]
    assert delays[0] <= 0.8
    assert 15 < max(delays) <= 30
    assert backoff.next(now + 120) <= 0.8


async def test_a_key_that_was_cut_short_with_the_lead_is_looked_at_again_with_the_next() -> None:
    bench = Bench()
    bench.queue.add(A)
    began = anyio.Event()

    async def hang(_key: Key) -> Result:
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    cut = Controller(bench.queue, hang, workers=1, freshness=bench.freshness, metrics=bench.metrics)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut.run)
        await began.wait()
        tasks.cancel_scope.cancel()
    await bench.run(1)
    assert len(bench.asked) == 1


async def test_what_failed_is_tried_at_once_with_the_next_lead_and_backs_off_anew() -> None:
    bench = Bench(*[Network("refused")] * 100)
    bench.queue.add(A)
    with anyio.move_on_after(15):
        await bench.controller.run()
    failed = len(bench.asked)
    start = anyio.current_time()
    await bench.run(0.3)
    again = bench.asked[failed:]
    assert again[0] == start
    assert len(again) >= 3, "the backoff began anew"


async def test_a_lead_that_ends_in_the_middle_of_a_reconcile_is_no_warning(logged: list[Any]) -> None:
    bench = Bench(Fenced("not leading"))
    bench.queue.add(A)
    await bench.run(1)
    assert {line["log_level"] for line in logged} == {"debug"}


@pytest.mark.parametrize(
    "bug", [RecursionError("deep"), OverflowError("date value out of range"), AssertionError()]
)
async def test_a_bug_that_one_key_hits_is_logged_once_with_it_and_backed_off_while_the_others_go_on(
    bug: Exception, logged: list[Any]
) -> None:
    asked: list[Key] = []
    bench = Bench()

    async def reconcile(key: Key) -> Result:
        asked.append(key)
        if key == A:
            raise bug
        return Done()

    controller = Controller(
        bench.queue, reconcile, workers=1, freshness=bench.freshness, metrics=bench.metrics
    )
    bench.queue.add(A)
    with anyio.move_on_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            for number in range(10):
                bench.queue.add(Key(f"b{number}"))
                await anyio.sleep(1)
    assert len(set(asked)) == 11
    crashes = [line for line in logged if line["log_level"] == "error"]
    assert [line["event"] for line in crashes] == ["reconcile_crashed"]
    assert 5 < asked.count(A) < 30, "with backoff"
    labels = {"controller": "test"}
    panics = bench.metrics.registry.get_sample_value("controller_runtime_reconcile_panics_total", labels)
    assert panics == asked.count(A)


async def test_a_key_that_cannot_be_told_in_parts_is_reconciled_all_the_same() -> None:
    bench = Bench()

    def bind(_key: Key) -> dict[str, str]:
        raise ValueError

    bench.controller = Controller(
        bench.queue, bench._reconcile, workers=1, freshness=bench.freshness, metrics=bench.metrics, bind=bind
    )
    bench.queue.add(A)
    await bench.run(1)
    assert len(bench.asked) == 1


async def test_at_debug_each_reconcile_says_what_came_of_it(logged: list[Any]) -> None:
    bench = Bench(RequeueAfter(5), Terminal("NoUse"))
    bench.queue.add(A)
    await bench.run(7)
    assert [line["result"] for line in logged if line["event"] == "reconciled"] == ["again in 5.0 s", "NoUse"]
