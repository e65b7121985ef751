"""What a ClusterProfile has and should not have any more: when it is taken away.

What was seen to happen acts at once. What is only missing from what is known waits, is checked by a fresh read of the hub, and where it
is most of all nothing is taken away for a while: see `policy.removal`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import anyio
import structlog
from attrs import evolve, field, frozen

from msa.api import names
from msa.api.clusterprofile import ClusterProfile
from msa.api.durations import parse_rfc3339
from msa.hub.leaving import Leavers, Leaving
from msa.policy.removal import WAIT_SECONDS, Absence, is_released
from msa.runtime.events import KubeObject
from msa.runtime.ports import Now
from msa.runtime.result import Key

_log = structlog.get_logger(__name__)


class FreshHub(Protocol):
    """The hub as it is now, read at once and not from a cache. Raises `ApiError`."""

    async def has(self, key: Key) -> bool:
        """Whether there is a ManagedServiceAccount of this key."""
        ...

    async def may_use(self, namespace: str, cluster: str) -> bool:
        """Whether a set with the cluster is bound to the namespace; True where that cannot be told."""
        ...


class HoldObserver(Protocol):
    """Told when removals are held; never blocks, never fails."""

    def held(self, profile: ClusterProfile) -> None:
        """Of what this profile has something is about to be held."""
        ...


@frozen
class Doubt:
    """Something that a profile has and whose reason to be is missing.

    Attributes:
        item: it.
        profile: that has it, where a person says that this is meant; None where that is missing too.
        cause: when something was last seen that explains it, -inf for never.
        stands: whether the hub, asked at once, says the same. Raises `ApiError`.
    """

    item: KubeObject
    profile: ClusterProfile | None
    cause: float
    stands: Callable[[], Awaitable[bool]]


@frozen
class Departure:
    """What is to be done now.

    Attributes:
        gone: names of what is taken away.
        seconds: until the next may be; None where nothing waits.
    """

    gone: Sequence[str]
    seconds: float | None


@frozen
class Departures:
    """Decides what goes when.

    Attributes:
        leavers: what is remembered of it.
    """

    leavers: Leavers
    observer: HoldObserver
    now: Now
    _told: dict[Key, frozenset[str]] = field(factory=dict, init=False)

    async def of(self, key: Key, doubts: Mapping[str, Doubt], siblings: int) -> Departure:
        """Decides about one key's.

        Args:
            key: that is looked at.
            doubts: all that there are, by a name of the item.
            siblings: how many items it has, these included.

        Raises:
            ApiError: the hub could not be asked.
        """
        now, leavers = anyio.current_time(), self.leavers
        items = {name: doubt.item for name, doubt in doubts.items()}
        leavers.note(key, items, lambda name: doubts[name].cause, now)
        absence, leaving = leavers.absence(key, siblings, now), leavers.of(key)
        absences = {
            name: evolve(absence, released=self._is_released(doubts[name], item, now))
            for name, item in leaving.items()
        }
        left = {name: item.seconds_left(absences[name], now) for name, item in leaving.items()}
        self._tell(key, doubts, absences, left)
        gone = [
            name
            for name, seconds in left.items()
            if seconds <= 0 and await self._is_confirmed(key, name, doubts[name], absences[name])
        ]
        waits = [max(seconds, 0.0) or WAIT_SECONDS for name, seconds in left.items() if name not in gone]
        return Departure(gone, min(waits, default=None))

    def forget(self, key: Key) -> None:
        """Nothing of it is anywhere."""
        self.leavers.forget(key)
        self._told.pop(key, None)

    def _is_released(self, doubt: Doubt, item: Leaving, now: float) -> bool:
        if doubt.profile is None:
            return False
        said = parse_rfc3339(doubt.profile.metadata.annotation(names.ANNOTATION_RELEASE))
        return is_released(said, self.now(), now - item.since)

    def _tell(
        self,
        key: Key,
        doubts: Mapping[str, Doubt],
        absences: Mapping[str, Absence],
        left: Mapping[str, float],
    ) -> None:
        """Of each once, when it begins to be held."""
        leaving = self.leavers.of(key)
        held = frozenset(
            name
            for name, item in leaving.items()
            if not item.seen and absences[name].is_suspicious and left[name] > 0
        )
        self.leavers.hold(key, len(held))
        for name in held - self._told.pop(key, frozenset()):
            if (profile := doubts[name].profile) is not None:
                self.observer.held(profile)
        if held:
            self._told[key] = held

    async def _is_confirmed(self, key: Key, name: str, doubt: Doubt, absence: Absence) -> bool:
        """It was seen why, or the hub, asked once more, says the same."""
        if self.leavers.of(key)[name].seen:
            return True
        stands, now = await doubt.stands(), anyio.current_time()
        if not stands:
            self.leavers.refute(key, (name,), now)
            _log.warning("removal_refuted", item=name)
        elif not absence.released:
            self.leavers.deleting(key, (name,), now)
        return stands
