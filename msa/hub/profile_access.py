"""How the cluster of one ClusterProfile is reached, for clients that get their credential from `cp-creds`. The key is `namespace/name`."""

import anyio
from attrs import frozen

from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import ClusterProfile
from msa.hub.profile_ports import ProfileHub, ProfileObserver
from msa.hub.profiles import REFUSED_SECONDS, ProfileCaches
from msa.policy.profiles import providers_to_publish
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Done, Key, RequeueAfter, Result


@frozen
class AccessReconciler:
    """Publishes `status.accessProviders` where nobody else does."""

    caches: ProfileCaches
    hub: ProfileHub
    freshness: Freshness
    observer: ProfileObserver

    async def __call__(self, key: Key) -> Result:
        profile = self.caches.profiles.get(key)
        if profile is None:
            return Done()
        if not self.caches.groups.synced:
            return RequeueAfter(REFUSED_SECONDS)  # who may know the way cannot be told
        providers = providers_to_publish(profile, self._cluster(profile))
        if providers is None:
            return Done()
        try:
            version = await self.hub.publish(profile, providers)
        except NotFound:
            return Done()  # it went meanwhile, and that comes by its own event
        self.freshness.wrote(key, self.caches.profiles, version, anyio.current_time())
        self.observer.published(key, withdrawn=not providers)
        return Done()

    def _cluster(self, profile: ClusterProfile) -> ManagedCluster | None:
        """Whose way may be shown there."""
        namespace, name = profile.metadata.namespace, profile.metadata.name
        return self.caches.clusters.get(name) if self.caches.may_use(namespace, name) else None
