"""Who is told of a `Ready` that the manager wrote: an Event on the identity, a counter, a line for the log."""

import logging

import structlog
from prometheus_client import Counter

from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import Condition
from msa.hub.identity_reference import regarding
from msa.policy.readiness import MANAGER_REASONS
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder

_log = structlog.get_logger(__name__)


class ReadinessTelemetry:
    """`hub.readiness.ReadinessObserver`."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._changes = Counter(
            "msa_ready_changes_total",
            "Conditions Ready of ManagedServiceAccounts that the manager wrote because the agent could not, by reason; "
            "other is one that was given back to the agent.",
            ("reason",),
            registry=metrics.registry,
        )
        for reason in (*MANAGER_REASONS, "other"):
            self._changes.labels(reason)

    def changed(self, identity: FleetIdentity, ready: Condition) -> None:
        bad = ready.reason in MANAGER_REASONS
        self._changes.labels(ready.reason if bad else "other").inc()
        metadata = identity.metadata
        _log.log(
            logging.WARNING if bad else logging.INFO,
            "ready_changed",
            namespace=metadata.namespace,
            name=metadata.name,
            status=ready.status,
            reason=ready.reason,
            why=ready.message,
        )
        kind = "Normal" if ready.status == "True" else "Warning"
        self._recorder.record(regarding(identity), kind, ready.reason, ready.message)
