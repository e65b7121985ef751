"""The children of one ManagedServiceAccount as they are written and deleted: many at a time, and none twice for nothing."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio
from attrs import frozen

from msa.api.fleet_identity import FleetIdentity
from msa.hub.fanout_observer import FanOutObserver
from msa.hub.identity_writes import IdentityHub
from msa.policy import fanout
from msa.policy.fanout import Plan
from msa.runtime.backoff import Backoff
from msa.runtime.errors import (
    ApiError,
    Conflict,
    Fenced,
    Network,
    Throttled,
    Unauthorized,
)
from msa.runtime.ports import Now
from msa.runtime.result import Key

_AT_ONCE = 32
_LASTING_SECONDS = 60.0
_OF_THE_HUB = (Fenced, Network, Throttled, Unauthorized)
"""What would befall every other write too."""

T = TypeVar("T")


@frozen
class Setback:
    """A child that could not be written.

    Attributes:
        until: monotonic seconds of the next try.
        lasting: whether it has failed for a while.
    """

    error: ApiError
    until: float
    lasting: bool

    @property
    def told(self) -> bool:
        """Whether people should know: somebody who wrote first is nothing that is wrong, unless he does so again and again.

        Nor is one that is there and cannot be read: it is in no cache, and cannot be created.
        """
        return self.lasting or not isinstance(self.error, Conflict)


class Children:
    """Writes what a plan says.

    Args:
        backoff: of children that could not be written.
    """

    def __init__(self, hub: IdentityHub, observer: FanOutObserver, now: Now, backoff: Backoff) -> None:
        self._hub = hub
        self._observer = observer
        self._now = now
        self._backoff = backoff
        self._setbacks: dict[Key, dict[str, Setback]] = {}
        self._since: dict[tuple[Key, str], float] = {}

    def setbacks(self, key: Key, clusters: frozenset[str]) -> dict[str, Setback]:
        """What could not be written lately, by cluster; others than these clusters are forgotten."""
        known = self._setbacks.get(key, {})
        for cluster in known.keys() - clusters:
            self._clear(key, cluster)
        return dict(known)

    def forget(self, key: Key) -> None:
        """Its origin is gone."""
        for cluster in tuple(self._setbacks.get(key, {})):
            self._clear(key, cluster)
        self._setbacks.pop(key, None)

    async def write(self, key: Key, origin: FleetIdentity, plan: Plan, wrote: Callable[[str], None]) -> None:
        """Makes and changes children. What goes wrong with one of them is remembered and holds up no other.

        Args:
            key: of the origin.
            origin: what it says, they say.
            plan: on which clusters.
            wrote: told of the resourceVersion of each write.

        Raises:
            ApiError: the hub cannot be written at all.
        """

        async def create(cluster: str) -> None:
            body = fanout.child_body(origin, cluster, self._now())
            await self._try(key, cluster, "create", self._hub.create(body), wrote)

        async def change(child: FleetIdentity) -> None:
            metadata, body = child.metadata, fanout.child_changes(origin, self._now())
            cluster = metadata.namespace
            done = await self._try(key, cluster, "rewrite", self._hub.patch(metadata, body), wrote)
            if done and cluster in plan.edited:
                self._observer.restored(child, origin, fanout.edits(child, origin))

        await _each(plan.create, create)
        await _each(plan.rewrite, change)
        created, changed = len(plan.create), len(plan.rewrite) - len(plan.edited)
        if created or changed:
            self._observer.fanned_out(origin, created=created, rewritten=changed)

    async def remove(self, children: Iterable[FleetIdentity]) -> int:
        """Deletes them, by UID; those that are on their way out already are let be. How many were deleted.

        Raises:
            ApiError: one could not be deleted; the others were.
        """
        standing = [item for item in children if item.metadata.deletion_timestamp is None]
        failures: list[ApiError] = []

        async def delete(child: FleetIdentity) -> None:
            try:
                await self._hub.delete(child.metadata)
            except _OF_THE_HUB:
                raise
            except ApiError as error:
                failures.append(error)
            else:
                self._observer.wrote("delete")

        await _each(standing, delete)
        if failures:
            raise failures[0]
        return len(standing)

    async def _try(
        self, key: Key, cluster: str, verb: str, writing: Awaitable[str], wrote: Callable[[str], None]
    ) -> bool:
        try:
            version = await writing
        except _OF_THE_HUB:
            raise
        except ApiError as error:
            now = anyio.current_time()
            least = getattr(error, "retry_after", None) or 0.0
            until = self._backoff.due(Key(f"{key}@{cluster}"), now, least)
            since = self._since.setdefault((key, cluster), now)
            self._setbacks.setdefault(key, {})[cluster] = Setback(
                error, until, now - since >= _LASTING_SECONDS
            )
        else:
            self._clear(key, cluster)
            self._observer.wrote(verb)
            wrote(version)
            return True
        return False

    def _clear(self, key: Key, cluster: str) -> None:
        self._since.pop((key, cluster), None)
        if self._setbacks.get(key, {}).pop(cluster, None) is not None:
            self._backoff.forget(Key(f"{key}@{cluster}"))


async def _each(items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Does it for each, some at a time. After a failure nothing new is begun; what was begun is finished.

    Raises:
        ApiError: the first failure.
    """
    failures: list[ApiError] = []
    left = iter(items)

    async def work() -> None:
        for item in left:
            if failures:
                return
            try:
                await act(item)
            except ApiError as error:
                failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(_AT_ONCE):
            group.start_soon(work)
    if failures:
        raise failures[0]
