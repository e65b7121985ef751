"""How old each cache may be, read when it is asked for."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.runtime.informer import Informer


class WatchSeries(Collector):
    """Collected in a thread, as `QueueSeries`: `note` is called on the loop before each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._noted: dict[str, float] = {}
        registry.register(self)

    def note(self, informers: Iterable[Informer[Any]], now: float) -> None:
        """Looks at the informers.

        Args:
            informers: one for each resource.
            now: monotonic seconds.
        """
        ages = {informer.resource: informer.age(now) for informer in informers}
        self._noted = {resource: age for resource, age in ages.items() if age is not None}

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "msa_watch_age_seconds",
            "Time since an event, a bookmark or a list showed that the copy was not behind; below 70 s while all is well.",
            labels=("resource",),
        )
        for resource, age in self._noted.items():
            family.add_metric((resource,), age)
        yield family
