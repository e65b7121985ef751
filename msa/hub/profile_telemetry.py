"""Metrics, Events and log lines of what is done for ClusterProfiles."""

import logging
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from msa.api import clusterprofile, names
from msa.api.clusterprofile import ClusterProfile
from msa.api.fleet_identity import FleetIdentity
from msa.hub.identity_reference import regarding
from msa.policy.profiles import Reason, Rejection
from msa.policy.removal import HOLD_SECONDS
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference

KINDS: Final = ("copy", "access")
"""What a ClusterProfile has of us: copies of credentials, and `status.accessProviders`."""

_HOLD_MINUTES = round(HOLD_SECONDS / 60)
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
        self._holding = Gauge(
            "msa_profile_removals_held",
            "Copies of credentials and accessProviders of ClusterProfiles that are not deleted yet: too many lost their reason to be at once, "
            "and nobody saw why.",
            ("kind",),
            registry=metrics.registry,
        )
        for kind in KINDS:
            self._holding.labels(kind)
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

    def held(self, profile: ClusterProfile) -> None:
        metadata = profile.metadata
        _log.warning("profile_removal_held", profile=f"{metadata.namespace}/{metadata.name}")
        message = (
            "copies of credentials or the accessProviders of more than half of the ClusterProfiles would be deleted, and the addon manager did not "
            "see why: ManagedServiceAccounts, cluster sets or bindings are missing. Nothing is deleted for "
            f"{_HOLD_MINUTES} minutes. If this is meant: kubectl annotate --overwrite clusterprofile -n {metadata.namespace} {metadata.name} "
            f"{names.ANNOTATION_RELEASE}=$(date -u +%FT%TZ)"
        )
        version = f"{clusterprofile.GROUP}/{clusterprofile.VERSION}"
        about = ObjectReference(version, clusterprofile.KIND, metadata.namespace, metadata.name, metadata.uid)
        self._recorder.record(about, "Warning", "RemovalHeld", message)

    def holding(self, kind: str, count: int) -> None:
        self._holding.labels(kind).set(count)

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
