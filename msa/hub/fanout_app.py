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
    """Of cluster sets and their bindings: the fan-out goes by them, and so do copies of credentials.

    Attributes:
        causes: what was seen to happen to them, told before all others.
    """

    sets: Informer[ManagedClusterSet]
    bindings: Informer[ManagedClusterSetBinding]
    causes: Causes

    @classmethod
    def of(cls, common: Common) -> "SetInformers":
        version, indexes = clusterset.SETS_VERSION, {BINDINGS_BY_NAMESPACE: by_namespace}
        sets = _informer(common, version, "managedclustersets", ManagedClusterSet, keep_set)
        kind = "managedclustersetbindings"
        bindings = _informer(
            common, version, kind, ManagedClusterSetBinding, keep_set_binding, indexes=indexes
        )
        causes = Causes(sets.store, bindings.store)
        common.identities.subscribe(causes.identity)
        common.clusters.subscribe(causes.cluster)
        sets.subscribe(causes.cluster_set)
        bindings.subscribe(causes.binding)
        return cls(sets, bindings, causes)

    def replaced(self) -> bool:
        """Whether the hub was found to be another one, or restored."""
        return self.sets.replaced or self.bindings.replaced

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
    decisions.subscribe(groups.causes.decision)
    sets.subscribe(triggers.cluster_set)
    bindings.subscribe(triggers.binding)
    decisions.subscribe(triggers.decision)
    metrics.registry.register(FanOutCollector(identities.store))
    freshness, writes = Freshness(), IdentityWrites(common.stored)
    telemetry = FanOutTelemetry(metrics, common.recorder)
    reconciler = FanOutReconciler(
        caches,
        writes,
        Children(writes, telemetry, wall_clock, Backoff(common.rng)),
        Departures(
            caches, groups.causes, fresh_reads(common), telemetry, common.hub.server_time, groups.replaced
        ),
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


def fresh_reads(common: Common) -> FreshReads:
    """Clusters and sets as they are stored: of them nothing is left out that tells who belongs."""
    hub, group, version = common.hub, cluster_api.GROUP, clusterset.SETS_VERSION
    ours = (names.GROUP, names.STORAGE_VERSION, names.PLURAL)

    def clusters(name: str) -> Resource[ManagedCluster]:
        return Resource(hub, Selection(group, "v1", "managedclusters", fields=_named(name)), ManagedCluster)

    def bindings(namespace: str) -> Resource[ManagedClusterSetBinding]:
        selection = Selection(group, version, "managedclustersetbindings", namespace)
        return Resource(hub, selection, ManagedClusterSetBinding)

    def named(key: Key) -> Resource[Any]:
        namespace, _, name = key.partition("/")
        return Resource(hub, Selection(*ours, namespace, fields=_named(name)), StoredFleetIdentity)

    decisions = Selection(group, clusterset.DECISIONS_VERSION, "placementdecisions")
    return FreshReads(
        clusters,
        Resource(hub, Selection(group, version, "managedclustersets"), ManagedClusterSet),
        bindings,
        Resource(hub, decisions, PlacementDecision),
        named,
    )


def _named(name: str) -> str:
    """A field selector; "" for all."""
    return f"metadata.name={name}" if name else ""


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
