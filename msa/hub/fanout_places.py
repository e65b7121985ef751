"""Since when clusters hold their places in a rollout, by what was seen here: what a cluster writes itself prolongs nothing."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from attrs import field, frozen

from msa.api.fleet_identity import FleetIdentity
from msa.runtime.result import Key

_Change = tuple[str, int]
"""What is rolled out: UID and generation of the origin."""


@frozen
class Places:
    """Memory only: after a restart of the manager a cluster may hold its place once more."""

    _since: dict[Key, tuple[_Change, dict[str, datetime]]] = field(factory=dict, init=False)

    def since(self, key: Key, origin: FleetIdentity) -> Mapping[str, datetime]:
        """Of each cluster that took a place for what the origin says now."""
        change, since = self._since.get(key, (None, {}))
        return since if change == _change(origin) else {}

    def take(self, key: Key, origin: FleetIdentity, clusters: Iterable[str], now: datetime) -> None:
        """These hold a place; those that did before have it since then."""
        since = dict(self.since(key, origin))
        for cluster in clusters:
            since.setdefault(cluster, now)
        self._since[key] = (_change(origin), since)

    def forget(self, key: Key) -> None:
        self._since.pop(key, None)


def _change(origin: FleetIdentity) -> _Change:
    return origin.metadata.uid, origin.metadata.generation
