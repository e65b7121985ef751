from random import Random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, ShutDown, WorkQueue
from msa.runtime.result import Key

A, B, C = Key("a"), Key("b"), Key("c")


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue("test", Backoff(Random(1)), Metrics(CollectorRegistry()))


async def test_a_key_added_many_times_is_taken_once(queue: WorkQueue) -> None:
    for _ in range(3):
        queue.add(A)
    queue.add(B)
    assert [await queue.get(), await queue.get()] == [A, B]
    assert queue.statistics().ready == {Lane.LIVE: 0, Lane.RETRY: 0, Lane.INITIAL: 0}


async def test_a_key_added_while_it_is_worked_on_waits_until_that_is_done(queue: WorkQueue) -> None:
    queue.add(A)
    await queue.get()
    queue.add(A)
    with anyio.move_on_after(10) as waiting:
        await queue.get()
    assert waiting.cancelled_caught
    queue.done(A)
    assert await queue.get() == A


async def test_a_key_moved_to_a_better_lane_and_added_again_is_never_with_two_workers(
    queue: WorkQueue,
) -> None:
    """Its place in the worse lane is stale; it must not hand the key out while a worker has it."""
    queue.add(A, Lane.INITIAL)
    queue.add(A, Lane.LIVE)
    assert await queue.get() == A
    queue.add(A, Lane.INITIAL)
    with anyio.move_on_after(10) as waiting:
        await queue.get()
    assert waiting.cancelled_caught
    queue.done(A)
    assert await queue.get() == A


async def test_lanes_go_in_order_and_first_come_first_served_within_one(queue: WorkQueue) -> None:
    queue.add(C, Lane.INITIAL)
    queue.add(B, Lane.RETRY)
    queue.add(A, Lane.LIVE)
    queue.add(Key("a2"), Lane.LIVE)
    assert [await queue.get() for _ in range(4)] == [A, "a2", B, C]


async def test_a_waiting_lane_gets_a_turn_after_eight_others(queue: WorkQueue) -> None:
    queue.add(C, Lane.INITIAL)
    for number in range(20):
        queue.add(Key(f"live-{number}"))
    order = [await queue.get() for _ in range(21)]
    assert order.index(C) == 8


async def test_a_delayed_key_comes_exactly_at_its_time_and_the_soonest_of_several_counts(
    queue: WorkQueue,
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        start = anyio.current_time()
        queue.add_after(A, 60)
        queue.add_after(A, 5)
        queue.add_after(A, 30)
        assert await queue.get() == A
        assert anyio.current_time() - start == 5
        queue.done(A)
        with anyio.move_on_after(1000) as waiting:
            await queue.get()
        assert waiting.cancelled_caught, "the later times are gone: the reconcile plans anew"
        tasks.cancel_scope.cancel()


async def test_taking_a_key_cancels_its_planned_time(queue: WorkQueue) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        queue.add_after(A, 5)
        queue.add(A)
        await queue.get()
        queue.done(A)
        assert queue.statistics().delayed == 0
        with anyio.move_on_after(100) as waiting:
            await queue.get()
        assert waiting.cancelled_caught
        tasks.cancel_scope.cancel()


async def test_a_waiter_cancelled_as_it_is_called_passes_the_call_on(queue: WorkQueue) -> None:
    got: list[Key] = []

    async def take() -> None:
        got.append(await queue.get())

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as first:
            tasks.start_soon(take)
            async with anyio.create_task_group() as inner:

                async def doomed() -> None:
                    with anyio.CancelScope() as scope:
                        scopes.append(scope)
                        await queue.get()

                scopes: list[anyio.CancelScope] = []
                inner.start_soon(doomed)
                await anyio.wait_all_tasks_blocked()
                queue.add(A)
                queue.add(B)
                scopes[0].cancel()
        assert not first.cancelled_caught
    assert len(got) == 1


async def test_shutting_down_ends_every_waiting_worker_and_hands_out_nothing(queue: WorkQueue) -> None:
    ended = 0

    async def work() -> None:
        nonlocal ended
        with pytest.raises(ShutDown):
            await queue.get()
        ended += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        for _ in range(3):
            tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        queue.shut_down()
    assert ended == 3
    queue.add(A)
    with pytest.raises(ShutDown):
        await queue.get()


async def test_cancelled_plans_do_not_pile_up_in_the_heap(queue: WorkQueue) -> None:
    for round_ in range(2000):
        queue.add_after(A, 1000 - round_ / 10)
    assert len(queue._heap) < 200
    assert queue.statistics().delayed == 1


_steps = st.lists(
    st.tuples(
        st.sampled_from(("add", "after", "take", "done", "wait")), st.integers(0, 4), st.sampled_from(Lane)
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(_steps)
def test_every_key_that_is_added_is_delivered_afterwards_and_never_twice_at_once(
    steps: list[tuple[str, int, Lane]],
) -> None:
    async def main() -> None:
        queue = WorkQueue("model", Backoff(Random(1)), Metrics(CollectorRegistry()))
        owed: set[Key] = set()
        held: list[Key] = []

        async def take() -> None:
            with anyio.move_on_after(0.001):
                key = await queue.get()
                assert key not in held, "one key, one worker"
                held.append(key)
                owed.discard(key)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.run)
            for action, number, lane in steps:
                key = Key(str(number))
                match action:
                    case "add":
                        queue.add(key, lane)
                        owed.add(key)
                    case "after":
                        queue.add_after(key, number * 0.5, lane)
                        owed.add(key)
                    case "take":
                        await take()
                    case "done" if held:
                        queue.done(held.pop(0))
                    case "wait":
                        await anyio.sleep(number * 0.2)
            while held:
                queue.done(held.pop())
            await anyio.sleep(10)
            for _ in range(20):
                await take()
                while held:
                    queue.done(held.pop())
            assert not owed
            tasks.cancel_scope.cancel()

    anyio.run(main, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})
