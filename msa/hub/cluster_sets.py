"""The cluster sets of the hub and the namespaces that they are bound to, as all parts of the manager that heed them follow them."""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding
from msa.policy import reach
from msa.runtime.store import Store

BINDINGS_BY_NAMESPACE: Final = "namespace"
"""Index of bindings."""


def by_namespace(item: ManagedClusterSetBinding) -> Iterable[str]:
    return (item.metadata.namespace,)


@frozen
class ClusterSets:
    """What is known of them."""

    sets: Store[ManagedClusterSet]
    bindings: Store[ManagedClusterSetBinding]

    @property
    def synced(self) -> bool:
        """Whether both have been read."""
        return self.sets.synced and self.bindings.synced

    def may_use(self, namespace: str, cluster: ManagedCluster) -> bool:
        """Whether a set with the cluster is bound to the namespace."""
        return reach.may_use(cluster, self.bindings.by_index(BINDINGS_BY_NAMESPACE, namespace), self.sets.get)

    def is_moved(self, old: ManagedCluster, new: ManagedCluster) -> bool:
        """Whether the cluster may be in other sets than before."""
        return reach.is_moved(old, new, self.sets.values())

    def namespaces_of(self, group: str) -> Sequence[str]:
        """Those that a set is bound to."""
        return [item.metadata.namespace for item in self.bindings.values() if item.spec.cluster_set == group]
