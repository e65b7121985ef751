"""One credential, followed: the newest state at any time, and word of every change."""

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import anyio

from msa.api.token import Token
from msa.client.content import Content, Held
from msa.client.credential import Address, ClusterCredential
from msa.client.errors import Denied, Expired, Missing, TokenError, Unreachable

if TYPE_CHECKING:  # it brings what a consumer may never use
    from msa.runtime.informer import Informer
    from msa.runtime.store import Change

GRACE = timedelta(seconds=30)
"""For how long the last token is still handed out after its Secret went or was spoilt: the agent puts it right within seconds."""

LEEWAY = timedelta(seconds=60)
"""For how long API servers take a token after it has expired."""

_START_SECONDS = 30.0
_NEWER_SECONDS = 5.0


class Follower:
    """One credential.

    Args:
        cluster: which managed cluster.
        name: of the ManagedServiceAccount.
        informer: of its Secret.
        read_address: asks where the cluster is; asked anew with each change of the Secret.
        now: wall time, from any thread.
    """

    def __init__(
        self,
        cluster: str,
        name: str,
        informer: "Informer[Content]",
        read_address: Callable[[], Awaitable[Address]],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster, self._name = cluster, name
        self._informer = informer
        self._read_address = read_address
        self._now = now
        self._held: Held | None = None
        self._problem = "is not there"
        self._bad_since: datetime | None = None
        self._address: Address | TokenError = TokenError("the address has not been asked for yet")
        self._changed, self._refreshed, self._located = anyio.Event(), anyio.Event(), anyio.Event()
        self._contexts: WeakSet[ssl.SSLContext] = WeakSet()
        self._ca_file: Path | None = None
        self._scope = anyio.CancelScope()
        informer.subscribe(self._take)

    async def run(self) -> None:
        """Follows until it is closed."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._informer.run)
                await self._informer.wait_settled()
                while True:
                    self._refreshed = anyio.Event()
                    await self._locate()
                    await self._refreshed.wait()

    def close(self) -> None:
        """Ends it, and whoever waits for a change."""
        self._scope.cancel()
        self._tell()

    async def ready(self) -> None:
        """Returns once the hub has answered.

        Raises:
            Denied: it does not let us look.
            Unreachable: it has not answered for half a minute.
        """
        with anyio.move_on_after(_START_SECONDS):
            await self._informer.wait_settled()
            if not self._informer.store.synced:
                raise Denied(
                    f"the hub does not let this program follow Secret {self._cluster}/{self._name}: it needs the verbs list and"
                    f" watch on secrets in namespace {self._cluster}; resourceNames [{self._name}] is enough"
                    f" ({self._informer.trouble()})"
                )
            await self._located.wait()
        if not self._informer.store.synced:
            raise Unreachable(
                f"the hub has not answered for {_START_SECONDS:.0f} s: {self._informer.trouble()}"
            )

    def credential(self) -> ClusterCredential:
        """The newest one. May be called from any thread.

        Raises:
            Missing: there is none.
            Expired: it has run out.
        """
        held, now = self._held, self._now()
        if held is None or (self._bad_since is not None and now - self._bad_since >= GRACE):
            raise missing(self._cluster, self._name, self._problem)
        return usable(self._cluster, self._name, held, self._address, now)

    async def change(self, told: ClusterCredential | None) -> ClusterCredential | None:
        """The present credential as soon as it is another one than was told; None for none.

        Raises:
            StopAsyncIteration: it is no longer followed.
        """
        while not self._scope.cancel_called:
            changed, current = self._changed, self._current()
            if _facts(told) != _facts(current):
                return current
            with anyio.move_on_after(self._seconds_to_next()):
                await changed.wait()
        raise StopAsyncIteration

    async def newer(self, used: Token) -> Token | None:
        """Another token than the one that was used, waited for shortly; None where there is none."""
        with anyio.move_on_after(_NEWER_SECONDS):
            while True:
                changed, current = self._changed, self._current()
                if current is not None and current.token.reveal() != used.reveal():
                    return current.token
                await changed.wait()
        return None

    def ssl_context(self) -> ssl.SSLContext:
        """A new one; CAs that come later are added to it while it lives."""
        made = self.credential().ssl_context()
        self._contexts.add(made)
        return made

    def ca_file(self, folder: Path) -> Path:
        """A file in there that holds the CAs, and is replaced when they change."""
        if self._ca_file is None:
            self._ca_file = folder / f"{self._cluster}-{self._name}.{id(self):x}.crt"
            self._write_ca(self._ca_file, self.credential().ca)
        return self._ca_file

    def _take(self, change: "Change[Content]") -> None:
        held = change.new.held if change.new is not None else "is not there any more"
        if isinstance(held, Held):
            self._held, self._bad_since = held, None
        else:
            self._problem, self._bad_since = held, self._bad_since or self._now()
        self._refreshed.set()
        self._spread()

    async def _locate(self) -> None:
        try:
            self._address = await self._read_address()
        except Unreachable as error:  # what was known stays good
            if not isinstance(self._address, Address):
                self._address = error
        except TokenError as error:
            self._address = error
        self._located.set()
        self._spread()

    def _spread(self) -> None:
        """Tells those who wait, and those who trust our CAs."""
        if (current := self._current()) is not None and current.ca:
            with suppress(
                OSError, ValueError
            ):  # where it is no CA, or cannot be written, what was trusted stays
                for trusting in self._contexts:
                    trusting.load_verify_locations(cadata=current.ca.decode())
                if self._ca_file is not None:
                    self._write_ca(self._ca_file, current.ca)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @staticmethod
    def _write_ca(file: Path, ca: bytes) -> None:
        new = file.with_suffix(".new")
        new.write_bytes(ca)
        new.replace(file)

    def _current(self) -> ClusterCredential | None:
        with suppress(Missing, Expired):
            return self.credential()
        return None

    def _seconds_to_next(self) -> float:
        """Until time alone changes the state: the grace ends, or the token expires."""
        if self._held is None:
            return math.inf
        ends = self._held.expires_at + LEEWAY
        if self._bad_since is not None:
            ends = min(ends, self._bad_since + GRACE)
        left = (ends - self._now()).total_seconds()
        return left if left > 0 else math.inf


class Changes(AsyncIterator[ClusterCredential | None]):
    """What `TokenSource.follow` gives. No generator: a consumer may leave its loop, and nothing is left to be closed."""

    def __init__(self, start: Callable[[], Awaitable[Follower]]) -> None:
        self._start = start
        self._follower: Follower | None = None
        self._told: ClusterCredential | None = None

    async def __anext__(self) -> ClusterCredential | None:
        if self._follower is None:
            self._follower = await self._start()
        self._told = await self._follower.change(self._told)
        return self._told


def missing(cluster: str, name: str, problem: str) -> Missing:
    return Missing(
        f"no token of {name} for cluster {cluster}: Secret {cluster}/{name} on the hub {problem}; see whether there is a"
        f" ManagedServiceAccount and what hinders it: kubectl describe managedserviceaccount -n {cluster} {name}"
    )


def usable(
    cluster: str, name: str, held: Held, address: Address | TokenError, now: datetime
) -> ClusterCredential:
    """The credential of what a Secret holds.

    Raises:
        Expired: its token has run out.
    """
    if now >= held.expires_at + LEEWAY:
        raise Expired(
            f"the token of {name} for cluster {cluster} expired at {held.expires_at:%Y-%m-%dT%H:%M:%SZ} and was not renewed:"
            f" is the cluster's agent connected? kubectl describe managedserviceaccount -n {cluster} {name}"
        )
    extra = address.ca if isinstance(address, Address) else b""
    ca = held.ca if extra in held.ca else held.ca.rstrip(b"\n") + b"\n" + extra
    return ClusterCredential(cluster, name, held.token, ca, held.expires_at, address)


def _facts(credential: ClusterCredential | None) -> object:
    if credential is None:
        return None
    address = credential._address  # noqa: SLF001 - an unknown address is no reason to raise here
    url = address.url if isinstance(address, Address) else ""
    return credential.token.reveal(), credential.ca, url
