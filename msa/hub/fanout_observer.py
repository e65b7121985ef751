"""Who is told of what the fan-out did: Events for users, counters and gauges for dashboards, lines for the log."""

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import structlog
from attrs import define
from prometheus_client import Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.api import names
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import Condition
from msa.hub.fanout_caches import ORIGINS
from msa.hub.identity_reference import regarding
from msa.policy.fanout_status import clusters
from msa.policy.notices import Notice
from msa.policy.removal import HOLD_SECONDS
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder
from msa.runtime.store import Store

_HOLD_MINUTES = round(HOLD_SECONDS / 60)
_log = structlog.get_logger(__name__)


class FanOutObserver(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def wrote(self, verb: str) -> None:
        """One child was written: create, rewrite or delete."""
        ...

    def fanned_out(self, origin: FleetIdentity, *, created: int, rewritten: int) -> None:
        """So many children were to be created, and to be changed since their origin was."""
        ...

    def restored(self, child: FleetIdentity, origin: FleetIdentity, edits: Sequence[str]) -> None:
        """Somebody had edited a child; it says again what its origin says."""
        ...

    def held(self, origin: FleetIdentity, count: int) -> None:
        """So many children are about to be held: nobody saw why they should go."""
        ...

    def holding(self, count: int) -> None:
        """So many children are held now, of all origins."""
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
            "ManagedServiceAccounts created, changed and deleted in clusters' namespaces for one in a bound namespace.",
            ("verb",),
            registry=metrics.registry,
        )
        for verb in ("create", "rewrite", "delete"):
            self._writes.labels(verb)
        self._holding = Gauge(
            "msa_fan_out_removals_held",
            "ManagedServiceAccounts in clusters' namespaces that are not deleted yet: too many lost their reason to be at once, and nobody saw why.",
            registry=metrics.registry,
        )

    def wrote(self, verb: str) -> None:
        self._writes.labels(verb).inc()

    def fanned_out(self, origin: FleetIdentity, *, created: int, rewritten: int) -> None:
        _log.info("fanned_out", created=created, rewritten=rewritten)
        done = (("created", created), ("changed", rewritten))
        message = ", ".join(f"{verb} on {clusters(count)}" for verb, count in done if count)
        self._recorder.record(regarding(origin), "Normal", "FannedOut", message)

    def restored(self, child: FleetIdentity, origin: FleetIdentity, edits: Sequence[str]) -> None:
        _log.info("child_restored", cluster=child.metadata.namespace, edits=list(edits))
        owner = f"{origin.metadata.namespace}/{origin.metadata.name}"
        message = f"reverted an edit of {', '.join(edits)}: ManagedServiceAccount {owner} owns this one. Edit that one instead"
        self._recorder.record(regarding(child), "Warning", "EditReverted", message)

    def held(self, origin: FleetIdentity, count: int) -> None:
        _log.warning("removal_held", clusters=count)
        metadata = origin.metadata
        message = (
            f"would be removed from {clusters(count)}, more than half, and the addon manager did not see why: bindings, cluster sets, clusters or "
            f"decisions are missing. Nothing is deleted for {_HOLD_MINUTES} minutes. If this is meant: kubectl annotate --overwrite msa "
            f"-n {metadata.namespace} {metadata.name} {names.ANNOTATION_RELEASE}=$(date -u +%FT%TZ)"
        )
        self._recorder.record(regarding(origin), "Warning", "RemovalHeld", message)

    def holding(self, count: int) -> None:
        self._holding.set(count)

    def withdrawn(self, origin: FleetIdentity, count: int, why: str) -> None:
        _log.info("withdrawn", clusters=count, why=why)
        message = f"removed from {clusters(count)}: {why}"
        self._recorder.record(regarding(origin), "Normal", "Withdrawn", message)

    def ignored(self, identity: FleetIdentity, notice: Notice) -> None:
        """See `hub.identity_fields.FieldsObserver`."""
        _log.warning("fields_ignored", reason=notice.reason, why=notice.message)
        self._recorder.record(regarding(identity), "Warning", notice.type, notice.message)

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
