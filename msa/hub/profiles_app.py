"""What the manager does for ClusterProfiles, put together: the one place of it that knows `kube`."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

from attrs import frozen

from msa.api import clusterprofile as profile_api
from msa.api import names
from msa.api.clusterprofile import ClusterProfile, SecretFacts, StoredClusterProfile
from msa.api.core import Secret
from msa.hub.fanout_app import SetInformers, fresh_reads
from msa.hub.identity_notices import Notices
from msa.hub.identity_writes import IdentityWrites
from msa.hub.leaving import Leavers
from msa.hub.part import Common, Part
from msa.hub.profile_access import AccessReconciler
from msa.hub.profile_departures import Departures
from msa.hub.profile_ingest import keep_profile, keep_secret
from msa.hub.profile_pace import Pace
from msa.hub.profile_removals import CopyRemovals
from msa.hub.profile_telemetry import ProfileTelemetry
from msa.hub.profile_triggers import (
    BY_CLUSTER,
    ProfileTriggers,
    cluster_of,
    name_of,
    namespace_of,
    published_of,
)
from msa.hub.profile_writes import ProfileWrites
from msa.hub.profiles import BY_NAME, BY_NAMESPACE, PUBLISHED, CopyReconciler, ProfileCaches
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.events import KubeObject
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Key

T = TypeVar("T", bound=KubeObject)

_WORKERS = 8
"""Each waits for two short requests."""

_PROFILES = Selection(profile_api.GROUP, profile_api.VERSION, profile_api.PLURAL)
# Copies have the label of everything that we make, too.
_SOURCES = Selection("", "v1", "secrets", labels=f"{names.LABEL_MANAGED}=true,!{names.LABEL_SYNCED_FROM}")
_COPIES = Selection("", "v1", "secrets", labels=names.LABEL_SYNCED_FROM)


class _Watched(Resource[T]):
    """A resource of which more than one selection is watched: metrics and logs tell them apart."""

    def __init__(self, hub: Transport, selection: Selection, into: type[T], which: str) -> None:
        super().__init__(hub, selection, into)
        self._which = which

    @property
    def resource(self) -> str:
        return f"{super().resource}/{self._which}"


@frozen
class _Informers:
    sources: Informer[SecretFacts]
    copies: Informer[SecretFacts]
    profiles: Informer[ClusterProfile]

    @classmethod
    def of(cls, common: Common) -> "_Informers":
        hub, rng, metrics = common.hub, common.rng, common.metrics
        sources = _Watched(hub, _SOURCES, Secret, "credentials")
        copies = _Watched(hub, _COPIES, Secret, "copies")
        profiles = Resource(hub, _PROFILES, StoredClusterProfile)
        by_name = {BY_NAME: name_of}
        placed = {**by_name, BY_NAMESPACE: namespace_of, PUBLISHED: published_of}
        return cls(
            sources=Informer(sources, rng, metrics, transform=keep_secret),
            copies=Informer(
                copies, rng, metrics, transform=keep_secret, indexes={**by_name, BY_CLUSTER: cluster_of}
            ),
            profiles=Informer(profiles, rng, metrics, transform=keep_profile, indexes=placed, optional=True),
        )


def part(common: Common, groups: SetInformers, *, publish: bool) -> Part:
    """Copies of credentials for ClusterProfiles, and the way to their clusters.

    Args:
        common: what all parts are made from.
        groups: run by another part.
        publish: whether `status.accessProviders` is written where nobody else does.
    """
    hub, rng, metrics = common.hub, common.rng, common.metrics
    identities, clusters = common.identities, common.clusters
    own = _Informers.of(common)
    caches = ProfileCaches(
        identities.store,
        clusters.store,
        own.profiles.store,
        own.sources.store,
        own.copies.store,
        groups.caches,
    )
    writes = ProfileWrites(
        Resource(hub, Selection("", "v1", "secrets"), Secret), Resource(hub, _PROFILES, StoredClusterProfile)
    )
    parts = _Parts(common, caches, writes, ProfileTelemetry(metrics, common.recorder), groups)
    copies = WorkQueue("profilesecret", Backoff(rng), metrics)
    access = WorkQueue("clusterprofile", Backoff(rng), metrics) if publish else None
    triggers = ProfileTriggers(caches, copies, access)
    identities.subscribe(triggers.identity)
    clusters.subscribe(triggers.cluster)
    groups.sets.subscribe(triggers.cluster_set)
    groups.bindings.subscribe(triggers.binding)
    own.sources.subscribe(triggers.source)
    own.copies.subscribe(triggers.copy)
    own.profiles.subscribe(triggers.profile)
    controllers = [parts.copies(copies), *([parts.access(access)] if access is not None else [])]
    return Part((own.sources, own.copies, own.profiles), tuple(controllers))


@frozen
class _Parts:
    """What both reconcilers are made from."""

    common: Common
    caches: ProfileCaches
    writes: ProfileWrites
    telemetry: ProfileTelemetry
    groups: SetInformers

    def copies(self, queue: WorkQueue) -> Controller:
        common, caches, telemetry, freshness = self.common, self.caches, self.telemetry, Freshness()
        notices = Notices(common.identities.store, IdentityWrites(common.stored), freshness, wall_clock)
        leavers = Leavers(
            caches.copies,
            lambda: len(caches.copies),
            partial(telemetry.holding, "copy"),
            self.groups.replaced,
        )
        removals = CopyRemovals(self.groups.causes, fresh_reads(common), self._departures(leavers))
        pace = Pace(Backoff(common.rng))
        reconcile = CopyReconciler(caches, self.writes, freshness, telemetry, pace, notices, removals)
        return Controller(
            queue,
            reconcile,
            workers=_WORKERS,
            freshness=freshness,
            metrics=common.metrics,
            bind=_cluster_and_name,
        )

    def access(self, queue: WorkQueue) -> Controller:
        profiles, telemetry, freshness = self.caches.profiles, self.telemetry, Freshness()
        leavers = Leavers(
            profiles,
            lambda: profiles.count(PUBLISHED, ""),
            partial(telemetry.holding, "access"),
            self.groups.replaced,
        )
        departures, fresh = self._departures(leavers), fresh_reads(self.common)
        publisher = AccessReconciler(
            self.caches, self.writes, freshness, telemetry, self.groups.causes, fresh, departures
        )
        return Controller(queue, publisher, workers=1, freshness=freshness, metrics=self.common.metrics)

    def _departures(self, leavers: Leavers) -> Departures:
        return Departures(leavers, self.telemetry, self.common.hub.server_time)


def _cluster_and_name(key: Key) -> Mapping[str, str]:
    cluster, _, name = key.partition("/")
    return {"cluster": cluster, "name": name}
