"""The fan-out put together: caches -> reconciler -> queue."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen

from msa.api import cluster as cluster_api
from msa.api import clusterset, names
from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.api.fleet_identity import StoredFleetIdentity
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE, ClusterSets, by_namespace
from msa.hub.fanout import FanOutReconciler
from msa.hub.fanout_caches import DECISIONS_BY_PLACEMENT, FanOutCaches, by_placement
from msa.hub.fanout_causes import Causes
from msa.hub.fanout_children import Children
from msa.hub.fanout_departures import Departures
from msa.hub.fanout_fresh import FreshReads
from msa.hub.fanout_observer import FanOutCollector, FanOutTelemetry
from msa.hub.fanout_triggers import Triggers
from msa.hub.identity_fields import FieldsObserver, FieldsReconciler, FieldsTriggers, Judge
from msa.hub.identity_notices import Notices
from msa.hub.identity_writes import IdentityWrites
from msa.hub.ingest import keep_decision, keep_set, keep_set_binding
from msa.hub.part import Common, Part
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.policy.gates import FeatureGates
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.events import KubeObject
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Index

T = TypeVar("T", bound=KubeObject)

_WORKERS = 4
"""Each writes many children at a time."""


@frozen
class SetInformers:
    """Of cluster sets and their bindings: the fan-out goes by them, and so do copies of credentials."""

    sets: Informer[ManagedClusterSet]
    bindings: Informer[ManagedClusterSetBinding]

    @classmethod
    def of(cls, common: Common) -> "SetInformers":
        version, indexes = clusterset.SETS_VERSION, {BINDINGS_BY_NAMESPACE: by_namespace}
        return cls(
            _informer(common, version, "managedclustersets", ManagedClusterSet, keep_set),
            _informer(
                common,
                version,
                "managedclustersetbindings",
                ManagedClusterSetBinding,
                keep_set_binding,
                indexes=indexes,
            ),
        )

    @property
    def caches(self) -> ClusterSets:
        return ClusterSets(self.sets.store, self.bindings.store)


def part(common: Common, groups: SetInformers, gates: FeatureGates) -> Part:
    """The fan-out.

    Args:
        common: what all parts are made from.
        groups: run by this part.
        gates: whether lives end with their TTL, and whether credentials are copied.
    """
    sets, bindings, decisions = groups.sets, groups.bindings, _decisions(common)
    identities, clusters, metrics = common.identities, common.clusters, common.metrics
    caches = FanOutCaches(identities.store, clusters.store, sets.store, bindings.store, decisions.store)
    queue = WorkQueue("fanout", Backoff(common.rng), metrics)
    triggers = Triggers(caches, queue)
    identities.subscribe(triggers.identity)
    clusters.subscribe(triggers.cluster)
    causes = Causes(sets.store, bindings.store)
    identities.subscribe(causes.identity)
    clusters.subscribe(causes.cluster)
    sets.subscribe(causes.cluster_set)
    bindings.subscribe(causes.binding)
    decisions.subscribe(causes.decision)
    sets.subscribe(triggers.cluster_set)
    bindings.subscribe(triggers.binding)
    decisions.subscribe(triggers.decision)
    metrics.registry.register(FanOutCollector(identities.store))
    freshness, writes = Freshness(), IdentityWrites(common.stored)
    telemetry = FanOutTelemetry(metrics, common.recorder)
    fresh = _fresh(common)
    reconciler = FanOutReconciler(
        caches,
        writes,
        Children(writes, telemetry, wall_clock, Backoff(common.rng)),
        Departures(caches, causes, fresh, telemetry, common.hub.server_time),
        freshness,
        telemetry,
        now=wall_clock,
        hub_now=common.hub.server_time,
        ephemeral=gates.ephemeral_identity,
    )
    controller = Controller(queue, reconciler, workers=_WORKERS, freshness=freshness, metrics=metrics)
    fields = _fields(common, Judge(caches, gates.cluster_profile), telemetry)
    return Part((sets, bindings, decisions), (controller, fields))


def _fields(common: Common, judge: Judge, observer: FieldsObserver) -> Controller:
    queue, freshness = WorkQueue("ignoredfields", Backoff(common.rng), common.metrics), Freshness()
    triggers = FieldsTriggers(judge, queue)
    common.identities.subscribe(triggers.identity)
    common.clusters.subscribe(triggers.cluster)
    notices = Notices(
        common.identities.store, IdentityWrites(common.stored), freshness, common.hub.server_time
    )
    reconciler = FieldsReconciler(judge, notices, observer)
    return Controller(queue, reconciler, workers=1, freshness=freshness, metrics=common.metrics)


def _decisions(common: Common) -> Informer[PlacementDecision]:
    version, indexes = clusterset.DECISIONS_VERSION, {DECISIONS_BY_PLACEMENT: by_placement}
    return _informer(common, version, "placementdecisions", PlacementDecision, keep_decision, indexes=indexes)


def _fresh(common: Common) -> FreshReads:
    """Clusters and sets as they are stored: of them nothing is left out that tells who belongs."""
    hub, version = common.hub, clusterset.SETS_VERSION

    def named(key: Key) -> Resource[Any]:
        namespace, _, name = key.partition("/")
        group = (names.GROUP, names.STORAGE_VERSION, names.PLURAL)
        return Resource(
            hub, Selection(*group, namespace, fields=f"metadata.name={name}"), StoredFleetIdentity
        )

    return FreshReads(
        Resource(hub, Selection(cluster_api.GROUP, "v1", "managedclusters"), ManagedCluster),
        Resource(hub, Selection(cluster_api.GROUP, version, "managedclustersets"), ManagedClusterSet),
        Resource(
            hub, Selection(cluster_api.GROUP, version, "managedclustersetbindings"), ManagedClusterSetBinding
        ),
        Resource(
            hub,
            Selection(cluster_api.GROUP, clusterset.DECISIONS_VERSION, "placementdecisions"),
            PlacementDecision,
        ),
        named,
    )


def _informer(
    common: Common,
    version: str,
    plural: str,
    into: type[T],
    keep: Callable[[T], T],
    *,
    indexes: Mapping[str, Index[T]] | None = None,
) -> Informer[T]:
    """Of a kind of OCM's; where that does not serve it, nothing is bound."""
    source = Resource(common.hub, Selection(cluster_api.GROUP, version, plural), into)
    return Informer[T](source, common.rng, common.metrics, transform=keep, indexes=indexes, optional=True)
