"""Which identities' `Ready` is judged again when something changes on the hub."""

import anyio
from attrs import field, frozen

from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FleetIdentity
from msa.hub.allowance import Allowance, of_clusters
from msa.hub.fanout_caches import PLACES
from msa.policy.availability import agent_of
from msa.runtime.queue import Lane, WorkQueue
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

    def identity(self, change: Change[FleetIdentity]) -> None:
        """A cluster that writes its own over ours again and again is answered twice a second."""
        if change.initial:
            self.queue.add(change.key, Lane.INITIAL)
        elif change.old is None or change.new is None or change.old.status != change.new.status:
            cluster = change.latest.metadata.namespace
            self.queue.add_after(change.key, self._by_cluster.wait(cluster, anyio.current_time()))

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        cluster = change.latest.metadata.namespace
        if change.initial or agent_of(cluster, change.old) == agent_of(cluster, change.new):
            return  # at the start every identity is looked at anyway
        for identity in self.identities.by_index(PLACES, cluster):
            self.queue.add(key_of(identity), Lane.LIVE)
