"""HTTP to one API server: two pools of connections, one credential that is replaced in place, errors by their class.

No client-side rate limit: the server's flow control and its Retry-After rule. Bodies and headers are never logged.
"""

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import anyio
import structlog
from attrs import define, field
from prometheus_client import Counter, Histogram
from yarl import URL

import msa
from msa.kube import credentials
from msa.kube.certificate import explained
from msa.kube.credentials import Credential, CredentialError, one_line
from msa.kube.errors import TRANSPORT_ERRORS, from_answer, from_exception
from msa.kube.skew import ClockSkew, wall_clock
from msa.runtime.connectivity import Connectivity
from msa.runtime.errors import AnswerTooLarge, ApiError, Throttled, Unauthorized
from msa.runtime.metrics import Metrics

INACTIVITY_SECONDS = 100.0
"""A stream that is silent for longer is dead. The server sends a bookmark every 60 s, the first of a stream seen later than 70 s."""

_REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_PROBE = aiohttp.ClientTimeout(total=5.0, sock_connect=1.5)
_POOL = 16
_IDLE_SECONDS = 15.0
_RELOAD_SECONDS = 5.0
_GRACE_SECONDS = 30.0
_MOST_REPEATS = 3
_LONGEST_REPEAT_WAIT = 10.0
_LEAST_FAILURE = 300
_LEAST_BREAKDOWN = 500
_JSON = "application/json"
_log = structlog.get_logger(__name__)


def _socket(address: tuple) -> socket.socket:  # type: ignore[type-arg]  # aiohttp's AddrInfoType, a tuple of five
    """A socket on which a dead peer is noticed: keepalive after 30 s, every 10 s, three times; the same for unacknowledged data."""
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)  # noqa: FBT003 - the standard library's signature
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


@define
class _Sessions:
    """The pools of one credential; replaced as a whole with it.

    Attributes:
        reading: the bodies of the streams that are open.
    """

    credential: Credential
    inactivity: float
    reading: set[aiohttp.StreamReader] = field(init=False, factory=set)
    requests: aiohttp.ClientSession = field(init=False)
    streams: aiohttp.ClientSession = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.requests = self._session(
            _POOL, aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS)
        )
        # A watch holds its connection for minutes: streams have a pool of their own, without a limit.
        self.streams = self._session(
            0, aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self.inactivity)
        )

    def probe(self) -> aiohttp.ClientSession:
        """For one small request: what is left of an outage in the pools does not hold it up."""
        return self._session(1, _PROBE)

    def _session(self, limit: int, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        headers = {"Accept": _JSON, "User-Agent": f"msa/{msa.__version__}"}
        if self.credential.authorization:
            headers["Authorization"] = self.credential.authorization
        tls = self.credential.tls if self.credential.tls is not None else True
        connector = aiohttp.TCPConnector(
            limit=limit, ssl=tls, keepalive_timeout=_IDLE_SECONDS, socket_factory=_socket
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=headers,
            auto_decompress=True,
            proxy=self.credential.proxy or None,
        )

    async def close(self) -> None:
        """Streams end as if the server had ended them: aiohttp would tell their readers nothing, and they would wait for ever."""
        for stream in self.reading:
            stream.feed_eof()
        await self.requests.close()
        await self.streams.close()


class Transport:
    """Requests and streams to one API server.

    Args:
        load: reads the credential.
        metrics: where requests are counted.
        fence: called before every request that writes; raises `Fenced` when this process may not write.
        inactivity: seconds after which a silent stream counts as dead.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Credential]],
        metrics: Metrics,
        fence: Callable[[], None] = lambda: None,
        *,
        inactivity: float = INACTIVITY_SECONDS,
    ) -> None:
        self._inactivity = inactivity
        self._load = load
        self._metrics = metrics
        self._fence = fence
        self._sessions: _Sessions | None = None
        self._retired: list[tuple[float, _Sessions]] = []
        self._reloading = asyncio.Lock()
        self._skew = ClockSkew()
        self._host = ""
        self._counters: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self.under_way = 0
        self.connectivity = Connectivity(self._probe, lambda: self.credential.server)

    async def open(self) -> None:
        """Reads the credential; connects nowhere yet.

        Raises:
            CredentialError: there is none to be had.
        """
        self._take(await self._load())

    async def close(self) -> None:
        current = [self._sessions] if self._sessions else []
        for sessions in [*current, *(sessions for _, sessions in self._retired)]:
            await sessions.close()
        self._sessions = None

    async def run(self) -> None:
        """Watches over the credential's files and the server's return from outages, for ever."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.connectivity.run)
            await self._keep_credential()

    async def _keep_credential(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            if credentials.changed(self.credential):
                await self.reload()
            while self._retired and time.monotonic() - self._retired[0][0] > _GRACE_SECONDS:
                # Forgotten only then: `close` finishes what a cancellation leaves.
                await self._retired[0][1].close()
                del self._retired[0]

    async def reload(self) -> None:
        """Takes the credential anew; the old one is kept when it cannot be read. Requests under way finish on the old one.

        Requests that are refused together wait for one reading: it may start a program.
        """
        used = self._sessions
        async with self._reloading:
            if self._sessions is used:
                await self._reload()

    async def _reload(self) -> None:
        try:
            credential = await self._load()
        except CredentialError as error:
            _log.warning("credential_kept", problem=str(error))
            return
        except Exception as error:  # noqa: BLE001 - a bug of ours, or a file that nobody thought of, must not end who holds a good one
            _log.error("credential_kept", problem=f"{type(error).__name__}: {one_line(error)}")
            return
        if _shown(credential) != _shown(self.credential):
            _log.info("credential_reloaded", server=credential.server)
            self._take(credential)

    @property
    def credential(self) -> Credential:
        return self._open_sessions.credential

    @property
    def clock_skew(self) -> float | None:
        """Seconds that the server's clock is ahead of ours; None before any answer."""
        return self._skew.seconds

    def server_time(self) -> datetime:
        """What the server's clock shows at least; the beginning of time before any answer."""
        return datetime.fromtimestamp(self._skew.at_least(time.monotonic()), UTC)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str = _JSON,
        accept: str = "",
        fenced: bool = True,
        most: float = math.inf,
    ) -> bytes:
        """The body of the answer to one request.

        A request that was throttled (429: it was not executed) is sent again after the time the server asked for, a few times
        at most; one refused with 401 is sent again once if the credential has changed on disk.

        Args:
            method: GET, POST, PATCH, PUT or DELETE.
            path: percent-encoded, with its query.
            body: what to send, None for nothing.
            content_type: the body's media type.
            accept: the answer's, where it is not JSON.
            fenced: a write asks the fence first; only the leader election's own writes do not.
            most: bytes of the answer; AnswerTooLarge is raised, and no more of it read, where there are more.

        Raises:
            ApiError: by class, see `runtime.errors`.
        """
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        fence = self._fence if fenced and method != "GET" else None
        repeats, reloaded = 0, False
        while True:
            used = self._sessions
            try:
                if fence is not None:
                    fence()
                return await self._send_once(method, path, body, headers, most)
            except Throttled as error:
                repeats += 1
                wait = error.retry_after if error.retry_after is not None else 1.0
                if repeats > _MOST_REPEATS or wait > _LONGEST_REPEAT_WAIT:
                    raise
                self._metrics.request_retries.labels("429", method, self._host).inc()
                await asyncio.sleep(wait)
            except Unauthorized:
                if reloaded:
                    raise
                reloaded = True
                if self._sessions is used:  # else another request has found out already
                    await self.reload()
                if self._sessions is used:
                    raise

    async def _send_once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], most: float
    ) -> bytes:
        sessions, url = self._open_sessions, self._url(path)
        sent, start = time.time(), time.monotonic()
        self.under_way += 1
        try:
            async with sessions.requests.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                server_hostname=sessions.credential.tls_server_name or None,
            ) as response:
                content = await _content(response, most)
        except TRANSPORT_ERRORS as error:
            raise self._failed(error, method, start) from None
        finally:
            self.under_way -= 1
        self._count(str(response.status), method, start)
        self._answered(response, sent)
        if response.status >= _LEAST_FAILURE:
            raise self._explained(from_answer(response.status, response.headers, content))
        return content

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        """The bytes of a watch; the answer's status has been checked.

        Raises:
            ApiError: as `send`; errors of the stream itself are left to the reader, see `kube.errors`.
        """
        sent, start = time.time(), time.monotonic()
        try:
            sessions = self._open_sessions
            response = await sessions.streams.get(
                self._url(path),
                allow_redirects=False,
                server_hostname=sessions.credential.tls_server_name or None,
            )
        except TRANSPORT_ERRORS as error:
            raise self._failed(error, "WATCH", start) from None
        try:
            self._count(str(response.status), "WATCH", start)
            self._answered(response, sent)
            if response.status >= _LEAST_FAILURE:
                raise await self._refusal(response)
            sessions.reading.add(response.content)
            yield response.content
        finally:
            sessions.reading.discard(response.content)
            response.close()

    async def _refusal(self, response: aiohttp.ClientResponse) -> ApiError:
        try:
            error = from_answer(response.status, response.headers, await response.read())
        except TRANSPORT_ERRORS as broken:
            return from_exception(broken)
        if isinstance(error, Unauthorized):
            await self.reload()
        return self._explained(error)

    def _explained(self, error: ApiError) -> ApiError:
        return explained(error, self.credential.certificate_ends, wall_clock())

    @property
    def _open_sessions(self) -> _Sessions:
        if self._sessions is None:
            raise RuntimeError("the transport is not open")
        return self._sessions

    def _take(self, credential: Credential) -> None:
        if self._sessions is not None:
            self._retired.append((time.monotonic(), self._sessions))
        self._sessions = _Sessions(credential, self._inactivity)
        self._base = credential.server
        self._host = URL(credential.server).authority
        self._counters.clear()

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def _count(self, code: str, method: str, start: float) -> None:
        if (found := self._counters.get((code, method))) is None:
            found = (
                self._metrics.requests.labels(code, method, self._host),
                self._metrics.request_seconds.labels(method, self._host),
            )
            self._counters[code, method] = found
        requests, seconds = found
        requests.inc()
        seconds.observe(time.monotonic() - start)

    def _failed(self, error: BaseException, method: str, start: float) -> ApiError:
        """There was no answer. A certificate that is not trusted comes from a server that is there."""
        self._count("<error>", method, start)
        if not isinstance(error, aiohttp.ClientSSLError):
            self.connectivity.failed()
        return from_exception(error)

    async def _probe(self) -> int:
        """The status of a small request, 0 without an answer."""
        sessions = self._open_sessions
        name = sessions.credential.tls_server_name or None
        try:
            async with (
                sessions.probe() as session,
                session.get(self._url("/readyz"), allow_redirects=False, server_hostname=name) as response,
            ):
                return response.status
        except TRANSPORT_ERRORS:
            return 0

    def _answered(self, response: aiohttp.ClientResponse, sent: float) -> None:
        if response.status < _LEAST_FAILURE:
            self.connectivity.answered()
        elif response.status >= _LEAST_BREAKDOWN:
            self.connectivity.failed()
        self._skew.answered(response.headers.get("Date"), sent, time.time(), time.monotonic())


async def _content(response: aiohttp.ClientResponse, most: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        if (size := size + len(piece)) > most:
            raise AnswerTooLarge(f"the answer is longer than {most:.0f} bytes", code=response.status)
    return b"".join(pieces)


def _shown(credential: Credential) -> tuple[str, str, str]:
    """What tells a credential from another: what a program gave may change while the files stay."""
    return credential.digest, credential.authorization, credential.certificate_digest
