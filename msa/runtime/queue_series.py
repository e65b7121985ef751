"""The queues' gauges, as client-go names them, read when they are asked for."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.runtime.queue import QueueStatistics, WorkQueue


class QueueSeries(Collector):
    """Collected in a thread, while a queue may be looked at only on the loop: `note` is called there before each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._noted: dict[str, QueueStatistics] = {}
        registry.register(self)

    def note(self, queues: Iterable[WorkQueue]) -> None:
        """Looks at the queues."""
        self._noted = {queue.name: queue.statistics() for queue in queues}

    def collect(self) -> Iterable[Metric]:
        families = {
            name: GaugeMetricFamily(name, text, labels=("name",))
            for name, text in (
                ("workqueue_depth", "Keys that wait for a worker."),
                ("workqueue_unfinished_work_seconds", "Seconds of work under way."),
                ("workqueue_longest_running_processor_seconds", "The slowest worker's time."),
            )
        }
        for name, statistics in self._noted.items():
            values = (
                sum(statistics.ready.values()),
                statistics.unfinished_seconds,
                statistics.longest_running_seconds,
            )
            for family, value in zip(families.values(), values, strict=True):
                family.add_metric((name,), value)
        return families.values()
