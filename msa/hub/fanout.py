"""One ManagedServiceAccount on all clusters that its namespace may use: gather -> decide -> act -> status. The key is its own.

Level-triggered and idempotent. Which objects are its children is proved by their labels alone; what is remembered here is only to be
patient.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial

import anyio
from attrs import field, frozen

from msa.api import conditions, names
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.hub.fanout_caches import FanOutCaches, is_fanned_out
from msa.hub.fanout_children import Children
from msa.hub.fanout_departures import Departures, Where
from msa.hub.fanout_observer import FanOutObserver
from msa.hub.fanout_places import Places
from msa.hub.identity_writes import IdentityHub
from msa.policy import fanout, fanout_status
from msa.policy.ephemeral import end_of_life
from msa.policy.fanout import Held
from msa.policy.fanout_status import Spread
from msa.policy.reach import Reach, Unreached
from msa.policy.readiness import READY
from msa.runtime.errors import NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result

_STATUS_SECONDS = 1.0
"""At most one status of an object in this time, however many clusters report meanwhile."""

_ORPHAN_SECONDS = 600.0
"""For so long children may be there without their origin: a backup is restored in an order of its own."""

_UNKNOWN_SECONDS = 60.0
_LONGEST_LOOK = timedelta(days=1).total_seconds()


@frozen
class FanOutReconciler:
    """Keeps the children of one ManagedServiceAccount as it says.

    Attributes:
        hub_now: wall time of the hub, at least that.
        ephemeral: whether its life ends with its TTL, and theirs with it.
        _reported: monotonic seconds of the last status.
        _missed: since when children are there without their origin.
        _uids: of the origins, to find children that have lost their other label.
    """

    caches: FanOutCaches
    hub: IdentityHub
    children: Children
    departures: Departures
    freshness: Freshness
    observer: FanOutObserver
    now: Now
    hub_now: Now
    ephemeral: bool
    _reported: dict[Key, float] = field(init=False, factory=dict)
    _missed: dict[Key, float] = field(init=False, factory=dict)
    _uids: dict[Key, str] = field(init=False, factory=dict)
    _places: Places = field(init=False, factory=Places)

    async def __call__(self, key: Key) -> Result:
        origin = self.caches.identities.get(key)
        if origin is None:
            return await self._sweep(key)
        self._missed.pop(key, None)
        self._uids[key] = origin.metadata.uid
        if origin.metadata.deletion_timestamp is not None:
            return await self._withdraw(key, origin, "this ManagedServiceAccount is being deleted")
        if self.caches.is_clusters(origin.metadata.namespace):
            return await self._relinquish(key, origin)
        if (left := self._life_left(origin)) is not None and left <= 0:
            await self.hub.delete(origin.metadata)
            return Done()
        return sooner(await self._follow(key, origin), left)

    async def _follow(self, key: Key, origin: FleetIdentity) -> Result:
        match self.caches.reach(origin):
            case Unreached() if fanout_status.is_agents(origin) and not is_fanned_out(origin):
                return (
                    Done()
                )  # its cluster is gone, or missing from a list: what its agent reported is not touched
            case Unreached() as found:
                return await self._stay(key, origin, found)
            case reach:
                return await self._spread(key, origin, reach)

    async def _sweep(self, key: Key) -> Result:
        """Children whose origin went without a word: somebody took its finalizer away, or the hub was restored without it."""
        self._reported.pop(key, None)
        self._places.forget(key)
        self.children.forget(key)
        orphans, now = self.caches.orphans(key, self._uids.get(key, "")), anyio.current_time()
        if not orphans:
            self._missed.pop(key, None)
            self._uids.pop(key, None)
            self.departures.forget(key)
            return Done()
        since = self._missed.setdefault(key, now)
        left = since + _ORPHAN_SECONDS - now
        if left <= 0:
            left = await self.departures.orphans(key, orphans, since)
        if left > 0:
            return RequeueAfter(left)
        if count := await self.children.remove(orphans):
            self.observer.swept(key, count)
        return Done()

    async def _withdraw(self, key: Key, origin: FleetIdentity, why: str) -> Result:
        """Takes the children away, then lets go. Deleted is enough: neither a dead cluster nor a foreign finalizer holds it up."""
        await self._remove(origin, self.caches.children_of(origin), why)
        if is_fanned_out(origin):
            kept = tuple(item for item in origin.metadata.finalizers if item != names.FAN_OUT_FINALIZER)
            await self._set_finalizers(key, origin, kept)
        return Done()

    async def _relinquish(self, key: Key, origin: FleetIdentity) -> Result:
        """In a cluster's own namespace it is the agent's, whatever it was before."""
        if is_fanned_out(origin):
            return await self._withdraw(key, origin, "its namespace is a managed cluster's own now")
        if origin.status.fan_out is not None:
            await self._write_status(key, origin, fanout_status.relinquished)
        return Done()

    async def _stay(self, key: Key, origin: FleetIdentity, found: Unreached) -> Result:
        """Says why there are no clusters, and takes away what may not stay."""
        left = (
            None
            if found.stay is None
            else await self._leave(key, origin, found.stay, found.stay, found.message)
        )
        standing = any(item.metadata.deletion_timestamp is None for item in self.caches.children_of(origin))
        if found.stay == frozenset() and is_fanned_out(origin) and left is None and not standing:
            return await self._withdraw(key, origin, found.message)
        result = await self._report(key, origin, found)
        # That what could not be read can be is no change of anything, where it is empty.
        return sooner(result, _UNKNOWN_SECONDS if found.stay is None else left)

    async def _spread(self, key: Key, origin: FleetIdentity, reach: Reach) -> Result:
        if not is_fanned_out(origin):
            await self._set_finalizers(key, origin, (*origin.metadata.finalizers, names.FAN_OUT_FINALIZER))
            return Done()  # its own event brings it back, with the version that the next write needs
        now, clusters = self.now(), reach.clusters
        left = await self._leave(key, origin, clusters, reach.bound, "no longer selected")
        stored = self.caches.there(origin, clusters)
        held = self._held(key, origin, clusters, stored)
        plan = fanout.plan(origin, clusters, stored, held, now)
        self._places.take(key, origin, plan.holding, now)
        await self.children.write(key, origin, plan, partial(self._wrote, key))
        stored = self.caches.there(origin, clusters)
        setbacks = self.children.setbacks(key, fanout.behind(origin, clusters, stored))
        failed = {name: item.error for name, item in setbacks.items() if item.told}
        spread = fanout_status.spread(origin, clusters, stored, failed, now)
        result = await self._report(key, origin, spread)
        # Of the others, none is tried before something else happens: its turn comes, or what stands in its way goes.
        tried = held.waiting | plan.tried
        tries = (item.until - anyio.current_time() for name, item in setbacks.items() if name in tried)
        ends = (item.status.expiration_timestamp for item in stored.values())
        ahead = (moment for moment in (plan.due, *ends) if moment is not None and moment > now)
        dues = (left, *tries, *((moment - self.now()).total_seconds() for moment in ahead))
        return sooner(result, min((seconds for seconds in dues if seconds is not None), default=None))

    async def _leave(
        self, key: Key, origin: FleetIdentity, stay: frozenset[str], bound: frozenset[str], why: str
    ) -> float | None:
        """Takes children away from where it does not belong; seconds until the next of them is due."""
        departure = await self.departures.of(key, origin, Where(stay, bound))
        await self._remove(origin, departure.gone, why)
        return departure.seconds

    async def _remove(self, origin: FleetIdentity, children: Sequence[FleetIdentity], why: str) -> None:
        if count := await self.children.remove(children):
            self.observer.withdrawn(origin, count, why)

    def _held(
        self, key: Key, origin: FleetIdentity, clusters: frozenset[str], stored: Mapping[str, FleetIdentity]
    ) -> Held:
        """The clusters that could not be written, and are not tried again yet."""
        setbacks, now = (
            self.children.setbacks(key, fanout.behind(origin, clusters, stored)),
            anyio.current_time(),
        )
        waiting = {name: item for name, item in setbacks.items() if item.until > now}
        unclear = frozenset(name for name, item in waiting.items() if not item.told)
        return Held(frozenset(waiting), unclear, self._places.since(key, origin))

    def _wrote(self, key: Key, version: str) -> None:
        self.freshness.wrote(key, self.caches.identities, version, anyio.current_time())

    def _life_left(self, origin: FleetIdentity) -> float | None:
        ends = end_of_life(origin) if self.ephemeral else None
        return (ends - self.hub_now()).total_seconds() if ends is not None else None

    async def _set_finalizers(self, key: Key, origin: FleetIdentity, finalizers: tuple[str, ...]) -> None:
        try:
            version = await self.hub.patch(origin.metadata, {"metadata": {"finalizers": finalizers}})
        except NotFound:
            return  # gone meanwhile: the next event says so
        self._wrote(key, version)

    async def _report(self, key: Key, origin: FleetIdentity, found: Spread | Unreached) -> Result:
        wanted = partial(fanout_status.wanted, found=found, now=self.now())
        if wanted(origin) == origin.status:
            return Done()
        due = self._reported.get(key, -_STATUS_SECONDS) + _STATUS_SECONDS
        if (pause := due - anyio.current_time()) > 0:
            return RequeueAfter(pause)
        await self._write_status(key, origin, wanted)
        self._reported[key] = anyio.current_time()
        return Done()

    async def _write_status(
        self, key: Key, origin: FleetIdentity, wanted: Callable[[FleetIdentity], FanOutStatus]
    ) -> None:
        """Writes what is wanted of the status as it is on the hub: where our copy is cut, others' conditions must not be."""
        try:
            whole = await self.hub.whole(origin.metadata) if origin.abridged else None
            stored = whole if whole is not None else origin
            if (after := wanted(stored)) == stored.status:
                return
            version = await self.hub.patch_status(stored.metadata, fanout_status.patch(stored.status, after))
        except NotFound:
            return
        self._wrote(key, version)
        for condition in conditions.news(origin.status.conditions, after.conditions):
            if condition.type == READY:  # it sums up
                self.observer.condition(origin, condition)


def sooner(result: Result, seconds: float | None) -> Result:
    """The same, with another look after so many seconds at the latest."""
    if seconds is None:
        return result
    asked = result.seconds if isinstance(result, RequeueAfter) else _LONGEST_LOOK
    return RequeueAfter(max(0.0, min(asked, seconds)))
