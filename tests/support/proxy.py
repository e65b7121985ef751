"""A TCP proxy that cuts connections in the middle of what they carry."""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator


class CuttingProxy:
    """Forwards to one port on loopback; while `cutting`, each connection is ended after a few kilobytes of answers.

    The cut falls anywhere: within a TLS record, and so within a line of a watch.
    """

    def __init__(self, target: int, seed: int) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cutting = False
        self.cuts = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            left = self._random.randrange(4_000, 40_000)
            with contextlib.suppress(OSError):
                while chunk := server.recv(4096):
                    if self.cutting and (left := left - len(chunk)) < 0:
                        client.sendall(chunk[: len(chunk) // 2])
                        client.shutdown(
                            socket.SHUT_RDWR
                        )  # closing alone would wait for the other thread's read
                        self.cuts += 1
                        return
                    client.sendall(chunk)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(4096):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def cutting_proxy(target: int, seed: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target, seed)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
