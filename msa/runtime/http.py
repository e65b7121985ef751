"""A server for probes and scrapes: GET of a few fixed paths, nothing else.

h11 reads the request, so malformed, over-long and ambiguous ones are refused by a library that is made for that. One request a
connection: nothing can be smuggled behind it. Slow clients and too many of them cost a bounded number of waiting tasks, and a
newcomer takes the place of who has waited longest: whoever holds all places by saying nothing does not keep the kubelet's probe out.
"""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio
import h11
import structlog
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from attrs import frozen

_HEADER_BYTES: Final = 8192
_SECONDS: Final = 5.0
_CONNECTIONS: Final = 32
_CLIENTS_TROUBLE: Final = (
    anyio.BrokenResourceError,
    anyio.EndOfStream,
    h11.RemoteProtocolError,
    OSError,
)
_log = structlog.get_logger(__name__)


@frozen
class Response:
    """What a path answers."""

    body: bytes
    code: int = 200
    content_type: str = "text/plain; charset=utf-8"


Route = Callable[[], Awaitable[Response]]


def parse_address(text: str) -> tuple[str | None, int] | None:
    """Host and port of a bind address in Go's style.

    Args:
        text: `:8080` for all interfaces, `127.0.0.1:8080`, `[::1]:8080`; `0` or "" for no server at all.

    Raises:
        ValueError: it is none; the message quotes it.
    """
    if text in ("", "0"):
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest port there is
        raise ValueError(f"{text!r} is not a valid address to listen on, such as :8080 or 127.0.0.1:8080")
    return host.strip("[]") or None, int(port)


async def serve(
    address: tuple[str | None, int],
    routes: Mapping[str, Route],
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serves for ever; reports the port it listens on.

    Args:
        address: host (None for all interfaces) and port (0 for a free one).
        routes: what each path answers.
        task_status: of `TaskGroup.start`.

    Raises:
        OSError: the address cannot be had.
    """
    host, port = address
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    task_status.started(listener.extra(SocketAttribute.local_port))  # noqa: S610 - anyio, not Django
    open_connections: dict[anyio.CancelScope, None] = {}  # the oldest first

    async def handle(stream: SocketStream) -> None:
        async with stream:
            if len(open_connections) == _CONNECTIONS:
                oldest = next(iter(open_connections))
                oldest.cancel()
                del open_connections[oldest]
            with contextlib.suppress(*_CLIENTS_TROUBLE), anyio.move_on_after(_SECONDS) as scope:
                open_connections[scope] = None
                try:
                    await _answer(stream, routes)
                finally:
                    open_connections.pop(scope, None)

    async with listener:
        await listener.serve(handle)


async def _answer(stream: SocketStream, routes: Mapping[str, Route]) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)
    try:
        request = await _request(stream, connection)
        response = await _route(request, routes)
        head = request.method == b"HEAD"
    except h11.RemoteProtocolError as error:
        response, head = Response(b"bad request\n", error.error_status_hint), False
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("connection", "close"),
    ]
    await stream.send(connection.send(h11.Response(status_code=response.code, headers=headers)) or b"")
    if not head:
        await stream.send(connection.send(h11.Data(data=response.body)) or b"")


async def _request(stream: SocketStream, connection: h11.Connection) -> h11.Request:
    while True:
        event = connection.next_event()
        match event:
            case h11.Request():
                return event
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive(4096))
            case _:
                raise h11.RemoteProtocolError("no request")


async def _route(request: h11.Request, routes: Mapping[str, Route]) -> Response:
    if request.method not in (b"GET", b"HEAD"):
        return Response(b"only GET here\n", 405)
    route = routes.get(request.target.partition(b"?")[0].decode("latin-1"))
    if route is None:
        return Response(b"not found\n", 404)
    try:
        return await route()
    except Exception:  # noqa: BLE001 - a broken route must not take the server down; it is logged with its trace
        _log.exception("route_failed", path=request.target.decode("latin-1"))
        return Response(b"internal error\n", 500)
