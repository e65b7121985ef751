"""The fan-out put together: caches -> reconciler -> queue."""

from collections.abc import Mapping
from typing import TypeVar

from msa.api import cluster as cluster_api
from msa.api import clusterset
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.hub.fanout import FanOutReconciler
from msa.hub.fanout_caches import (
    BINDINGS_BY_NAMESPACE,
    DECISIONS_BY_PLACEMENT,
    FanOutCaches,
    by_namespace,
    by_placement,
)
from msa.hub.fanout_children import Children
from msa.hub.fanout_observer import FanOutCollector, FanOutTelemetry
from msa.hub.fanout_triggers import Triggers
from msa.hub.identity_writes import IdentityWrites
from msa.hub.part import Common, Part
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.events import KubeObject
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.queue import WorkQueue
from msa.runtime.store import Index

T = TypeVar("T", bound=KubeObject)

_WORKERS = 4
"""Each writes many children at a time."""


def part(common: Common, *, ephemeral: bool) -> Part:
    """The fan-out.

    Args:
        common: what all parts are made from.
        ephemeral: whether lives end with their TTL.
    """
    sets, bindings, decisions = _informers(common)
    identities, clusters, metrics = common.identities, common.clusters, common.metrics
    caches = FanOutCaches(identities.store, clusters.store, sets.store, bindings.store, decisions.store)
    queue = WorkQueue("fanout", Backoff(common.rng), metrics)
    triggers = Triggers(caches, queue)
    identities.subscribe(triggers.identity)
    clusters.subscribe(triggers.cluster)
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
        freshness,
        telemetry,
        now=wall_clock,
        hub_now=common.hub.server_time,
        ephemeral=ephemeral,
    )
    controller = Controller(queue, reconciler, workers=_WORKERS, freshness=freshness, metrics=metrics)
    return Part((sets, bindings, decisions), (controller,))


def _informers(
    common: Common,
) -> tuple[Informer[ManagedClusterSet], Informer[ManagedClusterSetBinding], Informer[PlacementDecision]]:
    sets, decided = clusterset.SETS_VERSION, clusterset.DECISIONS_VERSION
    bindings, decisions = {BINDINGS_BY_NAMESPACE: by_namespace}, {DECISIONS_BY_PLACEMENT: by_placement}
    return (
        _informer(common, sets, "managedclustersets", ManagedClusterSet),
        _informer(common, sets, "managedclustersetbindings", ManagedClusterSetBinding, bindings),
        _informer(common, decided, "placementdecisions", PlacementDecision, decisions),
    )


def _informer(
    common: Common, version: str, plural: str, into: type[T], indexes: Mapping[str, Index[T]] | None = None
) -> Informer[T]:
    """Of a kind of OCM's; where that does not serve it, nothing is bound."""
    source = Resource(common.hub, Selection(cluster_api.GROUP, version, plural), into)
    return Informer[T](source, common.rng, common.metrics, indexes=indexes, optional=True)
