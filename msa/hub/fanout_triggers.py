"""Which ManagedServiceAccounts are looked at again when something changes on the hub."""

from collections.abc import Iterable

from attrs import frozen

from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.api.fleet_identity import FleetIdentity
from msa.hub.fanout_caches import NAMESAKES, ORIGINS, PLACES, FanOutCaches, origins_index
from msa.policy import reach
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, key_of

_TOGETHER_SECONDS = 1.0
"""What happens on single clusters is looked at together: there may be thousands of them, and each look is at all."""


@frozen
class Triggers:
    """Handlers of changes.

    Attributes:
        queue: its keys are ManagedServiceAccounts, `namespace/name`.
    """

    caches: FanOutCaches
    queue: WorkQueue

    def identity(self, change: Change[FleetIdentity]) -> None:
        latest, own = change.latest, change.key
        if not self.caches.is_clusters(latest.metadata.namespace) or origins_index(latest):
            self.queue.add(own, Lane.INITIAL if change.initial else Lane.LIVE)
        self._soon(key for key in self._concerned(change) if key != own)

    def cluster(self, change: Change[ManagedCluster]) -> None:
        old, new = change.old, change.new
        if old is None or new is None or old.belongs != new.belongs or self._is_moved(old, new):
            self._soon(key_of(item) for item in self._origins())
        if (
            old is None or new is None
        ) and not change.initial:  # its namespace is a cluster's now, or no more
            name = change.latest.metadata.name
            self._soon(key_of(item) for item in self.caches.identities.by_index(PLACES, name))

    def _is_moved(self, old: ManagedCluster, new: ManagedCluster) -> bool:
        return reach.is_moved(old, new, self.caches.sets.values())

    def cluster_set(self, change: Change[ManagedClusterSet]) -> None:
        if change.old is None or change.new is None or change.old.spec != change.new.spec:
            self._now(self._origins())

    def binding(self, change: Change[ManagedClusterSetBinding]) -> None:
        self._now(self._origins(change.latest.metadata.namespace))

    def decision(self, change: Change[PlacementDecision]) -> None:
        self._now(self._origins(change.latest.metadata.namespace))

    def _concerned(self, change: Change[FleetIdentity]) -> set[Key]:
        """Whose children it is or was, and who would have one of its name."""
        states = [state.metadata for state in (change.old, change.new) if state is not None]
        labels = [(state.label(names.LABEL_ORIGIN_NAMESPACE), state.name) for state in states]
        named = {Key(f"{namespace}/{name}") for namespace, name in labels if namespace}
        namesakes = self.caches.identities.by_index(NAMESAKES, change.latest.metadata.name)
        return named | {key_of(item) for item in namesakes}

    def _origins(self, namespace: str = "") -> Iterable[FleetIdentity]:
        return self.caches.identities.by_index(ORIGINS, namespace)

    def _now(self, origins: Iterable[FleetIdentity]) -> None:
        for origin in origins:
            self.queue.add(key_of(origin), Lane.LIVE)

    def _soon(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.queue.add_after(key, _TOGETHER_SECONDS)
