"""Where a program on the hub gets its tokens from."""

import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.abc

from msa.api import names
from msa.api.token import Token
from msa.client.credential import Address, ClusterCredential, Identity, bearer
from msa.client.errors import TokenError
from msa.client.follower import Changes, Follower, missing, usable
from msa.client.hub import Hub

if TYPE_CHECKING:  # whoever uses them has them
    import kubernetes
    import kubernetes_asyncio

    from msa.client.for_httpx import Settings

_OBJECT_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
)
"""What may be the name of an object (RFC 1123 subdomain)."""


class TokenSource:
    """The ManagedServiceAccounts of a hub, and their tokens, always fresh. Runs on asyncio.

        async with TokenSource() as source:
            credential = await source.get("cluster1", "deployer")

    Every call that asks the hub raises `TokenError`: `Denied` where a right is missing, `Unreachable` where there is no answer,
    `Missing` and `Expired` where there is no usable token; all of `msa.client.errors`.

    Args:
        kubeconfig: of the hub. None for what the environment gives: KUBECONFIG, else the pod's own, else ~/.kube/config.
        servers: addresses of managed clusters by name, for those that the hub does not tell, or not to this program.
        hub: where it all is read, in place of a kubeconfig.
    """

    def __init__(
        self,
        kubeconfig: Path | str | None = None,
        *,
        servers: Mapping[str, str] | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._hub = hub if hub is not None else _connected(kubeconfig)
        self._servers = dict(servers or {})
        self._followers: dict[tuple[str, str], Follower] = {}
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._folder: Path | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._hub.open()
            stack.push_async_callback(self._disconnect)
            tasks = anyio.create_task_group()
            await tasks.__aenter__()
            stack.push_async_exit(partial(_end, tasks))
            stack.callback(self._forget_all)
            tasks.start_soon(self._hub.run)
            self._tasks, self._stack = tasks, stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def find(self, labels: str = "", *, cluster: str = "") -> Sequence[Identity]:
        """The ManagedServiceAccounts with these labels.

        Args:
            labels: a label selector as kubectl takes it: `team=payments,stage!=test`; "" for any.
            cluster: of this cluster only; "" for all.
        """
        self._opened()
        return await self._hub.identities(_checked(cluster) if cluster else "", labels)

    async def get(self, cluster: str, name: str) -> ClusterCredential:
        """The credential as it is now: from what is followed already, else by one request (two where the address is asked for)."""
        self._opened()
        key = _key(cluster, name)
        if (follower := self._followers.get(key)) is not None and follower.synced:
            await follower.ready()
            return follower.credential()
        content = await self._hub.secret(*key)
        if isinstance(content.held, str):
            raise missing(cluster, name, content.held)
        try:
            address: Address | TokenError = await self._address(cluster)
        except TokenError as error:  # told to whoever asks for the address
            address = error
        return usable(cluster, name, content.held, address, self._hub.now())

    def follow(self, cluster: str, name: str) -> AsyncIterator[ClusterCredential | None]:
        """The present credential once there is one, then each new one.

        None says that there is no usable token any more: it was withdrawn, or has expired and nobody renewed it, or the
        ManagedServiceAccount says that it can be used no more. The iterator goes on, and ends with the source.
        """
        self._opened()
        return Changes(partial(self._followed, cluster, name))

    def token(self, cluster: str, name: str) -> Token:
        """The fresh token of what is followed, at once and without a request. May be called from any thread.

        Raises:
            TokenError: it is not followed; `Missing` or `Expired`: there is no usable token.
        """
        return self._follower(cluster, name).credential().token

    async def headers(self, cluster: str, name: str) -> Callable[[], dict[str, str]]:
        """Follows the credential; gives a function that returns `{"Authorization": "Bearer ..."}` with the fresh token each time.

        The function may be called from any thread, and raises as `token` does.
        """
        await self._ready(cluster, name)
        return lambda: bearer(self.token(cluster, name))

    async def httpx(self, cluster: str, name: str) -> "Settings":
        """Follows the credential; gives what httpx.AsyncClient is made with: `httpx.AsyncClient(**settings)`."""
        from msa.client import for_httpx  # noqa: PLC0415 - whoever calls this has httpx

        follower = await self._ready(cluster, name)
        return for_httpx.settings(
            follower, partial(self.token, cluster, name), partial(self._newer, cluster, name)
        )

    async def kubernetes(self, cluster: str, name: str) -> "kubernetes.client.Configuration":
        """Follows the credential; gives the configuration for kubernetes.client.ApiClient, for any thread."""
        from msa.client import for_kubernetes  # noqa: PLC0415 - whoever calls this has kubernetes

        follower = await self._ready(cluster, name)
        return for_kubernetes.configuration(follower, partial(self.token, cluster, name), self._ca_folder())

    async def kubernetes_asyncio(self, cluster: str, name: str) -> "kubernetes_asyncio.client.Configuration":
        """Follows the credential; gives the configuration for kubernetes_asyncio.client.ApiClient."""
        from msa.client import for_kubernetes_asyncio  # noqa: PLC0415 - whoever calls this has kubernetes_asyncio

        follower = await self._ready(cluster, name)
        return for_kubernetes_asyncio.configuration(
            follower, partial(self.token, cluster, name), self._ca_folder()
        )

    def forget(self, cluster: str, name: str) -> None:
        """Stops following it; its iterators end, and what was configured with it gets no more tokens."""
        if (follower := self._followers.pop((cluster, name), None)) is not None:
            follower.close()

    async def _ready(self, cluster: str, name: str) -> Follower:
        """Its follower, which has a usable token."""
        follower = await self._followed(cluster, name)
        follower.credential()
        return follower

    async def _followed(self, cluster: str, name: str) -> Follower:
        tasks, key = self._opened(), _key(cluster, name)
        if (follower := self._followers.get(key)) is None:
            follower = Follower(
                cluster,
                name,
                self._hub.informer(cluster, name),
                partial(self._address, cluster),
                self._hub.now,
                standings=self._hub.standings(cluster, name),
            )
            self._followers[key] = follower
            tasks.start_soon(follower.run)
        try:
            await follower.ready()
        except TokenError:
            if self._followers.get(key) is follower:  # so that the next one asks anew
                self.forget(cluster, name)
            raise
        return follower

    def _opened(self) -> anyio.abc.TaskGroup:
        if self._tasks is None:
            raise TokenError("this source is not open: use it within `async with TokenSource() as source:`")
        return self._tasks

    def _follower(self, cluster: str, name: str) -> Follower:
        if (follower := self._followers.get((cluster, name))) is None:
            raise TokenError(
                f"{name} of cluster {cluster} is not followed: call `follow`, `headers` or a configuration of this source first,"
                " and use the token while the source is open"
            )
        return follower

    async def _newer(self, cluster: str, name: str, used: Token) -> Token | None:
        return await self._follower(cluster, name).newer(used)

    async def _address(self, cluster: str) -> Address:
        if (url := self._servers.get(cluster)) is not None:
            return Address(url.rstrip("/"))
        self._opened()  # it may have been closed since
        return await self._hub.address(cluster)

    def _ca_folder(self) -> Path:
        """A folder of our own that goes with the source."""
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="msa-client-")))
        return self._folder

    async def _disconnect(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._hub.close()

    def _forget_all(self) -> None:
        self._tasks = self._folder = None
        for cluster, name in tuple(self._followers):
            self.forget(cluster, name)


async def _end(
    tasks: anyio.abc.TaskGroup,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> bool | None:
    """Ends the tasks. What the consumer's own code raised goes on as it is, not within a group of exceptions."""
    tasks.cancel_scope.cancel()
    if error is None or not isinstance(error, anyio.get_cancelled_exc_class()):
        await tasks.__aexit__(None, None, None)
        return None
    return await tasks.__aexit__(kind, error, trace)


def _key(cluster: str, name: str) -> tuple[str, str]:
    """Both become part of a path, so they may be nothing but names."""
    if not _OBJECT_NAME.fullmatch(name):
        raise TokenError(f"{name!r} cannot be the name of a ManagedServiceAccount")
    return _checked(cluster), name


def _checked(cluster: str) -> str:
    if not names.NAMESPACE_NAME.fullmatch(cluster):
        raise TokenError(f"{cluster!r} cannot be the name of a cluster")
    return cluster


def _connected(kubeconfig: Path | str | None) -> Hub:
    alone = "structlog" not in sys.modules
    from msa.client import connect  # noqa: PLC0415 - what it costs is paid by who uses it, not by who imports this

    if alone:
        connect.log_as_libraries_do()
    return connect.KubeHub(Path(kubeconfig) if kubeconfig is not None else None)
