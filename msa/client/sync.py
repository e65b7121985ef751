"""The same for programs without an event loop: one of its own, in a thread, and no logic beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msa.api.token import Token
from msa.client.credential import ClusterCredential, Identity
from msa.client.errors import TokenError
from msa.client.hub import Hub
from msa.client.source import TokenSource

if TYPE_CHECKING:  # whoever uses them has them
    import anyio.from_thread
    import kubernetes

    from msa.client.for_httpx import Settings


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
            self._loop = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._loop.wrap_async_context_manager(self._source))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def find(self, labels: str = "", *, cluster: str = "") -> Sequence[Identity]:
        return self._portal.call(partial(self._source.find, labels, cluster=cluster))

    def get(self, cluster: str, name: str) -> ClusterCredential:
        return self._portal.call(self._source.get, cluster, name)

    def follow(self, cluster: str, name: str) -> Iterator[ClusterCredential | None]:
        changes, end = self._source.follow(cluster, name), object()
        while (change := self._portal.call(anext, changes, end)) is not end:
            yield change

    def token(self, cluster: str, name: str) -> Token:
        return self._source.token(cluster, name)

    def headers(self, cluster: str, name: str) -> Callable[[], dict[str, str]]:
        return self._portal.call(self._source.headers, cluster, name)

    def httpx(self, cluster: str, name: str) -> "Settings":
        """What httpx.Client is made with: `httpx.Client(**settings)`."""
        return self._portal.call(self._source.httpx, cluster, name)

    def kubernetes(self, cluster: str, name: str) -> "kubernetes.client.Configuration":
        return self._portal.call(self._source.kubernetes, cluster, name)

    def forget(self, cluster: str, name: str) -> None:
        self._portal.call(self._source.forget, cluster, name)

    @property
    def _portal(self) -> "anyio.from_thread.BlockingPortal":
        if self._loop is None:
            raise TokenError("this source is not open: use it within `with SyncTokenSource() as source:`")
        return self._loop
