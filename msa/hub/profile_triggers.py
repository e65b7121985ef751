"""Which copies and profiles are looked at when something on the hub changes."""

from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import ClusterProfile, SecretFacts
from msa.api.clusterset import ManagedClusterSet, ManagedClusterSetBinding
from msa.api.fleet_identity import FleetIdentity
from msa.hub.profiles import BY_NAME, BY_NAMESPACE, ProfileCaches
from msa.policy.profiles import is_asked_for, is_our_access, made_for, represents
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, key_of

BY_CLUSTER: Final = "cluster"
"""Index of copies by the cluster that they are for."""


_BARRED_SECONDS: Final = 10.0


def name_of(kept: ClusterProfile | SecretFacts) -> tuple[str, ...]:
    return (kept.metadata.name,)


def namespace_of(profile: ClusterProfile) -> tuple[str, ...]:
    return (profile.metadata.namespace,)


def published_of(profile: ClusterProfile) -> tuple[str, ...]:
    return ("",) if is_our_access(profile) else ()


def cluster_of(copy: SecretFacts) -> tuple[str, ...]:
    key = made_for(copy)
    return (key.partition("/")[0],) if key is not None else ()


@frozen
class ProfileTriggers:
    """Handlers of changes.

    Attributes:
        copies: its keys are `cluster/identity`.
        access: its keys are profiles; None where access is not published.
        _asked: the identities whose copies are asked for, by cluster: few of many, whose status changes often.
    """

    caches: ProfileCaches
    copies: WorkQueue
    access: WorkQueue | None
    _asked: dict[str, set[Key]] = field(factory=dict, init=False)

    def identity(self, change: Change[FleetIdentity]) -> None:
        namespace = change.latest.metadata.namespace
        before = change.key in self._asked.get(namespace, ())
        after = change.new is not None and is_asked_for(change.new)
        if after:
            self._asked.setdefault(namespace, set()).add(change.key)
        elif before:
            self._forget(namespace, change.key)
        if before or after:
            self.copies.add(change.key, _lane(initial=change.initial))

    def source(self, change: Change[SecretFacts]) -> None:
        if change.key in self._asked.get(change.latest.metadata.namespace, ()):
            self.copies.add(change.key, _lane(initial=change.initial))

    def copy(self, change: Change[SecretFacts]) -> None:
        for state in (change.old, change.new):
            if state is not None and (key := made_for(state)) is not None:
                self.copies.add(Key(key), _lane(initial=change.initial))

    def profile(self, change: Change[ClusterProfile]) -> None:
        lane = _lane(initial=change.initial)
        if self.access is not None:
            self.access.add(change.key, lane)
        before, after = change.old, change.new
        if before is None or after is None or _target(before) != _target(after):
            self._beside(change.latest, lane)

    def binding(self, change: Change[ManagedClusterSetBinding]) -> None:
        self._within((change.latest.metadata.namespace,), _lane(initial=change.initial))

    def cluster_set(self, change: Change[ManagedClusterSet]) -> None:
        if change.old is None or change.new is None or change.old.spec != change.new.spec:
            namespaces = self.caches.groups.namespaces_of(change.latest.metadata.name)
            self._within(namespaces, _lane(initial=change.initial))

    def cluster(self, change: Change[ManagedCluster]) -> None:
        name, lane = change.latest.metadata.name, _lane(initial=change.initial)
        before, after = change.old, change.new
        belonged, belongs = (state is not None and state.belongs for state in (before, after))
        if belonged != belongs:  # its own namespace is a cluster's now, or no more
            self._within((name,), lane)
        regrouped = before is None or after is None or self.caches.groups.is_moved(before, after)
        if regrouped or belonged != belongs:
            self._all_of(name, lane)
        moved = before is None or after is None or before.spec != after.spec
        if self.access is not None and (moved or regrouped or belonged != belongs):
            for profile in self.caches.profiles.by_index(BY_NAME, name):
                self.access.add(key_of(profile), lane)

    def _beside(self, profile: ClusterProfile, lane: Lane) -> None:
        """Where no credential may be, whoever writes profiles as fast as he can causes no more than a look now and then."""
        metadata = profile.metadata
        if self.caches.may_use(metadata.namespace, metadata.name):
            self._all_of(metadata.name, lane)
            return
        for key in self._keys_of(metadata.name):
            self.copies.add_after(key, _BARRED_SECONDS, lane)

    def _within(self, namespaces: Iterable[str], lane: Lane) -> None:
        """What the profiles there may have is to be told anew."""
        for namespace in namespaces:
            for profile in self.caches.profiles.by_index(BY_NAMESPACE, namespace):
                self._all_of(profile.metadata.name, lane)
                if self.access is not None:
                    self.access.add(key_of(profile), lane)

    def _all_of(self, cluster: str, lane: Lane) -> None:
        for key in self._keys_of(cluster):
            self.copies.add(key, lane)

    def _keys_of(self, cluster: str) -> set[Key]:
        copies = self.caches.copies.by_index(BY_CLUSTER, cluster)
        made = (Key(key) for copy in copies if (key := made_for(copy)) is not None)
        return {*self._asked.get(cluster, ()), *made}

    def _forget(self, namespace: str, key: Key) -> None:
        asked = self._asked[namespace]
        asked.discard(key)
        if not asked:
            del self._asked[namespace]


def _target(profile: ClusterProfile) -> tuple[str, bool, str]:
    """What copies depend on; conditions and providers change more often."""
    metadata = profile.metadata
    return metadata.uid, represents(profile), metadata.annotation(names.ANNOTATION_RELEASE)


def _lane(*, initial: bool) -> Lane:
    return Lane.INITIAL if initial else Lane.LIVE
