"""A TCP proxy that does to connections what networks do."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator


class UnrulyProxy:
    """Forwards to one port on loopback.

    Attributes:
        cutting: each connection is ended after a few kilobytes of answers. The cut falls anywhere: within a TLS record, and so within a
            line of a watch.
        refusing: new connections are ended at once.
        after: bytes that a connection may carry at least before it is cut.
        cuts: how many connections were cut.
    """

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = threading.Event()
        self._generation = 0
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.cutting = False
        self.refusing = False
        self.after = 4_000
        self.cuts = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def silence(self) -> None:
        """The connections that are open stay so, and nothing passes any more, as when a router forgets them. New ones work."""
        self._generation += 1

    def cut_all(self) -> None:
        """Ends all connections that are open."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed.set()
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
