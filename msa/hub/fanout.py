"""One ManagedServiceAccount on all clusters that its namespace may use: gather -> decide -> act -> status. The key is its own.

Level-triggered and idempotent. Which objects are its children is proved by their labels alone; what is remembered here is only to be
patient.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

import anyio
from attrs import field, frozen

from msa.api import names
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.hub.fanout_caches import FanOutCaches, is_fanned_out
from msa.hub.fanout_children import Children
from msa.hub.fanout_observer import FanOutObserver
from msa.hub.identity_writes import IdentityHub
from msa.policy import fanout, fanout_status
from msa.policy.addon_status import changes
from msa.policy.ephemeral import end_of_life
from msa.policy.fanout_status import is_news
from msa.policy.reach import Unreached
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result

_STATUS_SECONDS = 1.0
"""At most one status of an object in this time, however many clusters report meanwhile."""

_ORPHAN_GRACE = timedelta(minutes=10)
"""For so long children may be there without their origin: a backup is restored in an order of its own."""

_LONGEST_LOOK = timedelta(days=1).total_seconds()


@frozen
class FanOutReconciler:
    """Keeps the children of one ManagedServiceAccount as it says.

    Attributes:
        hub_now: wall time of the hub, at least that.
        ephemeral: whether its life ends with its TTL, and theirs with it.
    """

    caches: FanOutCaches
    hub: IdentityHub
    children: Children
    freshness: Freshness
    observer: FanOutObserver
    now: Now
    hub_now: Now
    ephemeral: bool
    _reported: dict[Key, float] = field(init=False, factory=dict)

    async def __call__(self, key: Key) -> Result:
        origin = self.caches.identities.get(key)
        if origin is None:
            return await self._sweep(key)
        if origin.metadata.deletion_timestamp is not None:
            return await self._withdraw(key, origin, "it is being deleted")
        if self.caches.is_clusters(origin.metadata.namespace):
            return await self._relinquish(key, origin)
        if (left := self._life_left(origin)) is not None and left <= 0:
            await self.hub.delete(origin.metadata)
            return Done()
        match self.caches.reach(origin):
            case Unreached() as found:
                result = await self._stay(key, origin, found)
            case clusters:
                result = await self._spread(key, origin, clusters)
        return sooner(result, left)

    async def _sweep(self, key: Key) -> Result:
        """Children whose origin went without a word: its finalizer was taken away by hand."""
        self._reported.pop(key, None)
        self.children.forget(key)
        orphans = self.caches.children(key)
        created = [item.metadata.creation_timestamp for item in orphans]
        newest = max((moment for moment in created if moment is not None), default=None)
        left = self._seconds_to([newest + _ORPHAN_GRACE]) if newest is not None else None
        if left is not None:
            return RequeueAfter(left)
        await self.children.remove(key, orphans, "it is gone")
        return Done()

    async def _withdraw(self, key: Key, origin: FleetIdentity, why: str) -> Result:
        """Takes the children away, then lets go. Deleted is enough: neither a dead cluster nor a foreign finalizer holds it up."""
        await self.children.remove(key, self.caches.children_of(origin), why)
        if is_fanned_out(origin):
            kept = tuple(item for item in origin.metadata.finalizers if item != names.FAN_OUT_FINALIZER)
            await self._set_finalizers(key, origin, kept)
        return Done()

    async def _relinquish(self, key: Key, origin: FleetIdentity) -> Result:
        """In a cluster's own namespace it is the agent's, whatever it was before."""
        if is_fanned_out(origin):
            return await self._withdraw(key, origin, "its namespace is a managed cluster's now")
        if origin.status.fan_out is not None:
            await self._write_status(key, origin, fanout_status.relinquished(origin))
        return Done()

    async def _stay(self, key: Key, origin: FleetIdentity, found: Unreached) -> Result:
        """Says why there are no clusters, and takes away what may not stay."""
        if found.stay == frozenset() and (is_fanned_out(origin) or self.caches.children_of(origin)):
            return await self._withdraw(key, origin, found.reason)
        if found.stay is not None:
            await self._leave(key, origin, found.stay, found.reason)
        return await self._report(key, origin, fanout_status.wanted(origin, found, self.now()))

    async def _leave(self, key: Key, origin: FleetIdentity, clusters: frozenset[str], why: str) -> None:
        children = self.caches.children_of(origin)
        gone = [item for item in children if item.metadata.namespace not in clusters]
        await self.children.remove(key, gone, why)

    async def _spread(self, key: Key, origin: FleetIdentity, clusters: frozenset[str]) -> Result:
        if not is_fanned_out(origin):
            await self._set_finalizers(key, origin, (*origin.metadata.finalizers, names.FAN_OUT_FINALIZER))
            return Done()  # its own event brings it back, with the version that the next write needs
        await self._leave(key, origin, clusters, "the clusters are not among those selected any more")
        stored = self.caches.there(origin, clusters)
        waiting = self._waiting(key, origin, clusters, stored)
        plan = fanout.plan(origin, clusters, stored, waiting, self.now())
        await self.children.write(key, origin, plan, partial(self._wrote, key))
        stored = self.caches.there(origin, clusters)
        setbacks = self.children.setbacks(key, _behind(origin, clusters, stored))
        failed = {name: item.error for name, item in setbacks.items() if item.told}
        spread = fanout_status.spread(origin, clusters, stored, failed, self.now())
        result = await self._report(key, origin, fanout_status.wanted(origin, spread, self.now()))
        tries = min((item.until for item in setbacks.values()), default=None)
        again = sooner(result, tries - anyio.current_time() if tries is not None else None)
        ends = (item.status.expiration_timestamp for item in stored.values())
        return sooner(again, self._seconds_to(item for item in (plan.due, *ends) if item is not None))

    def _waiting(
        self, key: Key, origin: FleetIdentity, clusters: frozenset[str], stored: Mapping[str, FleetIdentity]
    ) -> frozenset[str]:
        """The clusters that could not be written, and are not tried again yet."""
        setbacks, now = self.children.setbacks(key, _behind(origin, clusters, stored)), anyio.current_time()
        return frozenset(name for name, item in setbacks.items() if item.until > now)

    def _wrote(self, key: Key, version: str) -> None:
        self.freshness.wrote(key, self.caches.identities, version, anyio.current_time())

    def _life_left(self, origin: FleetIdentity) -> float | None:
        ends = end_of_life(origin) if self.ephemeral else None
        return (ends - self.hub_now()).total_seconds() if ends is not None else None

    def _seconds_to(self, moments: Iterable[datetime]) -> float | None:
        """Until the first of them; None where there is none ahead."""
        left = ((moment - self.now()).total_seconds() for moment in moments)
        return min((seconds for seconds in left if seconds > 0), default=None)

    async def _set_finalizers(self, key: Key, origin: FleetIdentity, finalizers: tuple[str, ...]) -> None:
        try:
            version = await self.hub.patch(origin.metadata, {"metadata": {"finalizers": finalizers}})
        except NotFound:
            return  # gone meanwhile: the next event says so
        self._wrote(key, version)

    async def _report(self, key: Key, origin: FleetIdentity, wanted: FanOutStatus) -> Result:
        if wanted == origin.status:
            return Done()
        due = self._reported.get(key, -_STATUS_SECONDS) + _STATUS_SECONDS
        if (pause := due - anyio.current_time()) > 0:
            return RequeueAfter(pause)
        await self._write_status(key, origin, wanted)
        self._reported[key] = anyio.current_time()
        return Done()

    async def _write_status(self, key: Key, origin: FleetIdentity, wanted: FanOutStatus) -> None:
        try:
            version = await self.hub.patch_status(origin.metadata, changes(origin.status, wanted))
        except NotFound:
            return
        self._wrote(key, version)
        for condition in wanted.conditions:
            if is_news(origin.status, condition):
                self.observer.condition(origin, condition)


def _behind(
    origin: FleetIdentity, clusters: frozenset[str], stored: Mapping[str, FleetIdentity]
) -> frozenset[str]:
    """The clusters where something must still be written."""
    return clusters - {name for name, item in stored.items() if fanout.follows(item, origin)}


def sooner(result: Result, seconds: float | None) -> Result:
    """The same, with another look after so many seconds at the latest."""
    if seconds is None:
        return result
    asked = result.seconds if isinstance(result, RequeueAfter) else _LONGEST_LOOK
    return RequeueAfter(max(0.0, min(asked, seconds)))
