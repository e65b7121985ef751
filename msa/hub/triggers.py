"""Which keys are looked at when something changes on the hub."""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import anyio
from attrs import field, frozen

from msa.api import names, subjects
from msa.api.addon import LABEL_CLUSTER, ClusterManagementAddOn, DeploymentConfig, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.rbac import RoleBinding
from msa.api.work import Work
from msa.hub.addon import Caches
from msa.hub.allowance import Allowance, of_clusters
from msa.policy import relevance
from msa.policy.config_hashes import uses
from msa.policy.registration import running_in
from msa.runtime.events import KubeObject
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, Store

T = TypeVar("T", bound=KubeObject)

BY_CLUSTER: Final = "cluster"
"""Index of signing requests by the cluster that their label names."""


def cluster_of(request: SigningRequest) -> tuple[str, ...]:
    return (request.metadata.label(LABEL_CLUSTER),)


_REQUEST_BURST, _REQUEST_RATE, _REQUEST_LONGEST = 20, 5.0, 300.0
"""An agent asks once in months."""


@frozen
class Triggers:
    """Handlers of changes. A key is looked at when something has changed that it depends on: what else is in an object, others write often.

    Attributes:
        text_of: what a request asks for; None where it is not judged any more.
        addons: its keys are clusters.
        fleet: its one key is the addon.
        requests: its keys are signing requests.
    """

    caches: Caches
    signing: Store[SigningRequest]
    text_of: Callable[[SigningRequest], str | None]
    addons: WorkQueue
    fleet: WorkQueue
    requests: WorkQueue
    _by_cluster: Allowance = field(factory=of_clusters, init=False)
    _by_asker: Allowance = field(
        factory=lambda: Allowance(_REQUEST_BURST, _REQUEST_RATE, _REQUEST_LONGEST), init=False
    )

    def cluster(self, change: Change[ManagedCluster]) -> None:
        name = change.latest.metadata.name
        if differs(change, relevance.of_cluster):
            self._look_at(name, initial=change.initial)
        if differs(change, relevance.of_cluster_for_requests):
            self._judge_again(name, _lane(initial=change.initial))

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        cluster = change.latest.metadata.namespace
        if differs(change, relevance.of_addon):
            self._look_at(cluster, initial=change.initial)
        if differs(change, relevance.of_addon_for_requests):
            self._judge_again(cluster, _lane(initial=change.initial))

    def work(self, change: Change[Work]) -> None:
        if differs(change, relevance.of_work):
            self._look_at(change.latest.metadata.namespace, initial=change.initial)

    def identities_work(self, change: Change[Work]) -> None:
        """Trouble with it is told. The rest of it counts where the addon's namespace, or the agent's ManifestWork, waits for it."""
        cluster = change.latest.metadata.namespace
        before, after = (relevance.of_identities_work_for_addon(item) for item in (change.old, change.new))
        if before != after or self._waits_for_identities_work(cluster):
            self._look_at(cluster, initial=change.initial)

    def binding(self, change: Change[RoleBinding]) -> None:
        if differs(change, relevance.of_binding):
            self._look_at(change.latest.metadata.namespace, initial=change.initial)

    def request(self, change: Change[SigningRequest]) -> None:
        if not differs(change, relevance.of_request):
            return
        key, asker = Key(change.latest.metadata.name), subjects.asker(change.latest.spec.username)
        if change.initial or change.new is None or change.new.decided:
            self.requests.add(key, _lane(initial=change.initial))
        else:
            self.requests.add_after(key, self._by_asker.wait(asker, anyio.current_time()))

    def fleet_addon(self, change: Change[ClusterManagementAddOn]) -> None:
        self.fleet.add(Key(names.ADDON), _lane(initial=change.initial))
        before, after = change.old, change.new
        if before is None or after is None or before.metadata.generation != after.metadata.generation:
            self._everywhere(self.caches.addons.values())

    def config(self, change: Change[DeploymentConfig]) -> None:
        if not differs(change, relevance.of_config):
            return
        self.fleet.add(Key(names.ADDON), _lane(initial=change.initial))
        metadata = change.latest.metadata
        self._everywhere(
            addon for addon in self.caches.addons.values() if uses(addon, metadata.namespace, metadata.name)
        )

    def pull_secret(self, change: Change[Secret]) -> None:
        if differs(change, relevance.of_pull_secret):
            self._everywhere(self.caches.addons.values())

    def _waits_for_identities_work(self, cluster: str) -> bool:
        addon = self.caches.addons.get(f"{cluster}/{names.ADDON}")
        work = self.caches.works.get(f"{cluster}/{names.DEPLOY_WORK}")
        unplaced = addon is not None and not running_in(addon, ())
        return unplaced or (work is not None and work.carries_anchor)

    def _look_at(self, cluster: str, *, initial: bool) -> None:
        if initial:
            self.addons.add(Key(cluster), Lane.INITIAL)
        else:
            self.addons.add_after(Key(cluster), self._by_cluster.wait(cluster, anyio.current_time()))

    def _judge_again(self, cluster: str, lane: Lane) -> None:
        for request in self.signing.by_index(BY_CLUSTER, cluster):
            if not request.decided and self.text_of(request) is not None:
                self.requests.add(Key(request.metadata.name), lane)

    def _everywhere(self, addons: Iterable[ManagedClusterAddOn]) -> None:
        """Behind whatever happens on single clusters meanwhile."""
        for addon in addons:
            self.addons.add(Key(addon.metadata.namespace), Lane.INITIAL)


def _lane(*, initial: bool) -> Lane:
    return Lane.INITIAL if initial else Lane.LIVE


def differs(change: Change[T], of: Callable[[T], object]) -> bool:
    """Whether the object came, went, or is another now in the parts that something depends on."""
    old, new = change.old, change.new
    return old is None or new is None or of(old) != of(new)
