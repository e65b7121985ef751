"""When something was last seen to happen that takes children, or copies of credentials, away.

A binding was deleted, a cluster relabelled, a Placement decided anew. What is only missing from a full list, or was so at the start, is not among them: see `policy.removal`.
"""

import math
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import anyio
from attrs import field, frozen

from msa.api.cluster import ManagedCluster
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding, PlacementDecision
from msa.api.fleet_identity import FleetIdentity
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE
from msa.policy import reach
from msa.runtime.result import Key
from msa.runtime.store import Change, Store, key_of

_REMEMBERED_SECONDS = 3600.0
"""Each look asks only what has happened since the look before."""


@frozen
class Causes:
    """Handlers of changes.

    Attributes:
        _seen: monotonic seconds, by what it happened to; the oldest first.
    """

    sets: Store[ManagedClusterSet]
    bindings: Store[ManagedClusterSetBinding]
    _seen: dict[tuple[str, str], float] = field(factory=dict, init=False)

    def identity(self, change: Change[FleetIdentity]) -> None:
        """Its spec was edited, or it was deleted for good: until there is one of its name again."""
        if change.new is not None:
            self._seen.pop(("deletion", change.key), None)
        if not _is_seen(change):
            return
        if change.new is None:
            self._note("deletion", change.key)
        elif _has_other_spec(change):
            self._note("origin", change.key)

    def binding(self, change: Change[ManagedClusterSetBinding]) -> None:
        if _is_seen(change) and (_is_ending(change) or _has_other_spec(change) or _is_refused_now(change)):
            self._note("binding", change.latest.metadata.namespace)

    def cluster_set(self, change: Change[ManagedClusterSet]) -> None:
        if _is_seen(change) and (_is_ending(change) or _has_other_spec(change)):
            self._note("set", change.latest.metadata.name)

    def cluster(self, change: Change[ManagedCluster]) -> None:
        """It was detached, or is in other sets now; all else that is written of it says nothing."""
        old, new = change.old, change.new
        if new is not None:
            self._seen.pop(("detachment", change.key), None)
        elif _is_seen(change):
            self._note("detachment", change.key)
        left = new is None or (old is not None and (old.belongs != new.belongs or self._is_moved(old, new)))
        if _is_seen(change) and left:
            self._note("cluster", change.latest.metadata.name)

    def decision(self, change: Change[PlacementDecision]) -> None:
        old, new = change.old, change.new
        if _is_seen(change) and (old is None or new is None or old.status != new.status):
            self._note("decision", change.latest.metadata.namespace)

    def unbound(self, namespace: str, cluster: str) -> float:
        """When something was last seen that takes a cluster out of what a namespace may use; -inf for never."""
        bound = self.bindings.by_index(BINDINGS_BY_NAMESPACE, namespace)
        groups = [item.spec.cluster_set for item in bound]
        about = [("binding", namespace), ("cluster", cluster), *(("set", group) for group in groups)]
        return self._latest(about)

    def unpicked(self, origin: FleetIdentity, cluster: str) -> float:
        """The same of what its Placement picks."""
        about = (("decision", origin.metadata.namespace), ("cluster", cluster), ("origin", key_of(origin)))
        return self._latest(about)

    def deleted(self, key: Key) -> bool:
        """Whether the deletion of an origin that is gone was seen."""
        return ("deletion", key) in self._seen

    def detached(self, cluster: str) -> bool:
        """Whether the deletion of a cluster that is gone was seen."""
        return ("detachment", cluster) in self._seen

    def _latest(self, about: Iterable[tuple[str, str]]) -> float:
        return max((self._seen.get(each, -math.inf) for each in about), default=-math.inf)

    def _is_moved(self, old: ManagedCluster, new: ManagedCluster) -> bool:
        return reach.is_moved(old, new, self.sets.values())

    def _note(self, kind: str, name: str) -> None:
        now = anyio.current_time()
        self._seen.pop((kind, name), None)
        self._seen[kind, name] = now
        for other in tuple(takewhile(lambda item: now - self._seen[item] > _REMEMBERED_SECONDS, self._seen)):
            del self._seen[other]


def _is_seen(change: Change[Any]) -> bool:
    return not change.initial and not change.missed


def _is_ending(change: Change[Any]) -> bool:
    return change.new is None or change.new.metadata.deletion_timestamp is not None


def _is_refused_now(change: Change[ManagedClusterSetBinding]) -> bool:
    return change.new is not None and change.new.is_refused and not (change.old and change.old.is_refused)


def _has_other_spec(change: Change[Any]) -> bool:
    return change.old is not None and change.new is not None and change.old.spec != change.new.spec
