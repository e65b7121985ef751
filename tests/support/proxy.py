"""Proxies in front of an API server: one does to connections what networks do, the other has a clock of its own."""

import contextlib
import random
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.abc
from anyio.from_thread import start_blocking_portal
from anyio.streams.tls import TLSListener
from attrs import define

from hack.clusters import Cluster

_DATE = re.compile(rb"(?<=\r\nDate: )[^\r]{29}(?=\r\n)")


def redirect(kubeconfig: Path, port: int, *, to: Path) -> Path:
    """Writes a kubeconfig that leads to the same API server through a port on loopback."""
    to.touch(mode=0o600)
    to.write_text(re.sub(r"https://127\.0\.0\.1:\d+", f"https://127.0.0.1:{port}", kubeconfig.read_text()))
    return to


class UnrulyProxy:
    """Forwards to one port on loopback.

    Attributes:
        cutting: each connection is ended after a few kilobytes of answers. The cut falls anywhere: within a TLS record, and so within a
            line of a watch.
        refusing: new connections are ended at once.
        after: bytes that a connection may carry at least before it is cut.
        cuts: how many connections were cut.
        held: how often something is, or was, not passed on, see `hold`.
    """

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._generation = 0
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.cutting = False
        self.refusing = False
        self.after = 4_000
        self.cuts = 0
        self.held = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def silence(self) -> None:
        """The connections that are open stay so, and nothing passes any more, as when a router forgets them. New ones work."""
        self._generation += 1

    def hold(self) -> None:
        """What clients send waits here, on every connection, until `release`; what the server sends still passes."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def cut_all(self) -> None:
        """Ends all connections that are open."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed.set()
        self._flowing.set()
        self._listener.close()

    def _connect(self, client: socket.socket) -> None:
        if self.refusing:
            client.close()
            return
        generation = self._generation
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            self._open.append(client)
            threading.Thread(target=self._ask, args=(client, server, generation), daemon=True).start()
            self._answer(client, server, generation)

    def _ask(self, client: socket.socket, server: socket.socket, generation: int) -> None:
        with contextlib.suppress(OSError):
            while chunk := client.recv(4096):
                self._hold(generation)
                if not self._flowing.is_set():
                    self.held += 1
                    self._flowing.wait()
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, generation: int) -> None:
        left = self.after + self._random.randrange(36_000)
        with contextlib.suppress(OSError):
            while chunk := server.recv(4096):
                self._hold(generation)
                if self.cutting and (left := left - len(chunk)) < 0:
                    client.sendall(chunk[: len(chunk) // 2])
                    client.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the other thread's read
                    self.cuts += 1
                    return
                client.sendall(chunk)

    def _hold(self, generation: int) -> None:
        """A connection from before the silence goes no further."""
        if generation != self._generation:
            self._closed.wait()


@contextlib.contextmanager
def unruly_proxy(target: int, seed: int = 1) -> Iterator[UnrulyProxy]:
    proxy = UnrulyProxy(target, seed)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()


@define
class ShiftedClock:
    """An API server whose answers are dated by a clock that is ahead of, or behind, the true one.

    It speaks TLS with the cluster's own certificate, and to the cluster as `user`, whoever asks.
    """

    cluster: Cluster
    user: str
    ahead: timedelta

    async def serve(self, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        """Tells the port it listens on."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        folder = self.cluster.folder
        context.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with TLSListener(tcp, context, standard_compatible=False) as listener:
            task_status.started(tcp.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - anyio's extra, not Django's
            await listener.serve(self._connect)

    async def _connect(self, client: anyio.abc.ByteStream) -> None:
        context = ssl.create_default_context(cafile=self.cluster.ca_file)
        context.load_cert_chain(
            self.cluster.folder / f"{self.user}.crt", self.cluster.folder / f"{self.user}.key"
        )
        port = urlsplit(self.cluster.server).port or 0
        server = await anyio.connect_tcp(
            "127.0.0.1", port, ssl_context=context, tls_standard_compatible=False
        )
        async with client, server, anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, client, server, bytes)
            await _pass_on(server, client, partial(_DATE.sub, self._shifted))
            tasks.cancel_scope.cancel()

    def _shifted(self, date: re.Match[bytes]) -> bytes:
        """Of the same length: all dates of HTTP are."""
        true = parsedate_to_datetime(date[0].decode()).replace(tzinfo=UTC)
        return format_datetime(true + self.ahead, usegmt=True).encode()


async def _pass_on(
    source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream, change: Callable[[bytes], bytes]
) -> None:
    with contextlib.suppress(
        anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError
    ):
        while True:
            await sink.send(change(await source.receive()))


@contextlib.contextmanager
def shifted_clock(cluster: Cluster, user: str, ahead: timedelta) -> Iterator[int]:
    """The port of a `ShiftedClock`."""
    with start_blocking_portal() as portal:
        serving, port = portal.start_task(ShiftedClock(cluster, user, ahead).serve)
        try:
            yield port
        finally:
            serving.cancel()
