"""Says of a ManagedServiceAccount which of its fields the manager ignores. The key is its own."""

from typing import Protocol

import anyio
from attrs import field, frozen

from msa.api.cluster import ManagedCluster
from msa.api.fleet_identity import FleetIdentity
from msa.hub.allowance import Allowance, of_identities
from msa.hub.fanout_caches import PLACES, FanOutCaches
from msa.hub.identity_notices import Notices
from msa.policy.ignored_fields import FIELDS_IGNORED, has_said, ignored, is_others
from msa.policy.notices import Notice
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Change, key_of


class FieldsObserver(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def ignored(self, identity: FleetIdentity, notice: Notice) -> None:
        """It was said which fields are ignored."""
        ...


@frozen
class Judge:
    """What is ignored of an identity, by where it is and by the gates.

    Attributes:
        copies: whether credentials are copied to ClusterProfiles.
    """

    caches: FanOutCaches
    copies: bool

    def __call__(self, identity: FleetIdentity) -> Notice | None:
        in_cluster = self.caches.is_clusters(identity.metadata.namespace)
        return ignored(identity, in_cluster=in_cluster, copies=self.copies)


@frozen
class FieldsTriggers:
    """Handlers of changes: of tens of thousands of identities only the few that say something, or should, are looked at."""

    judge: Judge
    queue: WorkQueue
    _share: Allowance = field(factory=of_identities, init=False)

    def identity(self, change: Change[FleetIdentity]) -> None:
        """A cluster that takes away what is said again and again waits, behind others."""
        if change.new is None or not self._matters(change.new):
            return
        if change.initial:
            self.queue.add(change.key, Lane.INITIAL)
            return
        wait = self._share.wait(change.latest.metadata.namespace, anyio.current_time())
        self.queue.add_after(change.key, wait, Lane.INITIAL if wait > 0 else Lane.LIVE)

    def cluster(self, change: Change[ManagedCluster]) -> None:
        """Its namespace is a cluster's now, or no more."""
        before, after = (state is not None and state.belongs for state in (change.old, change.new))
        if before != after:
            for identity in self.judge.caches.identities.by_index(PLACES, change.latest.metadata.name):
                if self._matters(identity):
                    self.queue.add(key_of(identity), Lane.INITIAL)

    def _matters(self, identity: FleetIdentity) -> bool:
        return has_said(identity) or self.judge(identity) is not None


@frozen
class FieldsReconciler:
    """Keeps the condition `FieldsIgnored` as long as something is ignored."""

    judge: Judge
    notices: Notices
    observer: FieldsObserver

    async def __call__(self, key: Key) -> Result:
        identity = self.judge.caches.identities.get(key)
        if identity is None or identity.metadata.deletion_timestamp is not None or is_others(identity):
            return Done()
        notice = self.judge(identity)
        if await self.notices.write(key, identity, FIELDS_IGNORED, notice) and notice is not None:
            self.observer.ignored(identity, notice)
        return Done()
