"""Requests and streams against a local server that misbehaves as told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from hack.pki import Authority
from msa.api.core import ServiceAccount
from msa.kube.credentials import Credential
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime import errors
from msa.runtime.events import Added, Deleted, Failed, Unreadable
from msa.runtime.metrics import Metrics

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class Server:
    """Answers each request with the next of its answers; the last one stays."""

    def __init__(self) -> None:
        self.answers: list[bytes | Answer] = []
        self.seen: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer, head)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _response(status: str, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _stream(*chunks: bytes, ended: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if ended else b"")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def transport(server: Server) -> AsyncIterator[Transport]:
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    tokens = chain(("one", "two"), repeat("three"))

    async def load() -> Credential:
        token = next(tokens)
        return Credential(f"http://127.0.0.1:{port}", f"Bearer {token}", b"", None, (), token)

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    yield transport
    await transport.close()
    listening.close()
    await listening.wait_closed()


def _accounts(transport: Transport) -> Resource[ServiceAccount]:
    return Resource(transport, Selection("", "v1", "serviceaccounts", "ns"), ServiceAccount)


_LINE = b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"ns","resourceVersion":"7","managedFields":[{"x":1}]}}}\n'


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_response("410 Gone"), errors.Expired),
        (_response("403 Forbidden"), errors.Forbidden),
        (_response("404 Not Found"), errors.NotFound),
        (_response("409 Conflict", b'{"reason":"AlreadyExists"}'), errors.AlreadyExists),
        (_response("409 Conflict"), errors.Conflict),
        (_response("422 Unprocessable Entity"), errors.Invalid),
        (_response("500 Oh", b"not json"), errors.ServerError),
        (
            _response("504 T", b'{"message":"Too large resource version: 9, current: 3"}'),
            errors.TooLargeResourceVersion,
        ),
        (_response("429 Slow", b"{}", "Retry-After: 60"), errors.Throttled),
        (b"garbage", errors.Network),
        (b"", errors.Network),
        (_response("200 OK", b"no json"), errors.Decode),
        (_response("200 OK", b'{"metadata":{"name":"\xff"}}'), errors.Decode),
        (_response("403 Forbidden", b'{"message":"\xff"}'), errors.Forbidden),
        (_response("403 Forbidden", b'{"x":' + b"[" * 100_000), errors.Forbidden),
    ],
)
async def test_whatever_comes_back_has_its_class(
    server: Server, transport: Transport, answer: bytes, kind: type
) -> None:
    server.answers = [answer]
    with pytest.raises(errors.ApiError) as caught:
        await _accounts(transport).get("a", into=ServiceAccount)
    assert type(caught.value) is kind


async def test_nobody_listening_is_refused() -> None:
    async def load() -> Credential:
        return Credential("http://127.0.0.1:1", "", b"", None, (), "")

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    with pytest.raises(errors.Refused):
        await transport.send("GET", "/")
    await transport.close()


async def test_a_proxy_is_asked_in_the_servers_stead(server: Server) -> None:
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    proxy = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"

    async def load() -> Credential:
        return Credential("http://hub.invalid", "", b"", None, (), "", proxy=proxy)

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    server.answers = [_response("200 OK"), _stream(_LINE)]
    await transport.send("GET", "/x")
    async with transport.stream("/y"):
        pass
    await transport.close()
    listening.close()
    assert [line.split()[1] for line in server.seen] == [b"http://hub.invalid/x", b"http://hub.invalid/y"]


async def test_the_certificate_may_be_for_another_name_if_the_kubeconfig_says_which(
    server: Server, tmp_path: Path
) -> None:
    Authority.create(tmp_path, "test").issue_server("server", ("hub.example",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    address = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    server.answers = [_response("200 OK")]

    async def get(name: str) -> bytes:
        async def load() -> Credential:
            return Credential(address, "", b"", trust, (), "", tls_server_name=name)

        transport = Transport(load, Metrics(CollectorRegistry()))
        await transport.open()
        try:
            return await transport.send("GET", "/x")
        finally:
            await transport.close()

    assert await get("hub.example") == b"{}"
    with pytest.raises(errors.Refused, match="not trusted"):
        await get("")
    listening.close()


async def test_a_throttled_request_is_sent_again_after_the_time_asked_for(
    server: Server, transport: Transport
) -> None:
    server.answers = [_response("429 Slow", b"{}", "Retry-After: 0"), _response("200 OK")]
    assert await transport.send("POST", "/x", body=b"{}") == b"{}"
    assert len(server.seen) == 2


async def test_a_401_drops_the_credential_and_tries_the_new_one_once(
    server: Server, transport: Transport
) -> None:
    server.answers = [_response("401 No"), _response("200 OK")]
    await transport.send("GET", "/x")
    assert b"Bearer one" in server.seen[0]
    assert b"Bearer two" in server.seen[1]
    server.answers = [_response("401 No")]
    with pytest.raises(errors.Unauthorized):
        await transport.send("GET", "/x")


async def test_a_request_that_learns_late_of_a_credential_swap_is_sent_again_too(server: Server) -> None:
    """It was sent with the old one, and refused when another request had long brought in the new one."""
    arrived, swapped = asyncio.Event(), asyncio.Event()

    async def refuse_late(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        arrived.set()
        await swapped.wait()
        writer.write(_response("401 No"))
        await writer.drain()

    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    tokens = ["one", "two"]

    async def load() -> Credential:
        token = tokens.pop(0) if len(tokens) > 1 else tokens[0]
        return Credential(address, f"Bearer {token}", b"", None, (), token)

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    server.answers = [refuse_late, _response("401 No"), _response("200 OK")]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.send, "GET", "/late")
        await arrived.wait()
        await transport.send("GET", "/early")
        swapped.set()
    used = [(head.split()[1], b"Bearer two" in head) for head in server.seen]
    assert used == [(b"/late", False), (b"/early", False), (b"/early", True), (b"/late", True)]
    await transport.close()
    listening.close()


async def test_a_fenced_write_is_not_sent_and_a_read_is(server: Server, transport: Transport) -> None:
    def closed() -> None:
        raise errors.Fenced

    transport._fence = closed
    server.answers = [_response("200 OK")]
    with pytest.raises(errors.Fenced):
        await transport.send("PATCH", "/x", body=b"{}")
    assert server.seen == []
    await transport.send("GET", "/x")


async def test_a_watch_gives_typed_events_and_ends_in_good_order(
    server: Server, transport: Transport
) -> None:
    server.answers = [_stream(_LINE[:30], _LINE[30:] + _LINE)]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        events = await stream.receive()
        assert [type(event) for event in events] == [Added, Added]
        assert await stream.receive() == ()
    assert b"allowWatchBookmarks=true" in server.seen[0]


async def test_a_watch_cut_within_a_line_is_a_broken_connection(server: Server, transport: Transport) -> None:
    for answer in (_stream(_LINE + _LINE[:40]), _stream(_LINE + _LINE[:40], ended=False)):
        server.answers = [answer]
        async with _accounts(transport).watch(
            resource_version="5", initial_events=False, timeout_seconds=5
        ) as stream:
            assert len(await stream.receive()) == 1
            with pytest.raises(errors.Network):
                await stream.receive()


async def test_a_refusal_within_a_watch_comes_as_an_event(server: Server, transport: Transport) -> None:
    server.answers = [
        _stream(
            b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":"Expired"}}\n'
        )
    ]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        events = await stream.receive()
    assert isinstance(events[0], Failed)
    assert events[0].object.code == 410


_SPOILT = b'{"metadata":{"name":"b","namespace":"ns","resourceVersion":"8","labels":7}}'


async def test_an_object_of_the_wrong_shape_is_told_by_name_and_the_rest_of_the_watch_goes_on(
    server: Server, transport: Transport
) -> None:
    server.answers = [_stream(_LINE + b'{"type":"MODIFIED","object":' + _SPOILT + b"}\n" + _LINE)]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        events = await stream.receive()
    assert [type(event) for event in events] == [Added, Unreadable, Added]
    assert isinstance(events[1], Unreadable)
    assert events[1].object.metadata.name == "b"
    assert "labels" in events[1].problem


async def test_a_deletion_is_a_deletion_whatever_the_shape_of_what_was_deleted(
    server: Server, transport: Transport
) -> None:
    server.answers = [_stream(b'{"type":"DELETED","object":' + _SPOILT + b"}\n")]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        events = await stream.receive()
    assert isinstance(events[0], Deleted)
    assert events[0].object.metadata.resource_version == "8"


async def test_an_object_of_the_wrong_shape_does_not_hide_the_others_of_its_list(
    server: Server, transport: Transport
) -> None:
    good = b'{"metadata":{"name":"a","namespace":"ns","resourceVersion":"7"}}'
    server.answers = [
        _response("200 OK", b'{"metadata":{"resourceVersion":"9"},"items":[' + _SPOILT + b"," + good + b"]}")
    ]
    page = await _accounts(transport).list()
    assert [item.metadata.name for item in page.items] == ["a"]
    assert [item.object.metadata.name for item in page.unreadable] == ["b"]
    assert page.resource_version == "9"


@pytest.mark.parametrize("line", [b"<html>\n", b'{"type":"ADDED","object":{"metadata":{"name":"\xff"}}}\n'])
async def test_a_line_that_is_no_event_at_all_is_an_error(
    server: Server, transport: Transport, line: bytes
) -> None:
    server.answers = [_stream(line)]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        with pytest.raises(errors.Decode):
            await stream.receive()


async def test_a_silent_watch_is_given_up(server: Server, transport: Transport) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(_stream(_LINE, ended=False))
        await writer.drain()
        await asyncio.sleep(5)

    async def load() -> Credential:
        return transport.credential

    impatient = Transport(load, Metrics(CollectorRegistry()), inactivity=0.2)
    await impatient.open()
    server.answers = [silent]
    async with _accounts(impatient).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        await stream.receive()
        with pytest.raises(errors.Silent, match="in time"):
            await stream.receive()
    await impatient.close()


async def test_a_watch_on_a_replaced_credential_ends_and_does_not_fall_silent_for_ever(
    server: Server, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp tells nobody who reads an answer that its session was closed: each new certificate left the watches deaf."""

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(_stream(_LINE, ended=False))
        await writer.drain()
        await reader.read()

    monkeypatch.setattr("msa.kube.transport._RELOAD_SECONDS", 0.01)
    monkeypatch.setattr("msa.kube.transport._GRACE_SECONDS", 0.0)
    server.answers = [quiet]
    watch = _accounts(transport).watch(resource_version="5", initial_events=False, timeout_seconds=5)
    async with anyio.create_task_group() as tasks, watch as stream:
        await stream.receive()
        tasks.start_soon(transport.run)
        await transport.reload()
        with anyio.fail_after(5):
            assert await stream.receive() == ()
        tasks.cancel_scope.cancel()


async def test_an_event_of_five_megabytes_is_read(server: Server, transport: Transport) -> None:
    huge = _LINE.replace(b'"x":1', b'"x":"' + b"y" * 5_000_000 + b'"')
    server.answers = [_stream(huge)]
    async with _accounts(transport).watch(
        resource_version="5", initial_events=False, timeout_seconds=5
    ) as stream:
        assert len(await stream.receive()) == 1


async def test_the_skew_of_the_servers_clock_is_read_off_its_answers(
    server: Server, transport: Transport
) -> None:
    server.answers = [_response("200 OK", b"{}", "Date: Wed, 01 Jan 2020 00:00:00 GMT")]
    await transport.send("GET", "/x")
    assert (transport.clock_skew or 0) < -86400


class Switch:
    """A kubeconfig that is rewritten."""

    def __init__(self) -> None:
        self.address, self.ca = "", b"ca"

    async def load(self) -> Credential:
        return Credential(self.address, "", self.ca, None, (), f"{self.address}{self.ca!r}")


@pytest.mark.parametrize("change", ["address", "ca"])
async def test_a_change_of_the_server_ends_its_streams_at_once_and_is_told_from_a_new_credential(
    server: Server, change: str
) -> None:
    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(_stream(_LINE, ended=False))
        await writer.drain()
        await reader.read()

    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    switch = Switch()
    switch.address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    transport = Transport(switch.load, Metrics(CollectorRegistry()))
    await transport.open()
    server.answers = [quiet]
    before = transport.server
    watch = _accounts(transport).watch(resource_version="5", initial_events=False, timeout_seconds=5)
    async with watch as stream:
        await stream.receive()
        if change == "address":
            switch.address = "http://127.0.0.1:1"
        else:
            switch.ca = b"another"
        await transport.reload()
        with anyio.fail_after(1):
            assert await stream.receive() == ()
    assert transport.server != before
    await transport.close()
    listening.close()


async def test_a_new_token_for_the_same_server_ends_no_stream(server: Server, transport: Transport) -> None:
    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _head: bytes) -> None:
        writer.write(_stream(_LINE, ended=False))
        await writer.drain()
        await reader.read()

    server.answers = [quiet]
    before = transport.server
    watch = _accounts(transport).watch(resource_version="5", initial_events=False, timeout_seconds=5)
    async with watch as stream:
        await stream.receive()
        await transport.reload()
        assert transport.server == before
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await stream.receive()


async def test_a_stream_whose_answer_does_not_begin_is_silent_too(
    server: Server, transport: Transport
) -> None:
    async def mute(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter, _head: bytes) -> None:
        await reader.read()

    async def load() -> Credential:
        return transport.credential

    impatient = Transport(load, Metrics(CollectorRegistry()), inactivity=0.2)
    await impatient.open()
    server.answers = [mute]
    with pytest.raises(errors.Silent):
        async with _accounts(impatient).watch(resource_version="5", initial_events=False, timeout_seconds=5):
            pass
    await impatient.close()


async def test_requests_are_logged_at_debug_without_queries_headers_and_bodies(
    server: Server, transport: Transport, logged: list[Any]
) -> None:
    server.answers = [_response("200 OK", b'{"secret":1}'), _response("403 Forbidden"), _stream(_LINE)]
    await transport.send("POST", "/x?token=secret", body=b"secret")
    with pytest.raises(errors.Forbidden):
        await transport.send("GET", "/y")
    async with transport.stream("/z?watch=true"):
        pass
    requests = [line for line in logged if line["event"] == "request"]
    assert {line["log_level"] for line in requests} == {"debug"}
    assert [(line["method"], line["path"], line["status"]) for line in requests] == [
        ("POST", "/x", "200"),
        ("GET", "/y", "403"),
        ("WATCH", "/z", "200"),
    ]
    assert all(line["seconds"] >= 0 for line in requests)
    assert "secret" not in str(requests)
    assert "Bearer" not in str(requests)


async def test_a_redirection_is_not_followed(server: Server, transport: Transport) -> None:
    server.answers = [_response("302 Found", b"", "Location: https://login.example/?state=secret")]
    with pytest.raises(errors.Redirected, match=r"redirects to https://login\.example/;"):
        await transport.send("GET", "/x")
    with pytest.raises(errors.Redirected):
        async with transport.stream("/x"):
            pass
    assert len(server.seen) == 2
