"""A hub of which a program asks one Secret, over TLS, and a proxy in front of it."""

import contextlib
import json
import shutil
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from attrs import define, field

from hack.pki import Authority

HUB_TOKEN = "hub-t0ken-of-the-pod"


@define
class SecretHub:
    """Answers every request the same.

    Attributes:
        folder: its authority's, and the server's certificate.
        seen: path and Authorization header of each request.
    """

    folder: Path
    port: int = 0
    code: int = 200
    body: bytes = b""
    seen: list[tuple[str, str]] = field(factory=list)

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def holds(self, token: str, *, controller: Any = None, **annotations: str) -> None:
        owners = [controller] if controller else []
        self.body = json.dumps(
            {
                "kind": "Secret",
                "metadata": {"name": "c1-argocd", "annotations": annotations, "ownerReferences": owners},
                "data": {"token": b64encode(token.encode()).decode(), "ca.crt": "YQ=="},
            }
        ).encode()

    def refuses(self, code: int, message: str) -> None:
        self.code = code
        self.body = json.dumps({"kind": "Status", "code": code, "message": message}).encode()

    def pod(self, folder: Path, namespace: str = "consumers") -> Path:
        """Makes the folder that a pod has of its service account."""
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(HUB_TOKEN)
        (folder / "namespace").write_text(namespace)
        shutil.copy(self.folder / "ca.crt", folder)
        return folder

    def kubeconfig(self, file: Path, user: Any, *, context: Any = None, **cluster: Any) -> Path:
        file.write_text(
            yaml.safe_dump(
                {
                    "current-context": "hub",
                    "contexts": [
                        {"name": "hub", "context": {"cluster": "hub", "user": "me", **(context or {})}}
                    ],
                    "clusters": [
                        {
                            "name": "hub",
                            "cluster": {
                                "server": self.server,
                                "certificate-authority": str(self.folder / "ca.crt"),
                                **cluster,
                            },
                        }
                    ],
                    "users": [{"name": "me", "user": user}],
                }
            )
        )
        return file


class _Handler(BaseHTTPRequestHandler):
    hub: SecretHub

    def do_GET(self) -> None:  # the standard library's name for it
        self.hub.seen.append((self.path, self.headers.get("Authorization", "")))
        self.send_response(self.hub.code)
        self.send_header("Content-Length", str(len(self.hub.body)))
        self.end_headers()
        self.wfile.write(self.hub.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name for it
        """Says nothing."""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us is what some tests are about."""


@contextlib.contextmanager
def secret_hub(folder: Path) -> Iterator[SecretHub]:
    """With the certificate in the folder, or one of an authority of its own."""
    folder.mkdir(exist_ok=True)
    if not (folder / "server.crt").exists():
        Authority.create(folder, "hub").issue_server("server", ("127.0.0.1", "hub.example"))
    hub = SecretHub(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    server = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    hub.port = server.server_address[1]
    with _serving(server):
        yield hub


@define
class TunnelProxy:
    """An HTTP proxy that leads every CONNECT to one port on loopback.

    Attributes:
        seen: target and Proxy-Authorization header of each CONNECT.
        refuses: all of them, as a proxy does that wants a password.
    """

    target: int
    port: int = 0
    refuses: bool = False
    seen: list[tuple[str, str]] = field(factory=list)


class _Tunnel(BaseHTTPRequestHandler):
    proxy: TunnelProxy

    def do_CONNECT(self) -> None:  # the standard library's name for it
        self.proxy.seen.append((self.path, self.headers.get("Proxy-Authorization", "")))
        if self.proxy.refuses:
            self.send_error(407)
            return
        with socket.create_connection(("127.0.0.1", self.proxy.target)) as far:
            self.send_response(200)
            self.end_headers()
            answers = threading.Thread(target=_pump, args=(far, self.connection))
            answers.start()
            _pump(self.connection, far)
            answers.join()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name for it
        """Says nothing."""


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tunnel_proxy(target: int) -> Iterator[TunnelProxy]:
    proxy = TunnelProxy(target)
    server = _Quiet(("127.0.0.1", 0), type("Tunnel", (_Tunnel,), {"proxy": proxy}))
    proxy.port = server.server_address[1]
    with _serving(server):
        yield proxy


@contextlib.contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
