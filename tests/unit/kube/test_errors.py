"""What is said of an error: by its class, in people's words, and when to come back."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from hack.pki import Authority
from msa.kube.credentials import Credential
from msa.kube.errors import from_answer, retry_after
from msa.kube.transport import Transport
from msa.runtime.errors import ApiError, Network, Redirected, ServerError
from msa.runtime.metrics import Metrics

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("0.5", 0.5),
        ("Wed, 01 Jan 2020 00:02:00 GMT", 120),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("Wed, 01 Jan 2019 00:00:00 GMT", None),
        ("Wed, 99 Jan 2020 00:00:00 GMT", None),
        ("Wed, 01 Jan 2020 00:02:00", None),
    ],
)
def test_only_a_finite_time_to_come_is_a_retry_after(said: str, seconds: float | None) -> None:
    headers = {"Retry-After": said, "Date": "Wed, 01 Jan 2020 00:00:00 GMT"}
    assert retry_after(headers) == seconds


@given(st.text() | st.floats().map(str) | st.integers().map(str), st.text())
def test_no_header_is_an_error_of_its_own(said: str, date: str) -> None:
    found = retry_after({"Retry-After": said, "Date": date})
    assert found is None or 0 <= found < float("inf")


@pytest.mark.parametrize("seconds", ["-5", "0", "1e400", '"soon"', "null", str(10**400)])
def test_a_status_without_a_time_to_come_names_none(seconds: str) -> None:
    body = f'{{"code":503,"details":{{"retryAfterSeconds":{seconds}}}}}'.encode()
    error = from_answer(503, {}, body)
    assert isinstance(error, ServerError)
    assert error.retry_after is None or error.retry_after > 0


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308, 300, 399])
def test_a_redirection_is_an_error_that_names_where_to_without_secrets(code: int) -> None:
    location = "https://user:secret@login.example/oauth/start?state=secret#secret"
    error = from_answer(code, {"Location": location}, b"<html>")
    assert type(error) is Redirected
    assert "redirects to https://login.example/oauth/start;" in error.message
    assert "secret" not in error.message


def test_an_html_page_is_named() -> None:
    assert "HTML" in from_answer(502, {}, b"\n<!doctype html><p>Bad gateway").message


async def _failure(
    serve: Serve | None,
    scheme: str = "http",
    tls: ssl.SSLContext | None = None,
    trust: ssl.SSLContext | None = None,
) -> str:
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) if serve is not None else None
    port = listening.sockets[0].getsockname()[1] if listening is not None else 1
    trusted = trust or (ssl.create_default_context() if scheme == "https" else None)

    async def load() -> Credential:
        return Credential(f"{scheme}://127.0.0.1:{port}", "", b"", trusted, (), "")

    transport = Transport(load, Metrics(CollectorRegistry()))
    await transport.open()
    try:
        with pytest.raises(ApiError) as caught:
            await transport.send("GET", "/x")
    finally:
        await transport.close()
        if listening is not None:
            listening.close()
    assert isinstance(caught.value, Network)
    for jargon in ("Errno", "Error", "Client", "Exception", "ssl:", "_ssl.c", "0x"):
        assert jargon not in caught.value.message
    return caught.value.message.replace(f":{port}", ":PORT")


async def _close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    await writer.drain()
    writer.close()


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def _babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"garbage\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (None, "127.0.0.1:PORT: connection refused"),
        (_close, "the server closed the connection"),
        (_reset, "the server closed the connection"),
        (_cut, "the connection was cut in the middle of an answer"),
        (_babble, "the answer is not HTTP"),
    ],
)
async def test_a_failed_connection_is_told_in_plain_words(serve: Serve | None, said: str) -> None:
    assert await _failure(serve) == said


async def test_a_server_without_tls_is_told_in_plain_words() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    said = await _failure(plain, "https")
    assert said.startswith("127.0.0.1:PORT: the TLS handshake failed: ")


async def test_a_server_that_is_not_trusted_is_told_in_plain_words(tmp_path: Path) -> None:
    Authority.create(tmp_path, "test").issue_server("server", ("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    said = await _failure(_close, "https", context)
    assert said.startswith("127.0.0.1:PORT: the server's certificate is not trusted: ")


def _ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority whose certificates but its own have expired."""
    authority = Authority.create(folder, "test")
    monkeypatch.setattr("hack.pki._LIFE", timedelta(minutes=3))
    return authority


_DATE = r"expired at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"


async def test_an_expired_certificate_of_the_server_is_named_with_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ended(tmp_path, monkeypatch).issue_server("server", ("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    said = await _failure(_close, "https", context, trust=trust)
    assert re.search(f"certificate has expired: it {_DATE}", said), said
