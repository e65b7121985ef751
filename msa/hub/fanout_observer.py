"""Who is told of what the fan-out did: Events for users, counters and gauges for dashboards, lines for the log."""

import logging
from collections.abc import Iterable
from typing import Protocol

import structlog
from attrs import define
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import Condition
from msa.hub.fanout_caches import ORIGINS
from msa.hub.identity_reference import regarding
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder
from msa.runtime.store import Store

_log = structlog.get_logger(__name__)


class FanOutObserver(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def wrote(self, verb: str) -> None:
        """One child was written: create, rewrite or delete."""
        ...

    def fanned_out(self, origin: FleetIdentity, *, created: int, rewritten: int) -> None:
        """So many children were to be made, and made to say again what their origin says."""
        ...

    def withdrawn(self, origin: FleetIdentity, count: int, why: str) -> None:
        """Children were deleted."""
        ...

    def swept(self, origin: str, count: int) -> None:
        """Children whose origin is gone were deleted; by its key."""
        ...

    def condition(self, origin: FleetIdentity, condition: Condition) -> None:
        """A condition is another now."""
        ...


class FanOutTelemetry:
    """`FanOutObserver`."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._writes = Counter(
            "msa_fan_out_writes_total",
            "ManagedServiceAccounts made, changed and deleted in clusters' namespaces for one in a bound namespace.",
            ("verb",),
            registry=metrics.registry,
        )
        for verb in ("create", "rewrite", "delete"):
            self._writes.labels(verb)

    def wrote(self, verb: str) -> None:
        self._writes.labels(verb).inc()

    def fanned_out(self, origin: FleetIdentity, *, created: int, rewritten: int) -> None:
        _log.info("fanned_out", created=created, rewritten=rewritten)
        message = f"made on {created} clusters, changed on {rewritten}"
        self._recorder.record(regarding(origin), "Normal", "FannedOut", message)

    def withdrawn(self, origin: FleetIdentity, count: int, why: str) -> None:
        _log.info("withdrawn", clusters=count, why=why)
        self._recorder.record(regarding(origin), "Normal", "Withdrawn", f"from {count} clusters: {why}")

    def swept(self, origin: str, count: int) -> None:
        _log.warning("orphans_swept", origin=origin, clusters=count)

    def condition(self, origin: FleetIdentity, condition: Condition) -> None:
        good = condition.status == "True" or condition.reason == "RollingOut"
        _log.log(
            logging.INFO if good else logging.WARNING,
            "fan_out_condition",
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            why=condition.message,
        )
        kind = "Normal" if good else "Warning"
        self._recorder.record(regarding(origin), kind, condition.reason, condition.message)


@define(eq=False)
class FanOutCollector(Collector):
    """How many clusters of each are in which state, as its status says."""

    identities: Store[FleetIdentity]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "msa_fan_out_clusters",
            "Clusters of a ManagedServiceAccount that is fanned out, by how it fares there.",
            labels=("namespace", "name", "state"),
        )
        for origin in self.identities.by_index(ORIGINS, ""):
            counts = origin.status.fan_out
            if counts is not None:
                where = (origin.metadata.namespace, origin.metadata.name)
                family.add_metric((*where, "desired"), counts.desired)
                family.add_metric((*where, "updated"), counts.updated)
                family.add_metric((*where, "ready"), counts.ready)
                family.add_metric((*where, "failed"), counts.failed)
        yield family
