"""Which identities' `Ready` is judged again when something changes on the hub."""

import anyio
from attrs import field, frozen

from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FleetIdentity
from msa.hub.allowance import Allowance, of_clusters, of_identities
from msa.hub.fanout_caches import PLACES
from msa.policy.availability import agent_of
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, Store, key_of


@frozen
class Triggers:
    """Handlers of changes.

    Attributes:
        queue: its keys are ManagedServiceAccounts, `namespace/name`.
    """

    identities: Store[FleetIdentity]
    queue: WorkQueue
    _by_cluster: Allowance = field(factory=of_clusters, init=False)
    _share: Allowance = field(factory=of_identities, init=False)

    def identity(self, change: Change[FleetIdentity]) -> None:
        """A cluster that writes its own over ours again and again is answered twice a second.

        Where nobody has said anything yet, as on a new one, nothing can be untrue.
        """
        if change.new is None or not change.new.status.conditions:
            return
        if change.initial:
            self.queue.add(change.key, Lane.INITIAL)
        elif change.old is None or change.old.status != change.new.status:
            cluster = change.latest.metadata.namespace
            self._look_at(change.key, cluster, self._by_cluster.wait(cluster, anyio.current_time()))

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        """Whether the agent is available the cluster itself says, as often as it likes; whether there is one the hub alone does."""
        cluster = change.latest.metadata.namespace
        before, after = agent_of(cluster, change.old), agent_of(cluster, change.new)
        if change.initial or before == after:
            return  # at the start every identity is looked at anyway
        for identity in self.identities.by_index(PLACES, cluster):
            if before.installed and after.installed:
                self._look_at(key_of(identity), cluster, 0.0)
            else:
                self.queue.add(key_of(identity), Lane.LIVE)

    def _look_at(self, key: Key, cluster: str, least: float) -> None:
        """What goes beyond the cluster's share waits, behind what others cause."""
        wait = self._share.wait(cluster, anyio.current_time())
        self.queue.add_after(key, max(least, wait), Lane.INITIAL if wait > 0 else Lane.LIVE)
