"""What the runtime needs from outside. `kube` implements these against a server, tests script them."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Generic, Protocol, TypeAlias, TypeVar

from attrs import frozen

from msa.runtime.events import KubeObject, Unreadable, WatchEvent
from msa.runtime.result import Key, Result

T = TypeVar("T", bound=KubeObject)
T_co = TypeVar("T_co", bound=KubeObject, covariant=True)

Now: TypeAlias = Callable[[], datetime]
"""Wall time, UTC. Elapsed time is `anyio.current_time()`."""

Reconcile: TypeAlias = Callable[[Key], Awaitable[Result]]


@frozen
class Page(Generic[T]):
    """One answer to a list request.

    Attributes:
        items: in the server's order.
        resource_version: the version of the whole list; the only one of a list that a watch may start from.
        continue_token: empty on the last page.
        unreadable: the items that are not what their type should be.
    """

    items: Sequence[T]
    resource_version: str
    continue_token: str = ""
    unreadable: Sequence[Unreadable] = ()


class WatchStream(Protocol[T]):
    """An open watch."""

    async def receive(self) -> Sequence[WatchEvent[T]]:
        """The next events, at least one and at most 256, in order.

        An empty sequence means that the server ended the stream in good order.

        Raises:
            ApiError: Network when the connection broke or was cut in mid-line; Silent when no byte came for as long as the stream's
                inactivity limit; Decode when a line is no watch event.
        """
        ...


class ListWatch(Protocol[T]):
    """One resource, as a reflector reads it. Errors are `ApiError`s, already classified."""

    @property
    def resource(self) -> str:
        """`plural.group`, for logs and metrics."""
        ...

    @property
    def server(self) -> str:
        """Which server requests go to now: another text, another server, whose versions are not to be compared with the former's."""
        ...

    async def list(self, *, resource_version: str = "", limit: int = 0, continue_token: str = "") -> Page[T]:
        """One page. `resource_version` "" asks etcd, "0" takes any cached state, other values mean "not older than"."""
        ...

    def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AbstractAsyncContextManager[WatchStream[T]]:
        """Opens a watch with bookmarks.

        Args:
            resource_version: resume after this version; with `initial_events`, "" for a state as new as etcd's.
            initial_events: ask for a streaming list (`sendInitialEvents=true`, `resourceVersionMatch=NotOlderThan`).
            timeout_seconds: when the server shall end the stream in good order.
        """
        ...

    async def rest(self, seconds: float) -> bool:
        """Returns after so many seconds, or as soon as the server is back after an outage; True then."""
        ...


@frozen
class LeaseRecord:
    """A coordination.k8s.io/v1 Lease, as far as leader election and heartbeats go.

    Attributes:
        holder: identity of the holder, empty when released.
        duration_seconds: for how long after a renewal the holder may act.
        acquire_time: when this holder got it.
        renew_time: when it was last renewed.
        transitions: how often the holder changed.
        resource_version: of the stored object, for an update that must not lose another's; empty before it is stored.
    """

    holder: str
    duration_seconds: int
    acquire_time: datetime | None
    renew_time: datetime | None
    transitions: int = 0
    resource_version: str = ""


class LeaseLock(Protocol):
    """One named Lease object."""

    async def get(self) -> LeaseRecord | None:
        """The stored record; None if there is no such Lease."""
        ...

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Raises AlreadyExists when somebody was faster."""
        ...

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """Raises Conflict when `record.resource_version` is not the stored one."""
        ...

    async def wait_for_change(self, record: LeaseRecord | None, seconds: float) -> None:
        """Returns when the stored Lease is no longer `record`, or after `seconds`. Errors end the wait early, raised."""
        ...

    async def rest(self, seconds: float) -> bool:
        """Returns after so many seconds, or as soon as the server is back after an outage; True then."""
        ...
