"""Paces writes, so that somebody who alters or deletes the same copy again and again is not fought in a hot loop."""

from math import inf

from attrs import field, frozen

from msa.runtime.backoff import Backoff
from msa.runtime.result import Key

_QUIET_SECONDS = 60.0
"""Without a write for so long, the next one counts as the first: a renewed token never waits."""


@frozen
class Pace:
    """The first write is made at once; each that follows soon waits for the work queue's backoff: 5 ms x 2^n, at most 5 minutes.

    Attributes:
        _due: monotonic seconds at which the next write to a copy may be made.
    """

    backoff: Backoff
    _due: dict[str, float] = field(factory=dict, init=False)

    def wait(self, copy: str, now: float) -> float:
        """Seconds until it may be written, 0 where it may be at once."""
        return max(0.0, self._due.get(copy, -inf) - now)

    def wrote(self, copy: str, now: float) -> None:
        if now - self._due.pop(copy, now) > _QUIET_SECONDS:
            self.backoff.forget(Key(copy))
        self._forget_quiet(now)
        self._due[copy] = self.backoff.due(Key(copy), now)

    def _forget_quiet(self, now: float) -> None:
        """From the longest unwritten on, so that what is remembered is not searched at each write."""
        while self._due:
            copy, due = next(iter(self._due.items()))
            if now - due <= _QUIET_SECONDS:
                return
            del self._due[copy]
            self.backoff.forget(Key(copy))
