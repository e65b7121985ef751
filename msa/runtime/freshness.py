"""Read your own writes: a key is not looked at again before the cache has what we wrote for it (KEP-5647).

Otherwise a reconciler that acts on a copy from before its own write does it twice.
"""

from typing import Protocol

from attrs import frozen

from msa.runtime.result import Key

_PATIENCE_SECONDS = 10.0


class Versioned(Protocol):
    """A cache that knows how far it has come."""

    @property
    def version(self) -> int: ...


@frozen
class _Write:
    store: Versioned
    version: int
    until: float


class Freshness:
    """Our writes that the caches have not shown yet."""

    def __init__(self) -> None:
        self._writes: dict[Key, list[_Write]] = {}

    def wrote(self, key: Key, store: Versioned, version: str, now: float) -> None:
        """Remembers a write.

        Args:
            key: of the queue.
            store: the cache that will show it.
            version: resourceVersion of the answer; one that is no number cannot be waited for.
            now: monotonic seconds.
        """
        if version.isdecimal():
            self._writes.setdefault(key, []).append(_Write(store, int(version), now + _PATIENCE_SECONDS))

    def lag(self, key: Key, now: float) -> float | None:
        """Seconds after which the wait for the caches is given up; None when there is nothing to wait for."""
        missing = [write for write in self._writes.pop(key, ()) if write.store.version < write.version]
        if not missing:
            return None
        self._writes[key] = missing
        return max(0.0, max(write.until for write in missing) - now)

    def give_up(self, key: Key) -> None:
        """Looks at the key with what there is."""
        self._writes.pop(key, None)
