"""What is known of the hub for the fan-out, and how one ManagedServiceAccount finds those that belong to it."""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from msa.api import clusterset, names
from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.api.fleet_identity import FleetIdentity
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE
from msa.policy import reach
from msa.policy.fanout import is_child
from msa.policy.reach import Reach, Unreached
from msa.policy.readiness import READY
from msa.runtime.result import Key
from msa.runtime.store import Index, Store, key_of

CHILDREN: Final = "children"
"""Index by the key and by the UID of the one that they were made for, and all of them under ""."""

ORIGINS: Final = "origins"
"""Index of those that are fanned out, or wait to be: by namespace, and all of them under ""."""

PLACES: Final = "places"
"""Index of all of them, by namespace."""

NAMESAKES: Final = "namesakes"
"""Index of those that are fanned out, by name."""


def is_fanned_out(identity: FleetIdentity) -> bool:
    return names.FAN_OUT_FINALIZER in identity.metadata.finalizers


def children_index(identity: FleetIdentity) -> Iterable[str]:
    metadata = identity.metadata
    namespace, uid = metadata.label(names.LABEL_ORIGIN_NAMESPACE), metadata.label(names.LABEL_ORIGIN_UID)
    keys = [*([f"{namespace}/{metadata.name}"] if namespace else []), *([uid] if uid else [])]
    return ["", *keys] if keys else ()


def origins_index(identity: FleetIdentity) -> Iterable[str]:
    told = any(item.type == READY and item.reason in reach.REASONS for item in identity.status.conditions)
    ours = told or is_fanned_out(identity) or identity.status.fan_out is not None
    return ("", identity.metadata.namespace) if ours else ()


def namesakes_index(identity: FleetIdentity) -> Iterable[str]:
    return (identity.metadata.name,) if is_fanned_out(identity) else ()


def places_index(identity: FleetIdentity) -> Iterable[str]:
    return (identity.metadata.namespace,)


IDENTITY_INDEXES: Final[dict[str, Index[FleetIdentity]]] = {
    CHILDREN: children_index,
    ORIGINS: origins_index,
    NAMESAKES: namesakes_index,
    PLACES: places_index,
}


def by_placement(item: PlacementDecision) -> Iterable[str]:
    return (f"{item.metadata.namespace}/{item.metadata.label(clusterset.LABEL_PLACEMENT)}",)


DECISIONS_BY_PLACEMENT: Final = "placement"


@frozen
class FanOutCaches:
    """What is known of the hub."""

    identities: Store[FleetIdentity]
    clusters: Store[ManagedCluster]
    sets: Store[ManagedClusterSet]
    bindings: Store[ManagedClusterSetBinding]
    decisions: Store[PlacementDecision]

    def is_clusters(self, namespace: str) -> bool:
        """Whether it is a managed cluster's own namespace.

        Whoever may ask the hub to take a cluster in may give it any name: until it is accepted, a binding says otherwise.
        """
        cluster = self.clusters.get(namespace)
        if cluster is None:
            return False
        return cluster.spec.hub_accepts_client or not self.bindings.by_index(BINDINGS_BY_NAMESPACE, namespace)

    def reach(self, origin: FleetIdentity) -> Reach | Unreached:
        """The clusters where it belongs."""
        namespace, placement = origin.metadata.namespace, origin.spec.placement_ref
        for kind, store in (("ManagedClusterSetBindings", self.bindings), ("ManagedClusterSets", self.sets)):
            if not store.synced:
                return reach.unknown(kind)
        bindings = self.bindings.by_index(BINDINGS_BY_NAMESPACE, namespace)
        sets = reach.bound_sets(bindings, self.sets.get)
        if not sets:
            named = (item.spec.cluster_set for item in bindings)
            return reach.not_bound(namespace, [name for name in named if self.sets.get(name) is None])
        bound = reach.members(sets, self.clusters.values())
        if placement is None:
            return Reach(bound, bound)
        if not self.decisions.synced:
            return reach.unknown("PlacementDecisions")
        decisions = self.decisions.by_index(DECISIONS_BY_PLACEMENT, f"{namespace}/{placement.name}")
        # A decision alone gives nothing: whoever may write one in a namespace is not who may bind a set to it.
        if not decisions:
            return reach.not_decided(namespace, placement.name, bound)
        return Reach(reach.picked(decisions) & bound, bound)

    def child_count(self) -> int:
        """How many children there are on the hub."""
        return self.identities.count(CHILDREN, "")

    def orphans(self, key: Key, uid: str) -> Sequence[FleetIdentity]:
        """Those made for one that is gone, by its key and, where it is known, its UID."""
        lost = self.identities.by_index(CHILDREN, uid) if uid else ()
        found = {key_of(item): item for item in (*self.children(key), *lost)}
        return tuple(item for item in found.values() if not is_fanned_out(item))

    def children(self, key: Key) -> Sequence[FleetIdentity]:
        """Those made for the one of this key, wherever they are; never one that is fanned out itself, whatever its labels say."""
        return tuple(item for item in self.identities.by_index(CHILDREN, key) if not is_fanned_out(item))

    def children_of(self, origin: FleetIdentity) -> Sequence[FleetIdentity]:
        """The same, with those that lost the label of the namespace."""
        uid = origin.metadata.uid
        lost = (item for item in self.identities.by_index(CHILDREN, uid) if not is_fanned_out(item))
        found = {key_of(item): item for item in (*self.children(key_of(origin)), *lost)}
        return tuple(
            item for item in found.values() if is_child(item.metadata, origin) and item.metadata.uid != uid
        )

    def there(self, origin: FleetIdentity, clusters: Iterable[str]) -> dict[str, FleetIdentity]:
        """What has its name on these clusters."""
        found = ((name, self.identities.get(f"{name}/{origin.metadata.name}")) for name in clusters)
        return {name: item for name, item in found if item is not None}
