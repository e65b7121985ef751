"""Children that are where they do not belong any more, and when they go.

What was seen to happen (unbound, detached, relabelled, decided anew) acts at once. What is only missing from what is known waits, is
checked by a fresh read of the hub, and where it is most of the children nothing is deleted for a while: see `policy.removal`.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import anyio
import structlog
from attrs import evolve, field, frozen

from msa.api import names
from msa.api.durations import parse_rfc3339
from msa.api.fleet_identity import FleetIdentity
from msa.hub.fanout_caches import FanOutCaches
from msa.hub.fanout_causes import Causes
from msa.hub.fanout_observer import FanOutObserver
from msa.policy.reach import Reach
from msa.policy.removal import WAIT_SECONDS, Absence, Confirm, Hold, Wait, can_release, is_mass, removal
from msa.runtime.ports import Now
from msa.runtime.result import Key

_UNPICKED_SECONDS = 30.0
"""For so long a cluster that a Placement no longer picks keeps its child: decisions are written one after the other, empty at first."""

_log = structlog.get_logger(__name__)


class FreshHub(Protocol):
    """The hub as it is now, read at once and not from a cache. Raises `ApiError`."""

    async def caches(self) -> FanOutCaches:
        """Clusters, sets, bindings and decisions; no ManagedServiceAccounts."""
        ...

    async def has(self, key: Key) -> bool:
        """Whether there is a ManagedServiceAccount of this key."""
        ...


@frozen
class Where:
    """Where children may be.

    Attributes:
        stay: clusters where they belong.
        bound: clusters that the namespace may use.
    """

    stay: frozenset[str]
    bound: frozenset[str]


@frozen
class Leaving:
    """A child that does not belong any more.

    Attributes:
        since: monotonic seconds.
        seen: whether it was seen why.
    """

    since: float
    seen: bool


@frozen
class Departure:
    """What is to be done now.

    Attributes:
        gone: children that are deleted.
        seconds: until the next may be; None where none waits.
    """

    gone: Sequence[FleetIdentity]
    seconds: float | None


@frozen
class Departures:
    """Remembers since when children are out of place; memory only, so a manager that has just started is patient."""

    caches: FanOutCaches
    causes: Causes
    fresh: FreshHub
    observer: FanOutObserver
    now: Now
    _leaving: dict[Key, dict[str, Leaving]] = field(factory=dict, init=False)
    _looked: dict[Key, float] = field(factory=dict, init=False)
    _lost: dict[Key, int] = field(factory=dict, init=False)
    _held: dict[Key, int] = field(factory=dict, init=False)

    async def of(self, key: Key, origin: FleetIdentity, where: Where) -> Departure:
        """Decides about the children that are elsewhere.

        Raises:
            ApiError: the hub could not be asked.
        """
        now, children = anyio.current_time(), self.caches.children_of(origin)
        elsewhere = {
            name: item
            for item in children
            if (name := item.metadata.namespace) not in where.stay
            and item.metadata.deletion_timestamp is None
        }
        self._note(key, origin, where, elsewhere, now)
        absence = self._absence(key, origin, len(children))
        left = {
            name: _seconds_left(item, absence, now, picks=name in where.bound)
            for name, item in self._leaving.get(key, {}).items()
        }
        self._tell(key, origin, absence, left)
        due = [name for name, seconds in left.items() if seconds <= 0]
        gone = await self._confirmed(key, origin, due)
        waits = [seconds for seconds in left.values() if seconds > 0]
        waits += [WAIT_SECONDS] * (len(gone) < len(due))
        return Departure([elsewhere[name] for name in gone], min(waits, default=None))

    def forget(self, key: Key) -> None:
        """Nothing of it is anywhere, or its origin is there again."""
        self._leaving.pop(key, None)
        self._looked.pop(key, None)
        self._lost.pop(key, None)
        self._hold(key, 0)

    async def orphans(self, key: Key, orphans: int, since: float) -> float:
        """Seconds until children whose origin is gone are deleted; 0 for now.

        Args:
            key: of the origin.
            orphans: how many there are.
            since: monotonic seconds since when the origin is gone.

        Raises:
            ApiError: the hub could not be asked.
        """
        if self.causes.deleted(key):
            return 0.0
        self._lost[key] = orphans
        lost, total = sum(self._lost.values()), self.caches.child_count()
        found = (lost, total) if is_mass(lost, total) else (orphans, orphans)
        match removal(Absence(anyio.current_time() - since, *found)):
            case Wait(seconds=seconds):
                return seconds
            case Hold(seconds=seconds):
                self._hold(key, orphans)
                return seconds
            case Confirm():
                return WAIT_SECONDS if await self.fresh.has(key) else 0.0

    def _note(
        self, key: Key, origin: FleetIdentity, where: Where, elsewhere: Collection[str], now: float
    ) -> None:
        """Since when each is out of place, and whether it was seen why: something happened after the last look."""
        before, looked = self._leaving.pop(key, {}), self._looked.get(key, math.inf)
        self._looked[key] = now
        leaving = {name: before.get(name, Leaving(now, seen=False)) for name in elsewhere}
        seen = {
            name for name, item in leaving.items() if item.seen or self._cause(origin, where, name) >= looked
        }
        if leaving:
            self._leaving[key] = {name: evolve(item, seen=name in seen) for name, item in leaving.items()}

    def _cause(self, origin: FleetIdentity, where: Where, cluster: str) -> float:
        """When something was last seen that takes this cluster out."""
        if cluster in where.bound:
            return self.causes.unpicked(origin, cluster)
        namespace = origin.metadata.namespace
        return self.causes.unbound(namespace, self.caches.groups_of(namespace), cluster)

    def _absence(self, key: Key, origin: FleetIdentity, children: int) -> Absence:
        """How many of them, or of all children on the hub, are missing their reason to be."""
        mine = sum(not item.seen for item in self._leaving.get(key, {}).values())
        everywhere = sum(not item.seen for items in self._leaving.values() for item in items.values())
        total = self.caches.child_count()
        found = (everywhere, total) if is_mass(everywhere, total) else (mine, children)
        return Absence(0.0, *found, released=self._is_released(key, origin))

    def _is_released(self, key: Key, origin: FleetIdentity) -> bool:
        """Whether somebody said so since all of them are out of place. A time to come releases nothing that has not happened."""
        at, now = parse_rfc3339(origin.metadata.annotation(names.ANNOTATION_RELEASE)), self.now()
        latest = max((item.since for item in self._leaving.get(key, {}).values()), default=-math.inf)
        if at is None or not can_release(at, now) or latest == -math.inf:
            return False
        return (now - at).total_seconds() <= anyio.current_time() - latest + 1.0

    def _tell(self, key: Key, origin: FleetIdentity, absence: Absence, left: Mapping[str, float]) -> None:
        """Once, when children begin to be held."""
        is_held = is_mass(absence.missing, absence.total) and not absence.released
        waiting = {name: left[name] for name, item in self._leaving.get(key, {}).items() if not item.seen}
        held = sum(seconds > 0 for seconds in waiting.values()) if is_held else 0
        if self._hold(key, held):
            self.observer.held(origin, held)

    def _hold(self, key: Key, count: int) -> bool:
        """So many children of it are held; whether there were none before."""
        before = self._held.pop(key, 0)
        if count:
            self._held[key] = count
        if count != before:
            self.observer.holding(sum(self._held.values()))
        return count > 0 and before == 0

    async def _confirmed(self, key: Key, origin: FleetIdentity, due: Sequence[str]) -> list[str]:
        """Those that may go: it was seen why, or the hub, asked once more, says the same."""
        leaving = self._leaving.get(key, {})
        inferred = [name for name in due if not leaving[name].seen]
        if not inferred:
            return list(due)
        found = (await self.fresh.caches()).reach(origin)
        stay = found.clusters if isinstance(found, Reach) else found.stay
        refuted = [name for name in inferred if stay is None or name in stay]
        for name in refuted:
            leaving[name] = Leaving(anyio.current_time(), seen=False)
        if refuted:
            _log.warning("removal_refuted", clusters=len(refuted))
        return [name for name in due if name not in refuted]


def _seconds_left(item: Leaving, absence: Absence, now: float, *, picks: bool) -> float:
    """Until it may go.

    Args:
        item: the child.
        absence: of how many it is one.
        now: monotonic seconds.
        picks: whether its cluster is bound, and only not picked.
    """
    gone_for = now - item.since
    if item.seen:
        return (_UNPICKED_SECONDS if picks else 0.0) - gone_for
    match removal(evolve(absence, seconds=gone_for)):
        case Wait(seconds=seconds) | Hold(seconds=seconds):
            return seconds
        case Confirm():
            return 0.0
