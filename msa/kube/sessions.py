"""The connections of one credential: a pool for requests, one for streams, and how a dead peer is noticed on them."""

import socket

import aiohttp
from attrs import define, field

import msa
from msa.kube.credentials import Credential

_REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_PROBE = aiohttp.ClientTimeout(total=5.0, sock_connect=1.5)
_POOL = 16
_IDLE_SECONDS = 15.0
_JSON = "application/json"


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
class Sessions:
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

    def end_streams(self) -> None:
        """As if the server had ended them: aiohttp would tell their readers nothing, and they would wait for ever."""
        for stream in self.reading:
            stream.feed_eof()

    async def close(self) -> None:
        self.end_streams()
        await self.requests.close()
        await self.streams.close()
