"""A server that is away, and what its transport makes of that. The times are those of `runtime.connectivity`, tested there."""

import asyncio
import socket
from collections.abc import AsyncIterator

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential
from msa.kube.transport import Transport
from msa.runtime import errors
from msa.runtime.metrics import Metrics


class Away:
    """An address that nobody listens on until the server comes."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port: int = taken.getsockname()[1]
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        self.paths: list[bytes] = []
        self._listening: asyncio.Server | None = None

    async def come(self) -> None:
        self._listening = await asyncio.start_server(self._handle, "127.0.0.1", self.port)

    async def leave(self) -> None:
        if self._listening is not None:
            self._listening.close()
            await self._listening.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.paths.append(head.split()[1])
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    async def load(self) -> Credential:
        return Credential(f"http://127.0.0.1:{self.port}", "", b"", None, (), "")


@pytest.fixture
async def server() -> AsyncIterator[Away]:
    server = Away()
    yield server
    await server.leave()


@pytest.fixture
async def transport(server: Away) -> AsyncIterator[Transport]:
    transport = Transport(server.load, Metrics(CollectorRegistry()))
    await transport.open()
    yield transport
    await transport.close()


async def _lose(transport: Transport) -> None:
    with pytest.raises(errors.Refused):
        await transport.send("GET", "/")
    with anyio.fail_after(5):
        while not transport.connectivity.lost:
            await anyio.sleep(0.01)


async def test_a_refused_request_starts_the_search_and_the_return_ends_it(
    server: Away, transport: Transport
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        await _lose(transport)
        await server.come()
        assert await transport.connectivity.rest(5), "the call, not the end of the wait"
        assert server.paths == [b"/readyz"]
        tasks.cancel_scope.cancel()


async def test_a_watch_that_cannot_be_opened_starts_it_too(transport: Transport) -> None:
    with pytest.raises(errors.Refused):
        async with transport.stream("/"):
            pass
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        with anyio.fail_after(5):
            while not transport.connectivity.lost:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_a_server_whose_storage_is_away_counts_as_away(server: Away, transport: Transport) -> None:
    """A load balancer without backends, or an API server without etcd: they answer, and it helps nobody."""
    server.answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    await server.come()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        with pytest.raises(errors.ServerError):
            await transport.send("GET", "/")
        with anyio.fail_after(5):
            while not transport.connectivity.lost:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_an_ordinary_answer_ends_the_outage(server: Away, transport: Transport) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(transport.run)
        await _lose(transport)
        tasks.cancel_scope.cancel()
    await server.come()
    await transport.send("GET", "/")
    assert not transport.connectivity.lost
