"""The agent's metrics and Events. Per-identity series are read off the caches at scrape time: none outlives its object."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from attrs import define
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from msa.agent.reconciler import Caches
from msa.api import addon, names
from msa.api.durations import rfc3339
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.policy.removal import HOLD_SECONDS, WAIT_SECONDS
from msa.policy.status import OURS, Trouble
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference

DELETIONS_HELD = "DeletionsHeld"
_log = structlog.get_logger(__name__)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telemetry:
    """`agent.observers.Observer`: counts what happens and tells the user by an Event on the object."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder, cluster: str) -> None:
        registry = metrics.registry
        self._recorder = recorder
        # Of an identity that is missing nothing can be said on it; who runs the hub sees the addon. Its UID is not for the agent to read.
        version = f"{addon.GROUP}/{addon.V1ALPHA1}"
        self._addon = ObjectReference(version, addon.MANAGED_CLUSTER_ADDON, cluster, names.ADDON, "")
        self._rotations = Counter(
            "msa_rotations_total",
            "Tokens issued, or not, by reason.",
            ("reason", "result"),
            registry=registry,
        )
        self._seconds = Histogram(
            "msa_token_request_duration_seconds",
            "Time that the managed cluster took to answer a TokenRequest.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._repairs = Counter(
            "msa_repairs_total", "What was altered and put right, by kind.", ("kind",), registry=registry
        )
        self._refusals = Counter(
            "msa_refusals_total", "What is not ours to do, by reason.", ("reason",), registry=registry
        )

    def issued(self, identity: ManagedServiceAccount, reason: str, message: str, seconds: float) -> None:
        self._rotations.labels(reason, "success").inc()
        self._seconds.observe(seconds)
        _log.info("token_issued", reason=reason, why=message)
        self._tell(identity, "Normal", "TokenIssued", f"{reason}: {message}; issued a new token")

    def repaired(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        self._repairs.labels(reason).inc()
        _log.warning("repaired", reason=reason, why=message)
        self._tell(identity, "Warning", "Repaired", f"{reason}: {message}")

    def adopted(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        self._repairs.labels(reason).inc()
        _log.info("adopted", why=message)
        self._tell(identity, "Normal", reason, message)

    def limited(self, identity: ManagedServiceAccount, type_: str, message: str) -> None:
        _log.warning("limited", condition=type_, why=message)
        self._tell(identity, "Warning", type_, message)

    def refused(self, identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        self._refusals.labels(trouble.reason).inc()
        self._trouble("refused", identity, trouble, quietly=quietly)

    def failed(self, identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        self._rotations.labels(trouble.reason, "failure").inc()
        self._trouble("failed", identity, trouble, quietly=quietly)

    def held(self, missing: int, total: int, until: datetime) -> None:
        since = rfc3339(until - timedelta(seconds=HOLD_SECONDS - WAIT_SECONDS))
        message = (
            f"{missing} of {total} ManagedServiceAccounts are missing on this hub and their deletion was not seen: the agent keeps their "
            f"ServiceAccounts until {rfc3339(until)}. If the hub was restored, restore the ManagedServiceAccounts. If they are meant to be "
            f"deleted, run on the managed cluster: kubectl annotate deployment {names.AGENT_DEPLOYMENT} -n NAMESPACE --overwrite "
            f"{names.ANNOTATION_RELEASE}={since}"
        )
        _log.warning("deletions_held", missing=missing, total=total, until=rfc3339(until))
        self._recorder.record(self._addon, "Warning", DELETIONS_HELD, message)

    def _trouble(
        self, event: str, identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool
    ) -> None:
        """The first time loudly; what goes on is in the condition, and counted."""
        if quietly:
            _log.debug(event, reason=trouble.reason, why=trouble.message)
            return
        _log.warning(event, reason=trouble.reason, why=trouble.message)
        self._tell(identity, "Warning", trouble.reason, trouble.message)

    def _tell(self, identity: ManagedServiceAccount, type_: str, reason: str, message: str) -> None:
        metadata = identity.metadata
        version = f"{names.GROUP}/{names.STORAGE_VERSION}"
        regarding = ObjectReference(version, names.KIND, metadata.namespace, metadata.name, metadata.uid)
        self._recorder.record(regarding, type_, reason, message)


@define(eq=False)
class CacheCollector(Collector):
    """Series that are read when they are asked for, in a thread: a scrape of 10,000 identities does not hold the loop.

    Attributes:
        skews: clock skew in seconds by side, None while unknown.
        held: how many deletions are held.
    """

    caches: Caches
    skews: Callable[[], dict[str, float | None]]
    held: Callable[[], int]

    def collect(self) -> Iterable[Metric]:
        yield from self._tokens()
        held = GaugeMetricFamily(
            "msa_deletions_held", "ServiceAccounts without an identity whose deletion is held."
        )
        held.add_metric((), self.held())
        yield held
        yield self._conditions()
        skew = GaugeMetricFamily(
            "msa_clock_skew_seconds", "How far a server's clock is ahead of ours.", labels=("side",)
        )
        for side, seconds in self.skews().items():
            if seconds is not None:
                skew.add_metric((side,), seconds)
        yield skew

    def _tokens(self) -> Iterable[Metric]:
        labels = ("namespace", "name")
        expires = GaugeMetricFamily(
            "msa_token_expiration_timestamp_seconds", "When the token in use expires.", labels=labels
        )
        refresh = GaugeMetricFamily(
            "msa_token_refresh_timestamp_seconds",
            "When the token in use is planned to be replaced.",
            labels=labels,
        )
        for identity in self.caches.identities.values():
            metadata, status = identity.metadata, identity.status
            if status.expiration_timestamp is not None:
                expires.add_metric(
                    (metadata.namespace, metadata.name), status.expiration_timestamp.timestamp()
                )
            if status.next_refresh_timestamp is not None:
                refresh.add_metric(
                    (metadata.namespace, metadata.name), status.next_refresh_timestamp.timestamp()
                )
        yield expires
        yield refresh

    def _conditions(self) -> Metric:
        counts: dict[tuple[str, str], int] = {}
        for identity in self.caches.identities.values():
            for condition in identity.status.conditions:
                if condition.type not in OURS:  # a tenant may write others: series are not theirs to make
                    continue
                key = (condition.type, condition.status)
                counts[key] = counts.get(key, 0) + 1
        ready = GaugeMetricFamily(
            "msa_ready", "Identities by condition and its status.", labels=("condition", "status")
        )
        for key, count in sorted(counts.items()):
            ready.add_metric(key, count)
        return ready
