"""Metrics, Events and log lines of what is done for ClusterProfiles."""

import logging

import structlog
from prometheus_client import Counter

from msa.api.fleet_identity import FleetIdentity
from msa.hub.identity_reference import regarding
from msa.policy.profiles import Reason, Rejection
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder

_log = structlog.get_logger(__name__)


class ProfileTelemetry:
    """`hub.profile_ports.ProfileObserver`."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._writes = Counter(
            "msa_profile_writes_total",
            "Copies of credentials for ClusterProfiles that were made, rewritten or deleted.",
            ("verb",),
            registry=metrics.registry,
        )
        self._refusals = Counter(
            "msa_profile_refusals_total",
            "Copies of credentials for ClusterProfiles that were not made, by reason; counted at each look.",
            ("reason",),
            registry=metrics.registry,
        )
        # All of them from the start: of a series that begins with its first event, Prometheus sees no increase.
        for verb in ("create", "rewrite", "delete"):
            self._writes.labels(verb)
        for reason in Reason:
            self._refusals.labels(reason)

    def wrote(self, copy: str, *, new: bool) -> None:
        verb = "create" if new else "rewrite"
        self._writes.labels(verb).inc()
        _log.info("profile_secret_written", secret=copy, verb=verb)

    def deleted(self, copy: str) -> None:
        self._writes.labels("delete").inc()
        _log.info("profile_secret_deleted", secret=copy)

    def refused(self, identity: FleetIdentity, rejection: Rejection, *, repeated: bool) -> None:
        self._refusals.labels(rejection.reason).inc()
        level = logging.DEBUG if repeated else logging.WARNING
        _log.log(level, "profile_secret_refused", reason=rejection.reason.value, why=rejection.message)
        if not repeated:
            self._recorder.record(
                regarding(identity), "Warning", rejection.reason, rejection.message, lasting=True
            )

    def published(self, profile: str, *, withdrawn: bool) -> None:
        _log.info("access_withdrawn" if withdrawn else "access_published", profile=profile)
