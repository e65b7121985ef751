"""The manager's metrics, Events and log lines. Series by state are read off the caches at scrape time: none outlives its cluster."""

import logging
from collections import Counter as Count
from collections.abc import Iterable

import structlog
from attrs import define
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.api import addon as addon_api
from msa.api import certificates, names
from msa.api.addon import ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.meta import Condition
from msa.hub.ports import Kind
from msa.policy.addon_status import state
from msa.policy.doubts import Doubt, Reason
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference
from msa.runtime.store import Store

_log = structlog.get_logger(__name__)


class Telemetry:
    """`hub.observers.Observer`."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder, version: str) -> None:
        self._recorder = recorder
        self._version = version
        self._decisions = Counter(
            "msa_csr_decisions_total",
            "Certificate signing requests of our agents, by what was decided and why.",
            ("decision", "reason"),
            registry=metrics.registry,
        )
        # All of them from the start: of a series that begins with its first event, Prometheus sees no increase.
        self._decisions.labels("approved", "")
        for reason in Reason:
            self._decisions.labels("undecided", reason)
        self._writes = Counter(
            "msa_addon_writes_total",
            "What was made, put right or deleted in the clusters' namespaces.",
            ("kind", "verb"),
            registry=metrics.registry,
        )

    def wrote(self, cluster: str, kind: Kind, *, new: bool) -> None:
        verb = "create" if new else "rewrite"
        self._writes.labels(kind.value, verb).inc()
        _log.info("written", cluster=cluster, kind=kind.value, verb=verb)

    def deleted(self, cluster: str, kind: Kind) -> None:
        self._writes.labels(kind.value, "delete").inc()
        _log.info("deleted", cluster=cluster, kind=kind.value)

    def withdrawn(self, cluster: str, why: str) -> None:
        _log.info("withdrawn", cluster=cluster, why=why)

    def condition(self, addon: ManagedClusterAddOn, condition: Condition) -> None:
        bad = condition.status == ("True" if condition.type in _BAD_WHEN_TRUE else "False")
        _log.log(
            logging.WARNING if bad else logging.INFO,
            "addon_condition",
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            why=condition.message,
        )
        metadata = addon.metadata
        regarding = ObjectReference(
            f"{addon_api.GROUP}/{self._version}",
            addon_api.MANAGED_CLUSTER_ADDON,
            metadata.namespace,
            metadata.name,
            metadata.uid,
        )
        self._recorder.record(regarding, "Warning" if bad else "Normal", condition.reason, condition.message)

    def approved(self, request: SigningRequest) -> None:
        self._decisions.labels("approved", "").inc()
        _log.info("csr_approved", name=request.metadata.name)
        message = f"approved for the agent of addon {names.ADDON}"
        self._recorder.record(_regarding(request), "Normal", "Approved", message)

    def doubted(self, request: SigningRequest, doubt: Doubt, *, logged: bool) -> None:
        self._decisions.labels("undecided", doubt.reason).inc()
        level = logging.DEBUG if logged else logging.WARNING
        _log.log(
            level, "csr_undecided", name=request.metadata.name, reason=doubt.reason.value, why=doubt.message
        )
        self._recorder.record(_regarding(request), "Warning", doubt.reason, doubt.message, lasting=True)


_BAD_WHEN_TRUE = frozenset(("Degraded",))


def _regarding(request: SigningRequest) -> ObjectReference:
    metadata = request.metadata
    return ObjectReference(
        f"{certificates.GROUP}/v1", "CertificateSigningRequest", "", metadata.name, metadata.uid
    )


@define(eq=False)
class FleetCollector(Collector):
    """How many clusters are in which state."""

    addons: Store[ManagedClusterAddOn]

    def collect(self) -> Iterable[Metric]:
        counts = Count(state(addon) for addon in self.addons.values())
        family = GaugeMetricFamily(
            "msa_addon_clusters", "Clusters with the addon, by how it fares there.", labels=("state",)
        )
        for name, count in sorted(counts.items()):
            family.add_metric((name,), count)
        yield family
