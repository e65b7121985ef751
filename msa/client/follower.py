"""One credential, followed: the newest state at any time, and word of every change."""

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import anyio

from msa import pem
from msa.api.durations import rfc3339
from msa.api.meta import Condition
from msa.api.token import Token
from msa.client.content import Content, Held
from msa.client.credential import Address, ClusterCredential
from msa.client.errors import Denied, Expired, Missing, TokenError, Unreachable
from msa.client.locator import Locator
from msa.client.standing import Standing
from msa.policy.readiness import TOKEN_EXPIRED
from msa.runtime.errors import Unauthorized

if TYPE_CHECKING:  # it brings what a consumer may never use
    from msa.runtime.informer import Informer
    from msa.runtime.store import Change

GRACE = timedelta(seconds=30)
"""For how long the last token is still handed out after its Secret went or was spoilt: the agent puts it right within seconds."""

LEEWAY = timedelta(seconds=60)
"""For how long API servers take a token after it has expired."""

_START_SECONDS = 30.0
_NEWER_SECONDS = 5.0
_RIGHT_SECONDS = 60.0
"""After so long a watch that is refused was tried."""


class Follower:
    """One credential.

    Args:
        cluster: which managed cluster.
        name: of the ManagedServiceAccount.
        informer: of its Secret.
        read_address: asks where the cluster is; asked anew with each change of the Secret, and until it is known.
        now: wall time, from any thread.
        standings: informer of the ManagedServiceAccount; it is followed where this program may read it.
    """

    def __init__(
        self,
        cluster: str,
        name: str,
        informer: "Informer[Content]",
        read_address: Callable[[], Awaitable[Address]],
        now: Callable[[], datetime],
        *,
        standings: "Informer[Standing]",
    ) -> None:
        self._cluster, self._name = cluster, name
        self._informer = informer
        self._standings = standings
        self._now = now
        self._held: Held | None = None
        self._problem = "is not there"
        self._bad_since: datetime | None = None
        self._locator = Locator(read_address, self._spread)
        self._changed = anyio.Event()
        self._contexts: WeakSet[ssl.SSLContext] = WeakSet()
        self._ca_file: Path | None = None
        self._scope = anyio.CancelScope()
        self._waiting: set[anyio.CancelScope] = set()
        informer.subscribe(self._take)
        standings.subscribe(lambda _change: self._spread())

    async def run(self) -> None:
        """Follows until it is closed."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._informer.run)
                tasks.start_soon(self._follow_standing)
                await self._informer.wait_settled()
                await self._locator.run()

    async def _follow_standing(self) -> None:
        """Ends where this program may not read it, or may list but not watch it: then the Secret alone tells."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._standings.run)
            await self._standings.wait_settled()
            if self._standings.store.synced:
                await anyio.sleep(_RIGHT_SECONDS)
            if self._standings.refused:
                self._spread()
                tasks.cancel_scope.cancel()

    def close(self) -> None:
        """Ends it, and whoever waits for something of it."""
        self._scope.cancel()
        for waiting in self._waiting:
            waiting.cancel()
        self._tell()

    @property
    def synced(self) -> bool:
        """Whether the hub has shown the Secret, or that there is none."""
        return self._informer.store.synced

    async def ready(self) -> None:
        """Returns once the hub has answered.

        Raises:
            Denied: it does not let us look, or has not known us for half a minute.
            Unreachable: it has not given the Secret for half a minute.
            TokenError: it is no longer followed.
        """
        with self._waits(_START_SECONDS):
            await self._informer.wait_settled()
            if not self.synced:
                raise Denied(
                    f"the hub does not let this program follow Secret {self._cluster}/{self._name}: it needs the verbs list and"
                    f" watch on secrets in namespace {self._cluster}; resourceNames [{self._name}] is enough"
                    f" ({self._informer.trouble()})"
                )
            await self._locator.asked.wait()
            await self._standings.wait_settled()
        if not self.synced:
            raise self._not_given()

    def credential(self) -> ClusterCredential:
        """The newest one. May be called from any thread.

        Raises:
            Missing: there is none.
            Expired: it has run out.
        """
        return self._at(self._now())

    async def change(self, told: ClusterCredential | None) -> ClusterCredential | None:
        """The present credential as soon as it is another one than was told; None for none.

        Raises:
            StopAsyncIteration: it is no longer followed.
        """
        while not self._scope.cancel_called:
            changed, now = self._changed, self._now()
            current = self._current(now)
            if _facts(told) != _facts(current):
                return current
            with anyio.move_on_after(self._seconds_to_next(now)):
                await changed.wait()
        raise StopAsyncIteration

    async def newer(self, used: Token) -> Token | None:
        """Another token than the one that was used, waited for shortly; None where there is none."""
        with anyio.move_on_after(_NEWER_SECONDS):
            while not self._scope.cancel_called:
                changed, current = self._changed, self._current(self._now())
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
            current = self.credential()
            current.ssl_context()  # tells what is no CA, which whoever reads the file would not explain
            file = folder / f"{self._cluster}-{self._name}.{id(self):x}.crt"
            self._write_ca(file, current.ca)
            self._ca_file = file
        return self._ca_file

    def _take(self, change: "Change[Content]") -> None:
        held = change.new.held if change.new is not None else "is not there any more"
        if isinstance(held, Held):
            self._held, self._bad_since = held, None
        else:
            self._problem, self._bad_since = held, self._bad_since or self._now()
        self._locator.refresh()
        self._spread()

    @contextmanager
    def _waits(self, seconds: float) -> Iterator[None]:
        """For so long, and no longer than it is followed.

        Raises:
            TokenError: it is not followed any more.
        """
        if not self._scope.cancel_called:
            with anyio.move_on_after(seconds) as waiting:
                self._waiting.add(waiting)
                try:
                    yield
                finally:
                    self._waiting.discard(waiting)
        if self._scope.cancel_called:
            raise TokenError(f"{self._name} of cluster {self._cluster} is no longer followed")

    def _not_given(self) -> TokenError:
        trouble = self._informer.trouble() or "no answer yet"
        if trouble.startswith(f"{self._informer.resource}: {Unauthorized.reason}:"):
            return Denied(
                f"the hub does not know this program, which would follow Secret {self._cluster}/{self._name}: see whether the"
                f" token or the certificate that it comes with is still good, in its kubeconfig or its pod ({trouble})"
            )
        return Unreachable(
            f"the hub did not give Secret {self._cluster}/{self._name} for {_START_SECONDS:.0f} s: {trouble}"
        )

    def _spread(self) -> None:
        """Tells those who wait, and those who trust our CAs."""
        if (current := self._current(self._now())) is not None:
            with suppress(TokenError, OSError):  # what was trusted stays
                self._trust(current)
        self._tell()

    def _trust(self, current: ClusterCredential) -> None:
        """Raises TokenError where there is no CA, OSError where it cannot be written."""
        if not self._contexts and self._ca_file is None:
            return
        current.ssl_context()  # the judge of what is one
        for trusting in self._contexts:
            trusting.load_verify_locations(cadata=b"".join(pem.certificates(current.ca)))
        if self._ca_file is not None:
            self._write_ca(self._ca_file, current.ca)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @staticmethod
    def _write_ca(file: Path, ca: bytes) -> None:
        new = file.with_suffix(".new")
        new.write_bytes(ca)
        new.replace(file)

    def _at(self, now: datetime) -> ClusterCredential:
        """What `credential` gives at that time."""
        bad_since, held = self._bad_since, self._held  # in the order in which other threads see them change
        if held is None or (bad_since is not None and now - bad_since >= GRACE):
            raise missing(self._cluster, self._name, self._problem)
        for standing in self._standings.store.values():  # it is the only one
            if standing.ended is not None and not self._standings.refused:
                raise over(self._cluster, self._name, standing.ended)
        return usable(self._cluster, self._name, held, self._locator.address, now)

    def _current(self, now: datetime) -> ClusterCredential | None:
        with suppress(Missing, Expired):
            return self._at(now)
        return None

    def _seconds_to_next(self, now: datetime) -> float:
        """Until time alone changes the state after `now`: the grace ends, or the token expires."""
        if self._held is None:
            return math.inf
        ends = self._held.expires_at + LEEWAY
        if self._bad_since is not None:
            ends = min(ends, self._bad_since + GRACE)
        left = (ends - now).total_seconds()
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


def over(cluster: str, name: str, condition: Condition) -> Missing | Expired:
    """The ManagedServiceAccount says that its token can be used no more."""
    kind = Expired if condition.reason == TOKEN_EXPIRED else Missing
    return kind(
        f"the token of {name} for cluster {cluster} can be used no more: Ready of the ManagedServiceAccount is {condition.status}"
        f" ({condition.reason}: {condition.message}); kubectl describe managedserviceaccount -n {cluster} {name}"
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
            f"the token of {name} for cluster {cluster} expired at {rfc3339(held.expires_at)} and was not renewed:"
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
