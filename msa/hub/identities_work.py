"""The ManifestWork of each cluster that carries what its identities hang on; the key is the cluster's name (docs/adr/0011).

It is created wherever OCM has made the addon ours, whoever deploys the agent, and never deleted here: it goes with the
ManagedClusterAddOn that owns it, and with nothing else.
"""

import anyio
import structlog
from attrs import field, frozen

from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.api.work import Work
from msa.hub import render
from msa.hub.allowance import Allowance, of_clusters
from msa.hub.objects import Objects, create, rewrite
from msa.hub.triggers import differs
from msa.policy import relevance
from msa.policy.registration import is_ours
from msa.runtime.freshness import Freshness
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Change, Store

_log = structlog.get_logger(__name__)


@frozen
class IdentitiesWorkReconciler:
    """Keeps it as it should be, in the namespace where the addon is installed."""

    addons: Store[ManagedClusterAddOn]
    works: Store[Work]
    objects: Objects
    freshness: Freshness

    async def __call__(self, key: Key) -> Result:
        addon = self.addons.get(f"{key}/{names.ADDON}")
        if addon is None or not _is_installed(addon):
            return Done()
        stored = self.works.get(f"{key}/{names.IDENTITIES_WORK}")
        wanted = render.identities_work(addon, addon.status.namespace)
        if stored is None or not render.is_rendered(stored, wanted):
            await self._put(key, stored, wanted)
        return Done()

    async def _put(self, key: Key, stored: Work | None, wanted: render.Manifest) -> None:
        if stored is None:
            version = await create(self.objects, wanted)
        else:
            version = await rewrite(self.objects, stored.metadata, wanted)
        _log.info("identities_work_written", cluster=key, new=stored is None)
        self.freshness.wrote(key, self.works, version, anyio.current_time())


@frozen
class Triggers:
    """Handlers of changes. The key is looked at when something has changed that the work depends on, and seldom however often that is."""

    queue: WorkQueue
    _by_cluster: Allowance = field(factory=of_clusters, init=False)

    def addon(self, change: Change[ManagedClusterAddOn]) -> None:
        installed = change.new is not None and _is_installed(change.new)
        if installed and differs(change, relevance.of_addon_for_identities):
            self._look_at(change)

    def work(self, change: Change[Work]) -> None:
        if differs(change, relevance.of_identities_work):
            self._look_at(change)

    def _look_at(self, change: Change[ManagedClusterAddOn] | Change[Work]) -> None:
        cluster = change.latest.metadata.namespace
        if change.initial:
            self.queue.add(Key(cluster), Lane.INITIAL)
        else:
            self.queue.add_after(Key(cluster), self._by_cluster.wait(cluster, anyio.current_time()))


def _is_installed(addon: ManagedClusterAddOn) -> bool:
    """The namespace comes from the addon's status, which the cluster's side may write."""
    there = names.NAMESPACE_NAME.fullmatch(addon.status.namespace) is not None
    return there and is_ours(addon) and addon.metadata.deletion_timestamp is None
