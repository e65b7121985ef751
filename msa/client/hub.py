"""What a `TokenSource` needs of the hub. `connect` implements it against a server, tests script it."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msa.client.content import Content
from msa.client.credential import Address, Identity
from msa.client.standing import Standing

if TYPE_CHECKING:  # it brings what a consumer may never use
    from msa.runtime.informer import Informer


class Hub(Protocol):
    """Errors of its requests are `TokenError`s."""

    def now(self) -> datetime:
        """Wall time, UTC. May be called from any thread."""
        ...

    async def open(self) -> None:
        """Raises TokenError where it cannot be known how to reach it."""
        ...

    async def run(self) -> None:
        """Keeps the connection's own credential fresh, for ever."""
        ...

    async def close(self) -> None: ...

    async def identities(self, cluster: str, labels: str) -> Sequence[Identity]:
        """The ManagedServiceAccounts of one cluster, "" for all, that a label selector selects."""
        ...

    async def secret(self, cluster: str, name: str) -> Content:
        """Raises Missing where there is none."""
        ...

    async def address(self, cluster: str) -> Address:
        """Where the ManagedCluster says that it is reached."""
        ...

    def informer(self, cluster: str, name: str) -> "Informer[Content]":
        """Of this one Secret; its being forbidden settles it."""
        ...

    def standings(self, cluster: str, name: str) -> "Informer[Standing]":
        """Of this one ManagedServiceAccount; its being forbidden settles it."""
        ...
