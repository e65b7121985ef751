"""The registry of a process's metrics, in which one broken collector costs its own series and no others."""

from collections.abc import Iterable

import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

_log = structlog.get_logger(__name__)


class Registry(CollectorRegistry):
    """What /metrics shows; a collector that raises is logged, once until it works again, and left out."""

    def register(self, collector: Collector) -> None:
        super().register(_Guarded(collector))


class _Guarded(Collector):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._broken = False
        if hasattr(collector, "describe"):
            self.describe = collector.describe

    def collect(self) -> Iterable[Metric]:
        try:
            collected = list(self._collector.collect())
        except Exception:  # noqa: BLE001 - whatever a collector does, the others are shown
            if not self._broken:
                _log.exception("collector_failed", collector=type(self._collector).__name__)
            self._broken = True
            return []
        self._broken = False
        return collected
