"""Objects on the hub that have lost their reason to be there: since when, whether it was seen why, and how many they are.

What was seen to happen acts at once. What is only missing from what is known waits, and where it is most of all nothing is deleted for
a while: see `policy.removal`. Memory only, so a manager that has just started is patient.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from msa.policy.removal import HOLD_SECONDS, Absence, Confirm, Hold, Wait, removal
from msa.runtime.absences import Recent
from msa.runtime.events import KubeObject
from msa.runtime.result import Key
from msa.runtime.store import Store, key_of


@frozen
class Leaving:
    """One of them.

    Attributes:
        since: monotonic seconds.
        seen: whether it was seen why.
    """

    place: Key
    uid: str
    since: float
    seen: bool

    def seconds_left(self, absence: Absence, now: float, patience: float = 0.0) -> float:
        """Until it may be deleted; where it was not seen why, after the hub was asked once more.

        Args:
            absence: of how many it is one.
            now: monotonic seconds.
            patience: how long it stays though it was seen why.
        """
        gone_for = now - self.since
        if self.seen:
            return patience - gone_for
        match removal(evolve(absence, seconds=gone_for)):
            case Wait(seconds=seconds) | Hold(seconds=seconds):
                return seconds
            case Confirm():
                return 0.0


@frozen
class _Deleted:
    key: Key
    place: Key
    uid: str


@frozen
class Leavers:
    """Those of one kind, by the key that is looked at and a name that tells its objects apart.

    Attributes:
        store: all objects of that kind.
        total: how many they are.
        holding: told how many are held, when that changes.
        replaced: whether the hub was found to be another one, or restored, since this manager runs.
        _missing: UIDs of those of which nobody saw why.
    """

    store: Store[Any]
    total: Callable[[], int]
    holding: Callable[[int], None]
    replaced: Callable[[], bool]
    _leaving: dict[Key, dict[str, Leaving]] = field(factory=dict, init=False)
    _looked: dict[Key, float] = field(factory=dict, init=False)
    _held: dict[Key, int] = field(factory=dict, init=False)
    _missing: set[str] = field(factory=set, init=False)
    _deleted: Recent[_Deleted] = field(factory=lambda: Recent(HOLD_SECONDS), init=False)

    def of(self, key: Key) -> Mapping[str, Leaving]:
        return self._leaving.get(key, {})

    def note(
        self, key: Key, found: Mapping[str, KubeObject], cause: Callable[[str], float], now: float
    ) -> None:
        """These leave; what was noted before and is not among them belongs again.

        Args:
            key: that they belong to.
            found: by name.
            cause: when something was last seen that explains why one leaves: it counts where that was after the last look.
            now: monotonic seconds.
        """
        before, looked = self._pop(key), self._looked.get(key, math.inf)
        self._looked[key] = now
        leaving: dict[str, Leaving] = {}
        for name, item in found.items():
            uid = item.metadata.uid
            known = before.get(name)
            if known is None or known.uid != uid:
                known = Leaving(key_of(item), uid, now, seen=False)
            leaving[name] = evolve(known, seen=known.seen or cause(name) >= looked)
        if leaving:
            self._leaving[key] = leaving
            self._missing.update(item.uid for item in leaving.values() if not item.seen)

    def absence(self, key: Key, siblings: int, now: float) -> Absence:
        """How many of one key's objects, or of all, are missing their reason to be without anybody having seen why.

        Args:
            key: that is looked at.
            siblings: how many objects belong to it, the leaving ones included.
            now: monotonic seconds.
        """
        mine = {item.uid for item in self.of(key).values() if not item.seen}
        if not mine:
            return Absence(0.0, 0, siblings)
        deleted = self._deleted.items(now)
        everywhere = self._absence(self._missing, deleted, self.total())
        if everywhere.is_mass:
            return everywhere
        return self._absence(mine, (item for item in deleted if item.key == key), siblings)

    def refute(self, key: Key, names: Iterable[str], now: float) -> None:
        """The hub, asked once more, has what these belong to: they wait anew."""
        leaving = self._leaving[key]
        leaving.update({name: evolve(leaving[name], since=now) for name in names})

    def deleting(self, key: Key, names: Iterable[str], now: float) -> None:
        """These are deleted now. Those of which nobody saw why, and that nobody released, count for a while."""
        for name in names:
            item = self._leaving[key][name]
            self._deleted.add(_Deleted(key, item.place, item.uid), now)

    def hold(self, key: Key, count: int) -> bool:
        """So many of its objects are held; whether there were none before."""
        before = self._held.pop(key, 0)
        if count:
            self._held[key] = count
        if count != before:
            self.holding(sum(self._held.values()))
        return count > 0 and before == 0

    def forget(self, key: Key) -> None:
        """Nothing of it is anywhere."""
        self._pop(key)
        self._looked.pop(key, None)
        self.hold(key, 0)

    def _pop(self, key: Key) -> Mapping[str, Leaving]:
        before = self._leaving.pop(key, {})
        self._missing.difference_update(item.uid for item in before.values())
        return before

    def _absence(self, missing: Collection[str], deleted: Iterable[_Deleted], total: int) -> Absence:
        """Each object counts once, though the copy of the hub may still show what was deleted."""
        gone = [item for item in deleted if item.uid not in missing]
        there = total - sum(map(self._is_shown, gone))
        return Absence(0.0, len(missing), there, deleted=len(gone), replaced=self.replaced())

    def _is_shown(self, item: _Deleted) -> bool:
        shown = self.store.get(item.place)
        return shown is not None and shown.metadata.uid == item.uid
