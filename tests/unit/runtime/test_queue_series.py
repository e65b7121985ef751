from random import Random

import pytest
from prometheus_client import CollectorRegistry

import msa
from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.queue_series import QueueSeries
from msa.runtime.result import Key


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


async def test_the_queues_series_are_as_the_loop_saw_them_last(registry: CollectorRegistry) -> None:
    queue = WorkQueue("things", Backoff(Random(1)), Metrics(registry))
    series = QueueSeries(registry)
    for name in ("a", "b", "c"):
        queue.add(Key(name), Lane.INITIAL)
    await queue.get()
    series.note([queue])
    queue.add(Key("late"))
    label = {"name": "things"}
    assert registry.get_sample_value("workqueue_depth", label) == 2
    assert registry.get_sample_value("workqueue_unfinished_work_seconds", label) == 0
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", label) == 0


async def test_a_queue_that_was_not_looked_at_has_no_series(registry: CollectorRegistry) -> None:
    QueueSeries(registry)
    assert registry.get_sample_value("workqueue_depth", {"name": "things"}) is None


async def test_the_version_is_told(registry: CollectorRegistry) -> None:
    Metrics(registry)
    assert registry.get_sample_value("msa_build_info", {"version": msa.__version__}) == 1
