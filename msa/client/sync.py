"""The same for programs without an event loop: one of its own, in a thread, and no logic beside it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msa.api.token import Token
from msa.client.credential import ClusterCredential, Identity
from msa.client.errors import TokenError
from msa.client.hub import Hub
from msa.client.source import TokenSource

if TYPE_CHECKING:  # whoever uses them has them
    import anyio.from_thread
    import kubernetes

    from msa.client.for_httpx import Settings

T = TypeVar("T")
_END: Any = object()


class SyncTokenSource:
    """A `TokenSource`, see there, whose methods wait. Any thread may use it.

    with SyncTokenSource() as source:
        credential = source.get("cluster1", "deployer")
    """

    def __init__(
        self,
        kubeconfig: Path | str | None = None,
        *,
        servers: Mapping[str, str] | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._source = TokenSource(kubeconfig, servers=servers, hub=hub)
        self._stack = ExitStack()
        self._loop: anyio.from_thread.BlockingPortal | None = None

    def __enter__(self) -> Self:
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - it costs 50 ms

        with ExitStack() as stack:
            loop = stack.enter_context(start_blocking_portal())
            stack.enter_context(loop.wrap_async_context_manager(self._source))
            self._loop, self._stack = loop, stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._loop = None
        return self._stack.__exit__(kind, error, trace)

    def find(self, labels: str = "", *, cluster: str = "") -> Sequence[Identity]:
        return self._call(partial(self._source.find, labels, cluster=cluster))

    def get(self, cluster: str, name: str) -> ClusterCredential:
        return self._call(self._source.get, cluster, name)

    def follow(self, cluster: str, name: str) -> Iterator[ClusterCredential | None]:
        return self._each(self._source.follow(cluster, name))

    def token(self, cluster: str, name: str) -> Token:
        return self._source.token(cluster, name)

    def headers(self, cluster: str, name: str) -> Callable[[], dict[str, str]]:
        return self._call(self._source.headers, cluster, name)

    def httpx(self, cluster: str, name: str) -> "Settings":
        """What httpx.Client is made with: `httpx.Client(**settings)`."""
        return self._call(self._source.httpx, cluster, name)

    def kubernetes(self, cluster: str, name: str) -> "kubernetes.client.Configuration":
        return self._call(self._source.kubernetes, cluster, name)

    def forget(self, cluster: str, name: str) -> None:
        async def forget() -> None:
            self._source.forget(cluster, name)

        self._call(forget)

    def _each(self, changes: AsyncIterator[ClusterCredential | None]) -> Iterator[ClusterCredential | None]:
        while (change := self._next(changes)) is not _END:
            yield change

    def _next(self, changes: AsyncIterator[ClusterCredential | None]) -> ClusterCredential | None:
        """`_END` after the last, which the end of the source is too."""
        try:
            change: ClusterCredential | None = self._call(anext, changes, _END)
        except TokenError:
            if self._loop is not None:
                raise
            change = _END
        return change

    def _call(self, function: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """What the function gives, in the source's own thread."""
        portal = self._portal
        try:
            return portal.call(function, *arguments)
        except (RuntimeError, CancelledError):
            if self._loop is not None:
                raise
            raise TokenError("this source was closed meanwhile") from None

    @property
    def _portal(self) -> "anyio.from_thread.BlockingPortal":
        if self._loop is None:
            raise TokenError("this source is not open: use it within `with SyncTokenSource() as source:`")
        return self._loop
