"""The hub read at once, page by page: asked before anything is deleted whose reason to be is only missing from the caches."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE, ClusterSets, by_namespace
from msa.hub.fanout_caches import DECISIONS_BY_PLACEMENT, IDENTITY_INDEXES, FanOutCaches, by_placement
from msa.runtime.ports import ListWatch
from msa.runtime.result import Key
from msa.runtime.store import Index, Store, StoreWriter

_PAGE = 500


@frozen
class FreshReads:
    """`FreshHub` of fan-out and ClusterProfiles over the hub's API server.

    Attributes:
        clusters: the one of a name; all of them for "".
        bindings: of one namespace; of all for "".
        named: ManagedServiceAccounts of one key.
    """

    clusters: Callable[[str], ListWatch[ManagedCluster]]
    sets: ListWatch[ManagedClusterSet]
    bindings: Callable[[str], ListWatch[ManagedClusterSetBinding]]
    decisions: ListWatch[PlacementDecision]
    named: Callable[[Key], ListWatch[Any]]

    async def caches(self) -> FanOutCaches:
        return FanOutCaches(
            Store(IDENTITY_INDEXES),
            await _read(self.clusters("")),
            await _read(self.sets),
            await _read(self.bindings(""), {BINDINGS_BY_NAMESPACE: by_namespace}),
            await _read(self.decisions, {DECISIONS_BY_PLACEMENT: by_placement}),
        )

    async def has(self, key: Key) -> bool:
        page = await self.named(key).list(limit=1)
        return bool(page.items or page.unreadable)

    async def may_use(self, namespace: str, cluster: str) -> bool:
        bindings = await _read(self.bindings(namespace), {BINDINGS_BY_NAMESPACE: by_namespace})
        groups, found = ClusterSets(await _read(self.sets), bindings), await _read(self.clusters(cluster))
        member = found.get(cluster)
        if member is None or not groups.synced:
            return True
        return groups.may_use(namespace, member)


async def _read(source: ListWatch[Any], indexes: Mapping[str, Index[Any]] | None = None) -> Store[Any]:
    """All objects of a kind. One that cannot be read makes the copy one that does not count as read."""
    store: Store[Any] = Store(indexes)
    found: list[Any] = []
    token, unreadable = "", False
    while True:
        page = await source.list(limit=_PAGE, continue_token=token)
        found += page.items
        unreadable |= bool(page.unreadable)
        token = page.continue_token
        if not token:
            break
    if not unreadable:
        StoreWriter(store).replace(found, page.resource_version)
    return store
