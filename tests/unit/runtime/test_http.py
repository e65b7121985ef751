"""The server for probes, with clients that do not behave."""

from collections.abc import AsyncIterator

import anyio
import pytest

from msa.runtime.http import Response, parse_address, serve


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def _ok() -> Response:
    return Response(b"ok\n")


async def _broken() -> Response:
    raise RuntimeError("a bug")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(serve, ("127.0.0.1", 0), {"/healthz": _ok, "/broken": _broken})
        tasks.cancel_scope.cancel()


async def _ask(port: int, request: bytes) -> bytes:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        return await _rest(stream)


async def _rest(stream: anyio.abc.SocketStream) -> bytes:
    answer = b""
    with anyio.fail_after(10):
        while True:
            try:
                answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer


def _get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (_get("/healthz"), b"200"),
        (_get("/healthz?verbose"), b"200"),
        (_get("/other"), b"404"),
        (_get("/healthz", "POST"), b"405"),
        (_get("/broken"), b"500"),
        (b"garbage\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 10_000, b"431"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 2_000, b"431"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            b"501",
        ),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"GET http://elsewhere/healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ],
)
async def test_each_request_has_its_answer(port: int, request_: bytes, status: bytes) -> None:
    assert (await _ask(port, request_)).startswith(b"HTTP/1.1 " + status)


async def test_head_has_no_body(port: int) -> None:
    assert (await _ask(port, _get("/healthz", "HEAD"))).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "first",
    [
        _get("/healthz"),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    ],
)
async def test_nothing_can_be_smuggled_behind_a_request(port: int, first: bytes) -> None:
    answer = await _ask(port, first + _get("/broken"))
    assert answer.count(b"HTTP/1.1") == 1
    assert b"500" not in answer


async def test_a_client_that_says_nothing_is_cut_off_after_five_seconds(port: int) -> None:
    start = anyio.current_time()
    assert await _ask(port, b"GET /healthz HTT") == b""
    assert 4.5 <= anyio.current_time() - start <= 7


async def test_a_newcomer_takes_the_place_of_the_slowest_of_thirty_two_clients(port: int) -> None:
    streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(32)]
    for stream in streams:
        await stream.send(b"GET /heal")
    await anyio.wait_all_tasks_blocked()
    assert b"200" in await _ask(port, _get("/healthz"))
    assert await _rest(streams[0]) == b"", "who came first was let go"
    await streams[1].send(b"thz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await _rest(streams[1]), "who came second was not"
    for stream in streams:
        await stream.aclose()


async def test_a_flood_of_silent_clients_keeps_no_probe_out(port: int) -> None:
    streams = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(200)]
    start = anyio.current_time()
    assert b"200" in await _ask(port, _get("/healthz"))
    assert anyio.current_time() - start < 4, "not only once their five seconds are over"
    for stream in streams:
        await stream.aclose()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8000", (None, 8000)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("0", None),
        ("", None),
    ],
)
def test_bind_addresses_are_read_as_go_reads_them(text: str, address: tuple[str | None, int] | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["8000", ":x", ":99999", "host"])
def test_a_bad_bind_address_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_address(text)
