"""The wait for a change of a Lease, against a server that ends watches before their time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.kube.credentials import Credential
from msa.kube.lease import KubeLease
from msa.kube.transport import Transport
from msa.runtime import errors
from msa.runtime.metrics import Metrics
from msa.runtime.ports import LeaseRecord

_HELD = LeaseRecord("other", 15, None, None, resource_version="7")
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


def _chunk(line: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(line), line)


def _event(kind: bytes, version: bytes) -> bytes:
    metadata = b'{"name":"lock","namespace":"ns","resourceVersion":"' + version + b'"}'
    return _chunk(b'{"type":"' + kind + b'","object":{"kind":"Lease","metadata":' + metadata + b"}}\n")


_BOOKMARK, _SAME, _CHANGED = _event(b"BOOKMARK", b"9"), _event(b"MODIFIED", b"7"), _event(b"MODIFIED", b"8")
_EXPIRED = _chunk(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n')
_END = b"0\r\n\r\n"

Wait = Callable[[bytes, float], Awaitable[None]]


@pytest.fixture
async def wait() -> AsyncIterator[Wait]:
    """Waits so many seconds for a change, from a server that answers with these bytes and then says nothing more."""
    answers: list[bytes] = []
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD + answers[0])
        await writer.drain()
        await over.wait()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)

    async def load() -> Credential:
        port = listening.sockets[0].getsockname()[1]
        return Credential(f"http://127.0.0.1:{port}", "", b"", None, (), "")

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()

    async def wait_for_change(answer: bytes, seconds: float) -> None:
        answers.append(answer)
        await KubeLease(transport, "ns", "lock").wait_for_change(_HELD, seconds)

    yield wait_for_change
    over.set()
    await transport.close()
    listening.close()


async def test_the_wait_ends_with_a_change(wait: Wait) -> None:
    with anyio.fail_after(10):
        await wait(_BOOKMARK + _SAME + _CHANGED, 60)


async def test_the_wait_ends_when_its_time_is_over(wait: Wait) -> None:
    with anyio.fail_after(10):
        await wait(_BOOKMARK + _SAME, 0.1)


@pytest.mark.parametrize("before", [b"", _BOOKMARK, _SAME])
async def test_a_watch_that_the_server_ends_early_is_an_error_so_that_the_next_is_not_begun_at_once(
    wait: Wait, before: bytes
) -> None:
    with anyio.fail_after(10), pytest.raises(errors.ShortWatch):
        await wait(before + _END, 60)


async def test_a_refusal_within_the_watch_is_the_error_that_it_stands_for(wait: Wait) -> None:
    with anyio.fail_after(10), pytest.raises(errors.Expired):
        await wait(_EXPIRED, 60)
