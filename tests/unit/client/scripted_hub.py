"""A hub whose Secrets are scripted: each is a collection of its own, and its token tells the version that it was written with."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from random import Random

import anyio.lowlevel
from prometheus_client import CollectorRegistry

from msa.api.meta import Condition, ObjectMeta
from msa.api.token import Token
from msa.client.content import Content, Held
from msa.client.credential import Address, Identity
from msa.client.errors import TokenError
from msa.client.follower import missing
from msa.client.standing import Standing
from msa.policy.readiness import ended
from msa.runtime.errors import ApiError, Forbidden
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from tests.support.scripted_server import ScriptedServer
from tests.support.wire import Thing

LIFE = timedelta(hours=24)


class ScriptedHub:
    """Implements `Hub`.

    Attributes:
        servers: one for each Secret, by cluster and name.
        spoilt: what is wrong with the Secrets that are written from now on, "" for nothing.
        ca: what Secrets hold that are written from now on.
        life: of their tokens.
        identities_of: one server for each ManagedServiceAccount, by cluster and name.
        found: what is answered to `identities`, by what was asked.
        addresses: of clusters, or why they cannot be told.
        state: opened, and closed.
        bug: what its own task ends with.
    """

    def __init__(self, now: Callable[[], datetime], ca: bytes) -> None:
        self._now = now
        self.servers: dict[tuple[str, str], ScriptedServer] = defaultdict(ScriptedServer)
        self.identities_of: dict[tuple[str, str], ScriptedServer] = defaultdict(ScriptedServer)
        self.spoilt = ""
        self.ca = ca
        self.life = LIFE
        self.found: dict[tuple[str, str], Sequence[Identity]] = {}
        self.addresses: dict[str, Address | TokenError] = defaultdict(lambda: Address("https://c1:6443"))
        self.state: list[str] = []
        self.bug: Exception | None = None
        self.asked: list[str] = []
        self._written: dict[tuple[str, str, str], Held | str] = {}
        self._said: dict[tuple[str, str, str], Condition] = {}

    def write(self, cluster: str, name: str) -> str:
        """Writes the Secret, and returns its token."""
        server = self.servers[cluster, name]
        version = str(server.version + 1)
        token = f"{name}-{version}"
        held = self.spoilt or Held(Token(token), self.ca, self._now() + self.life)
        self._written[cluster, name, version] = held
        server.put(name)
        return token

    def delete(self, cluster: str, name: str) -> None:
        self.servers[cluster, name].delete(name)

    def say(self, cluster: str, name: str, status: str, reason: str) -> None:
        """Writes the condition Ready of the ManagedServiceAccount."""
        server = self.identities_of[cluster, name]
        self._said[cluster, name, str(server.version + 1)] = Condition("Ready", status, reason, "as it is")
        server.put(name)

    def hide_identity(self, cluster: str, name: str, error: ApiError) -> None:
        """Refuses every request to follow the ManagedServiceAccount."""
        self.identities_of[cluster, name] = _Refusing(error)

    def refuse(self, cluster: str, name: str, error: ApiError) -> None:
        """Refuses from now on every request to follow the Secret; others are answered."""
        self.servers[cluster, name] = _Refusing(error)

    def now(self) -> datetime:
        return self._now()

    async def open(self) -> None:
        self.state.append("open")

    async def run(self) -> None:
        self.state.append("running")
        if self.bug is not None:
            raise self.bug

    async def close(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.state.append("closed")

    async def identities(self, cluster: str, labels: str) -> Sequence[Identity]:
        return self.found[cluster, labels]

    async def secret(self, cluster: str, name: str) -> Content:
        self.asked.append(f"secret {cluster}/{name}")
        if (thing := self.servers[cluster, name].objects.get(name)) is None:
            raise missing(cluster, name, "is not there")
        return self._content(cluster, thing)

    async def address(self, cluster: str) -> Address:
        self.asked.append(f"address {cluster}")
        address = self.addresses[cluster]
        if isinstance(address, TokenError):
            raise address
        return address

    def informer(self, cluster: str, name: str) -> Informer[Content]:
        return Informer(
            self.servers[cluster, name],
            Random(3),
            Metrics(CollectorRegistry()),
            transform=partial(self._content, cluster),
            optional=True,
        )

    def standings(self, cluster: str, name: str) -> Informer[Standing]:
        return Informer(
            self.identities_of[cluster, name],
            Random(3),
            Metrics(CollectorRegistry()),
            transform=partial(self._standing, cluster),
            optional=True,
        )

    def _standing(self, cluster: str, thing: Thing) -> Standing:
        metadata, version = thing.metadata, thing.metadata.resource_version
        said = self._said[cluster, metadata.name, version]
        return Standing(ObjectMeta(metadata.name, metadata.namespace, metadata.uid, version), ended((said,)))

    def _content(self, cluster: str, thing: Thing) -> Content:
        metadata, version = thing.metadata, thing.metadata.resource_version
        return Content(
            ObjectMeta(metadata.name, metadata.namespace, metadata.uid, version),
            self._written[cluster, metadata.name, version],
        )


class ListedOnly(ScriptedServer):
    """A server without streaming lists that lets a program list, and not watch."""

    def __init__(self) -> None:
        super().__init__(streams_lists=False)

    def _check_kept(self, version: int) -> None:
        raise Forbidden(f"watch from {version} is not allowed")


class _Refusing(ScriptedServer):
    """A server that refuses every request."""

    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self._error = error

    def _fail_request(self) -> None:
        raise self._error
