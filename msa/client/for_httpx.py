"""httpx with a token that is always fresh."""

import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, TypedDict

import anyio.from_thread
import anyio.lowlevel
import httpx

from msa.api.token import Token
from msa.client.credential import bearer
from msa.client.follower import Follower

Newer = Callable[[Token], Coroutine[Any, Any, Token | None]]
_UNAUTHORIZED = 401


class Settings(TypedDict):
    """What a client is made with."""

    base_url: str
    verify: ssl.SSLContext
    auth: httpx.Auth


class Fresh(httpx.Auth):
    """The fresh token at each request. One refused with 401 is sent again, once, if another token comes within five seconds.

    What goes to another origin than the cluster's gets no token. For clients in the event loop that it was made in, and for those in other threads.

    Args:
        token: the newest.
        newer: waits for another token than the given one.
        server: the cluster's address.
    """

    def __init__(self, token: Callable[[], Token], newer: Newer, server: str) -> None:
        self._token = token
        self._newer = newer
        self._origin = _origin(httpx.URL(server))
        self._loop = anyio.lowlevel.current_token()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self._is_foreign(request):
            yield request
            return
        used = self._token()
        request.headers.update(bearer(used))
        response = yield request
        if _may_repeat(request, response) and (newer := await self._newer(used)) is not None:
            request.headers.update(bearer(newer))
            yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        if self._is_foreign(request):
            yield request
            return
        used = self._token()
        request.headers.update(bearer(used))
        response = yield request
        if _may_repeat(request, response) and (newer := self._wait(used)) is not None:
            request.headers.update(bearer(newer))
            yield request

    def _is_foreign(self, request: httpx.Request) -> bool:
        """Whether it goes elsewhere: an absolute URL overrules the client's `base_url`."""
        return _origin(request.url) != self._origin

    def _wait(self, used: Token) -> Token | None:
        return anyio.from_thread.run(self._newer, used, token=self._loop)


def _may_repeat(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether it was refused, and can be sent again: a body that came from a generator is used up."""
    return response.status_code == _UNAUTHORIZED and isinstance(request.stream, httpx.ByteStream)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def settings(follower: Follower, token: Callable[[], Token], newer: Newer) -> Settings:
    server = follower.credential().server
    return Settings(base_url=server, verify=follower.ssl_context(), auth=Fresh(token, newer, server))
