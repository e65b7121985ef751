import gc

import anyio
from prometheus_client import CollectorRegistry

from msa.runtime.health import LoopLag, observe_garbage_collection, report
from msa.runtime.metrics import Metrics


async def test_what_is_wrong_is_named_and_all_of_it() -> None:
    response = await report(
        [lambda _now: None, lambda _now: "the watch of x is silent", lambda _now: "a worker is stuck"]
    )
    assert response.code == 503
    assert response.body == b"the watch of x is silent\na worker is stuck\n"


async def test_nothing_wrong_is_ok() -> None:
    assert (await report([lambda _now: None])).code == 200


async def test_a_loop_that_wakes_nobody_is_a_problem() -> None:
    lag = LoopLag(Metrics(CollectorRegistry()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag.run)
        await anyio.sleep(3)
        now = anyio.current_time()
        assert lag.problem(now) is None
        assert "late" in (lag.problem(now + 30) or "")
        tasks.cancel_scope.cancel()


def test_pauses_of_the_garbage_collector_are_counted() -> None:
    before = len(gc.callbacks)
    metrics = Metrics(CollectorRegistry())
    observe_garbage_collection(metrics)
    gc.collect()
    assert (metrics.registry.get_sample_value("msa_gc_pause_seconds_count") or 0) >= 1
    del gc.callbacks[before:]
