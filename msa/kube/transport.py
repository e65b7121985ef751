"""HTTP to one API server: two pools of connections, one credential that is replaced in place, errors by their class.

No client-side rate limit: the server's flow control and its Retry-After rule. Bodies, headers and queries are never logged.
"""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256

import aiohttp
import anyio
import anyio.to_thread
import structlog
from attrs import evolve
from prometheus_client import Counter, Histogram
from yarl import URL

from msa.kube import chains, credentials
from msa.kube.certificate import explained, said_to_have_expired
from msa.kube.credentials import Credential, CredentialError, one_line
from msa.kube.errors import TRANSPORT_ERRORS, from_answer, from_exception
from msa.kube.sessions import Sessions
from msa.kube.skew import ClockSkew, wall_clock
from msa.runtime.connectivity import Connectivity
from msa.runtime.errors import AnswerTooLarge, ApiError, Refused, Throttled, Unauthorized
from msa.runtime.metrics import Metrics

INACTIVITY_SECONDS = 65.0
"""After which a silent stream is opened anew. The server sends a bookmark every 60 s or so, but seldom where it has nothing to say."""

_RELOAD_SECONDS = 5.0
_GRACE_SECONDS = 30.0
_MOST_REPEATS = 3
_LONGEST_REPEAT_WAIT = 10.0
_LEAST_FAILURE = 300
_LEAST_BREAKDOWN = 500
_JSON = "application/json"
_log = structlog.get_logger(__name__)


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
        self._sessions: Sessions | None = None
        self._retired: list[tuple[float, Sessions]] = []
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
    def server(self) -> str:
        """Address and CA: which server this is, as far as can be told from here."""
        return _server_of(self.credential)

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
        at most; one refused with 401 is sent again once if the credential has changed on disk, and one that was not sent at all since the server's certificate was not
        trusted if there is another way to trust it.

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
            except (Unauthorized, Refused) as error:
                if reloaded:
                    raise
                reloaded = True
                if self._sessions is used and isinstance(error, Unauthorized):  # else it is found out already
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
            raise await self._failed(error, method, path, start) from None
        finally:
            self.under_way -= 1
        self._count(str(response.status), method, path, start)
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
        used, sent, start = self._sessions, time.time(), time.monotonic()
        try:
            sessions, response = await self._begun(path, start)
        except Refused:
            if self._sessions is used:
                raise
            sessions, response = await self._begun(path, start)
        try:
            self._count(str(response.status), "WATCH", path, start)
            self._answered(response, sent)
            if response.status >= _LEAST_FAILURE:
                raise await self._refusal(response)
            sessions.reading.add(response.content)
            yield response.content
        finally:
            sessions.reading.discard(response.content)
            response.close()

    async def _begun(self, path: str, start: float) -> tuple[Sessions, aiohttp.ClientResponse]:
        sessions = self._open_sessions
        try:
            return sessions, await sessions.streams.get(
                self._url(path),
                allow_redirects=False,
                server_hostname=sessions.credential.tls_server_name or None,
            )
        except TRANSPORT_ERRORS as error:
            raise await self._failed(error, "WATCH", path, start) from None

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
    def _open_sessions(self) -> Sessions:
        if self._sessions is None:
            raise RuntimeError("the transport is not open")
        return self._sessions

    def _take(self, credential: Credential) -> None:
        if self._sessions is not None:
            self._retired.append((time.monotonic(), self._sessions))
            if _server_of(self._sessions.credential) != _server_of(credential):
                self._sessions.end_streams()
        self._sessions = Sessions(credential, self._inactivity)
        self._base = credential.server
        self._host = URL(credential.server).authority
        self._counters.clear()

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    def _count(self, code: str, method: str, path: str, start: float) -> None:
        took = time.monotonic() - start
        _log.debug("request", method=method, path=path.partition("?")[0], status=code, seconds=round(took, 3))
        if (found := self._counters.get((code, method))) is None:
            found = (
                self._metrics.requests.labels(code, method, self._host),
                self._metrics.request_seconds.labels(method, self._host),
            )
            self._counters[code, method] = found
        requests, seconds = found
        requests.inc()
        seconds.observe(took)

    async def _failed(self, error: BaseException, method: str, path: str, start: float) -> ApiError:
        """There was no answer. A certificate that is not trusted comes from a server that is there."""
        self._count("<error>", method, path, start)
        if not isinstance(error, aiohttp.ClientSSLError):
            self.connectivity.failed()
        found = from_exception(error)
        match error:
            case aiohttp.ClientConnectorCertificateError(
                host=str(host), port=int(port), certificate_error=ssl.SSLCertVerificationError() as refusal
            ):
                await self._distrusted(found, (host, port), refusal)
        return found

    async def _distrusted(
        self, found: ApiError, address: tuple[str, int], refusal: ssl.SSLCertVerificationError
    ) -> None:
        """Looks at what the server shows: for another way to what is trusted, and for the date on which its certificate expired.

        In a thread: whoever answers in the server's place chooses how long it takes.
        """
        sessions = self._open_sessions
        place = chains.Place(*address, sessions.credential.tls_server_name)
        certificates = await anyio.to_thread.run_sync(chains.shown, place)
        found.explain(said_to_have_expired(refusal, certificates))
        tls = await anyio.to_thread.run_sync(
            chains.other_way, refusal, place, sessions.credential.trust, certificates, wall_clock()
        )
        if tls is not None and self._sessions is sessions:
            self._take(evolve(sessions.credential, tls=tls))

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


def _server_of(credential: Credential) -> str:
    return f"{credential.server} (CA {sha256(credential.ca).hexdigest()[:12]})"


def _shown(credential: Credential) -> tuple[str, str, str]:
    """What tells a credential from another: what a program gave may change while the files stay."""
    return credential.digest, credential.authorization, credential.certificate_digest
