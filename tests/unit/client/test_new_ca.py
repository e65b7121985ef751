"""A managed cluster whose CA is replaced: what each client does at its next connection. Real TLS, on loopback."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import httpx
import kubernetes.client
import kubernetes_asyncio.client
import pytest

from hack.pki import Authority
from msa.client import SyncTokenSource, TokenSource
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"
_VERSION = (
    b'{"major":"1","minor":"34","gitVersion":"v1.34.0","gitCommit":"c","gitTreeState":"clean","buildDate":"d",'
    b'"goVersion":"g","compiler":"gc","platform":"p"}'
)


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp runs on asyncio alone."""
    return "asyncio"


class _Version(BaseHTTPRequestHandler):
    """Says which version it is, and hangs up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(_VERSION)))
        self.end_headers()
        self.wfile.write(_VERSION)

    def log_message(self, *_: object) -> None:
        pass


class Cluster:
    """One whose certificate can be replaced by one of another CA."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca = b""
        self.replace_ca("one")
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Version)
        self.http.socket = self._tls.wrap_socket(self.http.socket, server_side=True)
        self.address = f"https://127.0.0.1:{self.http.server_port}"

    def replace_ca(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir()
        Authority.create(folder, name).issue_server("server", ("127.0.0.1",))
        self._tls.load_cert_chain(folder / "server.crt", folder / "server.key")
        self.ca = (folder / "ca.crt").read_bytes()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    serving = Thread(target=made.http.serve_forever)
    serving.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    serving.join()


@pytest.fixture
def hub(cluster: Cluster) -> ScriptedHub:
    hub = ScriptedHub(lambda: datetime.now(UTC), cluster.ca)
    _write(hub, cluster)
    return hub


@pytest.fixture
def source(hub: ScriptedHub, cluster: Cluster) -> Iterator[SyncTokenSource]:
    with SyncTokenSource(hub=hub, servers={C: cluster.address}) as opened:
        yield opened


def _write(hub: ScriptedHub, cluster: Cluster) -> None:
    hub.ca = cluster.ca
    hub.write(C, N)


def _renew(source: SyncTokenSource, hub: ScriptedHub, cluster: Cluster) -> None:
    """Returns once the source has the new CA."""
    cluster.replace_ca("two")
    changes = source.follow(C, N)
    next(changes)
    source._portal.call(_write, hub, cluster)
    next(changes)


def test_a_client_of_httpx_trusts_it_at_its_next_connection(
    source: SyncTokenSource, hub: ScriptedHub, cluster: Cluster
) -> None:
    with httpx.Client(**source.httpx(C, N)) as client:
        assert client.get("/version").status_code == 200
        _renew(source, hub, cluster)
        assert client.get("/version").status_code == 200


def test_an_api_client_of_kubernetes_trusts_it_at_its_next_connection(
    source: SyncTokenSource, hub: ScriptedHub, cluster: Cluster
) -> None:
    with kubernetes.client.ApiClient(source.kubernetes(C, N)) as api:
        version = kubernetes.client.VersionApi(api)
        assert version.get_code().git_version == "v1.34.0"
        _renew(source, hub, cluster)
        assert version.get_code().git_version == "v1.34.0"


async def test_a_new_api_client_of_kubernetes_asyncio_trusts_it_with_the_configuration_that_is_there(
    hub: ScriptedHub, cluster: Cluster
) -> None:
    async with TokenSource(hub=hub, servers={C: cluster.address}) as source:
        configuration = await source.kubernetes_asyncio(C, N)
        changes = source.follow(C, N)
        await anext(changes)
        cluster.replace_ca("two")
        _write(hub, cluster)
        await anext(changes)
        async with kubernetes_asyncio.client.ApiClient(configuration) as api:
            version = await kubernetes_asyncio.client.VersionApi(api).get_code()
            assert version.git_version == "v1.34.0"


async def test_files_of_ours_go_with_the_source(hub: ScriptedHub, cluster: Cluster) -> None:
    async with TokenSource(hub=hub, servers={C: cluster.address}) as source:
        file = anyio.Path((await source.kubernetes(C, N)).ssl_ca_cert or "")
        assert await file.read_bytes() == cluster.ca
    assert not await file.parent.exists()
