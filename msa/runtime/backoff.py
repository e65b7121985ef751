"""How long to wait after a failure: per key of a work queue, and per watch. Time and chance are handed in."""

from random import Random

from attrs import define

from msa.runtime.result import Key

_FIRST_RETRY = 0.005
_FIRST_RECONNECT = 0.8
_LONGEST_RECONNECT = 30.0
_QUIET = 120.0


@define
class _Failures:
    """What is known of a failing key.

    Attributes:
        ceiling: seconds; the last delay was drawn from [0, ceiling].
        due: monotonic seconds at which that delay has elapsed.
    """

    ceiling: float
    due: float


class Backoff:
    """Exponential delays per key with full jitter: 5 ms x 2^n, at most `cap`.

    A key that fails again before its delay has elapsed was woken by an event: that attempt moves neither the exponent
    nor the planned retry (kubernetes/kubernetes#132805 tells what happens otherwise).

    Args:
        rng: the source of the jitter.
        cap: seconds; no delay is drawn from a wider range.
    """

    def __init__(self, rng: Random, cap: float = 300.0) -> None:
        self._rng = rng
        self._cap = cap
        self._failing: dict[Key, _Failures] = {}

    def due(self, key: Key, now: float, least: float = 0.0) -> float:
        """Counts a failure of `key` and says when to try again.

        Args:
            key: what failed.
            now: monotonic seconds.
            least: seconds that must pass at least, for a server that sent Retry-After; no more than `cap` of them.

        Returns:
            Monotonic seconds, not before `now`.
        """
        known, least = self._failing.get(key), min(least, self._cap)
        if known is not None and now < known.due:
            known.due = max(known.due, now + least)
            return known.due
        ceiling = min(self._cap, _FIRST_RETRY if known is None else known.ceiling * 2)
        due = now + max(least, self._rng.uniform(0.0, ceiling))
        self._failing[key] = _Failures(ceiling, due)
        return due

    def forget(self, key: Key) -> None:
        """The next failure of `key` counts as its first."""
        self._failing.pop(key, None)


class StreamBackoff:
    """Delays between the attempts of one watch: 0.8 s x 2^n with full jitter, at most 30 s (client-go's reflector).

    Args:
        rng: the source of the jitter.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._ceiling = _FIRST_RECONNECT
        self._due = float("-inf")

    def next(self, now: float) -> float:
        """Counts a failure; the first one after two quiet minutes starts over.

        Args:
            now: monotonic seconds. The minutes count from the end of the last delay.

        Returns:
            Seconds to wait.
        """
        if now - self._due >= _QUIET:
            self._ceiling = _FIRST_RECONNECT
        delay = self._rng.uniform(0.0, self._ceiling)
        self._ceiling = min(_LONGEST_RECONNECT, self._ceiling * 2)
        self._due = now + delay
        return delay

    def reset(self) -> None:
        """The next failure counts as the first."""
        self._ceiling = _FIRST_RECONNECT
