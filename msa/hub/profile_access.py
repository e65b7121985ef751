"""How the cluster of one ClusterProfile is reached, for clients that get their credential from `cp-creds`. The key is `namespace/name`."""

import anyio
from attrs import frozen

from msa.api.clusterprofile import ClusterProfile
from msa.hub.fanout_causes import Causes
from msa.hub.profile_departures import Departures, Doubt, FreshHub
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
    causes: Causes
    fresh: FreshHub
    departures: Departures

    async def __call__(self, key: Key) -> Result:
        profile = self.caches.profiles.get(key)
        if profile is None:
            self.departures.forget(key)
            return Done()
        if not self.caches.groups.synced:
            return RequeueAfter(REFUSED_SECONDS)  # who may know the way cannot be told
        name = profile.metadata.name
        cluster = self.caches.clusters.get(name)
        if cluster is None and not self.causes.detached(name):
            return Done()  # it is only missing: OCM deletes the profile with the cluster
        may_use = self.caches.may_use(profile.metadata.namespace, name)
        providers = providers_to_publish(profile, cluster if may_use else None)
        barred = providers is not None and cluster is not None and cluster.belongs and not may_use
        if (seconds := await self._stays(key, profile, barred=barred)) is not None:
            return RequeueAfter(seconds)
        if providers is None:
            return Done()
        try:
            version = await self.hub.publish(profile, providers)
        except NotFound:
            return Done()  # it went meanwhile, and that comes by its own event
        self.freshness.wrote(key, self.caches.profiles, version, anyio.current_time())
        self.observer.published(key, withdrawn=not providers)
        return Done()

    async def _stays(self, key: Key, profile: ClusterProfile, *, barred: bool) -> float | None:
        """For how long the way is shown though no set with the cluster is bound there; None where it is not."""
        namespace, name = profile.metadata.namespace, profile.metadata.name

        async def stands() -> bool:
            return not await self.fresh.may_use(namespace, name)

        doubt = Doubt(profile, profile, self.causes.unbound(namespace, name), stands)
        return (await self.departures.of(key, {name: doubt} if barred else {}, 1)).seconds
