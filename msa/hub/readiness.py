"""`Ready` of each identity in a cluster's namespace, where its agent cannot say it: gather -> judge -> write. The key is `namespace/name`.

Level-triggered: what stood untrue while no manager ran is corrected at the next start.
"""

from datetime import datetime
from typing import Protocol

import anyio
from attrs import frozen

from msa.api import conditions, names
from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import Condition
from msa.hub.identity_writes import IdentityHub
from msa.policy.availability import Agent, agent_of, judgement, seconds_to_expiry, seconds_to_replacement
from msa.policy.readiness import manager_ready
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store

_LONGEST_LOOK = 86400.0
"""Timers are set anew at least daily, so that a clock that was set does no harm."""


class ReadinessObserver(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def changed(self, identity: FleetIdentity, ready: Condition) -> None:
        """`Ready` was written."""
        ...


@frozen
class ReadinessReconciler:
    """Corrects `Ready` of one identity.

    Attributes:
        addons: ours, on each cluster.
        now: wall time of the hub.
    """

    identities: Store[FleetIdentity]
    addons: Store[ManagedClusterAddOn]
    hub: IdentityHub
    freshness: Freshness
    observer: ReadinessObserver
    now: Now

    async def __call__(self, key: Key) -> Result:
        identity = self.identities.get(key)
        if identity is None or identity.metadata.deletion_timestamp is not None:
            return Done()
        cluster, now = identity.metadata.namespace, self.now()
        agent = agent_of(cluster, self.addons.get(f"{cluster}/{names.ADDON}"))
        if _correction(identity, agent, now) is not None:
            await self._correct(key, identity, agent)
        looks = (seconds_to_expiry(identity.status, now), seconds_to_replacement(identity.status, agent, now))
        coming = [seconds for seconds in looks if seconds is not None]
        return RequeueAfter(min(*coming, _LONGEST_LOOK)) if coming else Done()

    async def _correct(self, key: Key, identity: FleetIdentity, agent: Agent) -> None:
        try:
            whole = await self.hub.whole(identity.metadata) if identity.abridged else identity
            ready = _correction(whole, agent, self.now()) if whole is not None else None
            if whole is None or ready is None:
                return
            merged = conditions.merge(whole.status.conditions, (ready,), self.now())
            version = await self.hub.patch_status(whole.metadata, {"conditions": merged})
        except NotFound:
            return  # deleted meanwhile: the next event says so
        self.freshness.wrote(key, self.identities, version, anyio.current_time())
        self.observer.changed(whole, ready)


def _correction(identity: FleetIdentity, agent: Agent, now: datetime) -> Condition | None:
    found = judgement(identity.status, agent, now)
    if found is None and seconds_to_replacement(identity.status, agent, now) is not None:
        return None  # Ready is given back with the next token
    return manager_ready(identity.status, found)
