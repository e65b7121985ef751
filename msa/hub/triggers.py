"""Which keys are looked at when something changes on the hub."""

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from msa.api import names
from msa.api.addon import LABEL_CLUSTER, ClusterManagementAddOn, DeploymentConfig, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.rbac import RoleBinding
from msa.api.work import Work
from msa.hub.addon import Caches
from msa.policy.config_hashes import uses
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, Store

BY_CLUSTER: Final = "cluster"
"""Index of signing requests by the cluster that their label names."""


def cluster_of(request: SigningRequest) -> tuple[str, ...]:
    return (request.metadata.label(LABEL_CLUSTER),)


@frozen
class Triggers:
    """Handlers of changes.

    Attributes:
        addons: its keys are clusters.
        fleet: its one key is the addon.
        requests: its keys are signing requests.
    """

    caches: Caches
    signing: Store[SigningRequest]
    addons: WorkQueue
    fleet: WorkQueue
    requests: WorkQueue

    def cluster(self, change: Change[ManagedCluster]) -> None:
        self._about(change.latest.metadata.name, _lane(initial=change.initial))

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        self._about(change.latest.metadata.namespace, _lane(initial=change.initial))

    def owned(self, change: Change[Work] | Change[RoleBinding]) -> None:
        self.addons.add(Key(change.latest.metadata.namespace), _lane(initial=change.initial))

    def request(self, change: Change[SigningRequest]) -> None:
        self.requests.add(Key(change.latest.metadata.name), _lane(initial=change.initial))

    def fleet_addon(self, change: Change[ClusterManagementAddOn]) -> None:
        self.fleet.add(Key(names.ADDON), _lane(initial=change.initial))
        before, after = change.old, change.new
        if before is None or after is None or before.metadata.generation != after.metadata.generation:
            self._everywhere(self.caches.addons.values())

    def config(self, change: Change[DeploymentConfig]) -> None:
        self.fleet.add(Key(names.ADDON), _lane(initial=change.initial))
        metadata = change.latest.metadata
        self._everywhere(
            addon for addon in self.caches.addons.values() if uses(addon, metadata.namespace, metadata.name)
        )

    def pull_secret(self, _change: Change[Secret]) -> None:
        self._everywhere(self.caches.addons.values())

    def _about(self, cluster: str, lane: Lane) -> None:
        self.addons.add(Key(cluster), lane)
        for request in self.signing.by_index(BY_CLUSTER, cluster):
            if not request.decided:
                self.requests.add(Key(request.metadata.name), lane)

    def _everywhere(self, addons: Iterable[ManagedClusterAddOn]) -> None:
        """Behind whatever happens on single clusters meanwhile."""
        for addon in addons:
            self.addons.add(Key(addon.metadata.namespace), Lane.INITIAL)


def _lane(*, initial: bool) -> Lane:
    return Lane.INITIAL if initial else Lane.LIVE
