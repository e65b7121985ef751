"""Children that are where they do not belong any more, and when they go.

What was seen to happen (unbound, detached, relabelled, decided anew) acts at once. What is only missing from what is known waits, is
checked by a fresh read of the hub, and where it is most of the children nothing is deleted for a while: see `policy.removal`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from msa.hub.leaving import Leavers
from msa.policy.reach import Reach
from msa.policy.removal import WAIT_SECONDS, Absence, Confirm, Hold, Wait, is_released, removal
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
    """Decides who of the children goes when.

    Attributes:
        replaced: whether the hub was found to be another one, or restored, since this manager runs.
    """

    caches: FanOutCaches
    causes: Causes
    fresh: FreshHub
    observer: FanOutObserver
    now: Now
    replaced: Callable[[], bool]
    _leavers: Leavers = field(init=False)

    @_leavers.default
    def _nobody(self) -> Leavers:
        caches = self.caches
        return Leavers(caches.identities, caches.child_count, self.observer.holding, self.replaced)

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
        self._leavers.note(key, elsewhere, partial(self._cause, origin, where), now)
        leaving = self._leavers.of(key)
        absence = evolve(
            self._leavers.absence(key, len(children), now), released=self._is_released(key, origin)
        )
        patience = {name: _UNPICKED_SECONDS if name in where.bound else 0.0 for name in leaving}
        left = {name: item.seconds_left(absence, now, patience[name]) for name, item in leaving.items()}
        self._tell(key, origin, absence, left)
        due = [name for name, seconds in left.items() if seconds <= 0]
        gone = await self._confirmed(key, origin, due, released=absence.released)
        waits = [seconds for seconds in left.values() if seconds > 0]
        waits += [WAIT_SECONDS] * (len(gone) < len(due))
        return Departure([elsewhere[name] for name in gone], min(waits, default=None))

    def forget(self, key: Key) -> None:
        """Nothing of it is anywhere."""
        self._leavers.forget(key)

    async def orphans(self, key: Key, orphans: Sequence[FleetIdentity], since: float) -> float:
        """Seconds until children whose origin is gone are deleted; 0 for now.

        Args:
            key: of the origin.
            orphans: all of them.
            since: monotonic seconds since when the origin is gone.

        Raises:
            ApiError: the hub could not be asked.
        """
        if self.causes.deleted(key):
            return 0.0
        now, leavers = anyio.current_time(), self._leavers
        leavers.note(key, {item.metadata.namespace: item for item in orphans}, lambda _name: -math.inf, now)
        match removal(evolve(leavers.absence(key, len(orphans), now), seconds=now - since)):
            case Wait(seconds=seconds):
                return seconds
            case Hold(seconds=seconds):
                leavers.hold(key, len(orphans))
                return seconds
            case Confirm():
                if await self.fresh.has(key):
                    return WAIT_SECONDS
                leavers.deleting(key, leavers.of(key), anyio.current_time())
                return 0.0

    def _cause(self, origin: FleetIdentity, where: Where, cluster: str) -> float:
        """When something was last seen that takes this cluster out."""
        if cluster in where.bound:
            return self.causes.unpicked(origin, cluster)
        return self.causes.unbound(origin.metadata.namespace, cluster)

    def _is_released(self, key: Key, origin: FleetIdentity) -> bool:
        """Whether somebody said so since all of them are out of place."""
        latest = max((item.since for item in self._leavers.of(key).values()), default=math.inf)
        said = parse_rfc3339(origin.metadata.annotation(names.ANNOTATION_RELEASE))
        return is_released(said, self.now(), anyio.current_time() - latest)

    def _tell(self, key: Key, origin: FleetIdentity, absence: Absence, left: Mapping[str, float]) -> None:
        """Once, when children begin to be held."""
        waiting = [left[name] for name, item in self._leavers.of(key).items() if not item.seen]
        held = sum(seconds > 0 for seconds in waiting) if absence.is_suspicious else 0
        if self._leavers.hold(key, held):
            self.observer.held(origin, held)

    async def _confirmed(
        self, key: Key, origin: FleetIdentity, due: Sequence[str], *, released: bool
    ) -> list[str]:
        """Those that may go: it was seen why, or the hub, asked once more, says the same."""
        leaving = self._leavers.of(key)
        inferred = [name for name in due if not leaving[name].seen]
        if not inferred:
            return list(due)
        found = (await self.fresh.caches()).reach(origin)
        stay = found.clusters if isinstance(found, Reach) else found.stay
        refuted = frozenset(name for name in inferred if stay is None or name in stay)
        now = anyio.current_time()
        if refuted:
            self._leavers.refute(key, refuted, now)
            _log.warning("removal_refuted", clusters=len(refuted))
        if not released:
            self._leavers.deleting(key, (name for name in inferred if name not in refuted), now)
        return [name for name in due if name not in refuted]
