"""What is missing from a copy, by key: since when, and whether its deletion was seen or is only inferred.

Memory only: after a restart each absence is a new one, which means more patience and never less.
"""

from collections.abc import Collection, Hashable
from itertools import takewhile
from typing import Any, Generic, TypeVar

from attrs import define, field

from msa.runtime.result import Key
from msa.runtime.store import Change

T = TypeVar("T", bound=Hashable)


@define
class Absences:
    """Kept by a reconciler that deletes what belongs to missing objects."""

    _seen: dict[Key, str] = field(factory=dict)
    _since: dict[Key, float] = field(factory=dict)

    def changed(self, key: Key, change: Change[Any]) -> None:
        """Takes a change of the object of this key: it is there, it was deleted, or it is missing."""
        if change.new is not None:
            self.forget(key)
        elif not change.missed:
            self._seen[key] = change.latest.metadata.uid

    def seen(self, key: Key) -> str | None:
        """The UID of the object whose deletion was seen; None where none was."""
        return self._seen.get(key)

    def since(self, key: Key, now: float) -> float:
        """When the object was first found missing: now, if it was not before.

        Args:
            key: of the object.
            now: monotonic seconds.
        """
        return self._since.setdefault(key, now)

    def forget(self, key: Key) -> None:
        """It is there again, or nothing belongs to it any more."""
        self._seen.pop(key, None)
        self._since.pop(key, None)

    @property
    def inferred(self) -> int:
        """How many are missing whose deletion nobody saw."""
        return len(self._since)


@define
class Recent(Generic[T]):
    """What happened within the last so many seconds.

    Attributes:
        seconds: for how long it is remembered.
    """

    seconds: float
    _at: dict[T, float] = field(factory=dict)

    def add(self, item: T, now: float) -> None:
        """It happened now, monotonic seconds: no earlier than what was added before."""
        self._at.pop(item, None)
        self._at[item] = now

    def items(self, now: float) -> Collection[T]:
        """All that happened that recently."""
        for item in tuple(takewhile(lambda item: now - self._at[item] > self.seconds, self._at)):
            del self._at[item]
        return self._at.keys()
