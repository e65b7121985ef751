"""What the agent remembers between reconciles: failures being waited out, and repairs of what somebody else altered.

Memory only, and only to be patient: losing it in a restart means one attempt too early, never a wrong one.
"""

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import evolve, frozen

from msa.runtime.result import Key

O = TypeVar("O")  # noqa: E741 - O for outcome
BRIEF_SECONDS = 5.0
"""A right that is replaced, a server that restarts: what is over by then was no trouble to anybody."""


@frozen
class Failure(Generic[O]):
    """What went wrong in one attempt.

    Attributes:
        outcome: what to report of it.
        whose: who failed; None where nobody did.
        passing: failures of this kind often end within seconds, without anybody doing anything.
    """

    outcome: O
    whose: Hashable
    passing: bool


@frozen
class Setback(Generic[O]):
    """A failure that is being waited out.

    Attributes:
        cause: what the failure was about; when it differs, the next attempt is made at once.
        outcome: what to report meanwhile.
        attempts: failures in a row with the same cause.
        since: monotonic seconds of the first failure in a row, of whatever cause.
        until: monotonic seconds of the next attempt.
        whose: who failed; None where nobody did.
        told: the user was told of it; else it may be over before that is worth it.
    """

    cause: Hashable
    outcome: O
    attempts: int
    since: float
    until: float
    whose: Hashable
    told: bool


class Setbacks(Generic[O]):
    """The failures being waited out, by key."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Setback[O]] = {}

    def attempts(self, key: Key, cause: Hashable) -> int:
        """How many failures in a row this cause has seen."""
        setback = self._by_key.get(key)
        return setback.attempts if setback is not None and setback.cause == cause else 0

    def told(self, key: Key, cause: Hashable) -> O | None:
        """What the user was told of the last failure of this cause; None for nothing."""
        setback = self._by_key.get(key)
        return setback.outcome if setback is not None and setback.cause == cause and setback.told else None

    def record(self, key: Key, cause: Hashable, failure: Failure[O], now: float, wait: float) -> Setback[O]:
        """Remembers a failure; of a passing one it is told if the next attempt, after so many seconds, comes too late for that."""
        last, until = self._by_key.get(key), now + wait
        since = last.since if last is not None else now
        known = last is not None and last.told
        told = known or not failure.passing or until - since > BRIEF_SECONDS
        attempts = self.attempts(key, cause) + 1
        found = Setback(cause, failure.outcome, attempts, since, until, failure.whose, told)
        self._by_key[key] = found
        return found

    def standing(self, key: Key, cause: Hashable, now: float) -> Setback[O] | None:
        """The setback that still forbids another attempt; None when one may be made."""
        setback = self._by_key.get(key)
        return setback if setback is not None and setback.cause == cause and now < setback.until else None

    def clear(self, key: Key) -> None:
        self._by_key.pop(key, None)

    def release(self, whose: Hashable) -> tuple[Key, ...]:
        """Ends the waiting for somebody who is well again; the keys that may be tried at once.

        Since when they have failed stays: a server that comes and goes would else never be told of.
        """
        freed = {key: setback for key, setback in self._by_key.items() if setback.whose == whose}
        for key, setback in freed.items():
            self._by_key[key] = evolve(setback, attempts=0, until=-math.inf)
        return tuple(freed)


_FREE_REPAIRS = 3
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
_QUIET = 600.0


@frozen
class _Repairs:
    count: int
    last: float


class RepairLog:
    """Paces repairs, so that another writer who alters a Secret again and again is not fought in a hot loop.

    The first three are made at once; later ones wait 5 s x 2^n, at most 5 minutes; ten minutes more than that without
    one wipe the slate.
    """

    def __init__(self) -> None:
        self._by_key: dict[Key, _Repairs] = {}

    def pause(self, key: Key, now: float) -> float:
        """Seconds to wait before the next repair, 0 when it may be made."""
        repairs = self._current(key, now)
        beyond = repairs.count - _FREE_REPAIRS
        if beyond < 0:
            return 0.0
        return max(0.0, repairs.last + min(_FIRST_PAUSE * 2.0 ** min(beyond, 10), _LONGEST_PAUSE) - now)

    def repaired(self, key: Key, now: float) -> None:
        self._by_key[key] = _Repairs(self._current(key, now).count + 1, now)

    def forget(self, key: Key) -> None:
        self._by_key.pop(key, None)

    def _current(self, key: Key, now: float) -> _Repairs:
        repairs = self._by_key.get(key)
        if repairs is None or now - repairs.last > _QUIET + _LONGEST_PAUSE:
            return _Repairs(0, now)
        return repairs


_QUIET_BEFORE_REPAIR = 3.0
_LONGEST_UNREPAIRED = 5.0


@frozen
class _Alteration:
    version: str
    first: float
    last: float


class Settling:
    """Lets somebody else finish who alters a Secret: several edits in a row cost one repair, and who copies sees what was written.

    A repair comes 3 s after the last change, and at most 5 s after the first.
    """

    def __init__(self) -> None:
        self._by_key: dict[Key, _Alteration] = {}

    def remaining(self, key: Key, version: str, now: float) -> float:
        """Seconds until a Secret that was found altered at this resourceVersion may be repaired."""
        known = self._by_key.get(key) or _Alteration(version, now, now)
        found = known if known.version == version else _Alteration(version, known.first, now)
        self._by_key[key] = found
        return min(found.last + _QUIET_BEFORE_REPAIR, found.first + _LONGEST_UNREPAIRED) - now

    def over(self, key: Key) -> None:
        """The Secret is as it should be, or gone."""
        self._by_key.pop(key, None)
