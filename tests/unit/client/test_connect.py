"""The hub over HTTP: what is asked of it, and what its answers mean to a consumer. A server that answers is scripted."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from msa.client import TokenError, TokenSource
from msa.client.errors import Denied, Missing, Unreachable

_EXEC = "client.authentication.k8s.io/v1"


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp runs on asyncio alone."""
    return "asyncio"


class Server:
    """An API server; answers are by path and query."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, object]] = {}
        self.asked: list[str] = []
        self.authorizations: set[str] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        path = lines[0].split()[1]
        self.asked.append(path)
        self.authorizations |= {line for line in lines if line.lower().startswith("authorization")}
        code, body = self.answers.get(path, (404, {"reason": "NotFound", "message": "not found"}))
        content = json.dumps(body).encode()
        head = f"HTTP/1.1 {code} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    _write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{port}", {"token": "consumer"})
    yield server
    listening.close()
    await listening.wait_closed()


def _write_kubeconfig(file: Path, address: str, user: dict[str, Any]) -> None:
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": address}}],
        "users": [{"name": "x", "user": user}],
    }
    file.write_text(json.dumps(config))


@pytest.fixture
async def source(server: Server, tmp_path: Path) -> AsyncIterator[TokenSource]:
    async with TokenSource(tmp_path / "config") as opened:
        yield opened


_IDENTITIES = "/apis/authentication.open-cluster-management.io/v1beta1/managedserviceaccounts"
_CLUSTER = "/apis/cluster.open-cluster-management.io/v1/managedclusters/c1"
_SECRET = "/api/v1/namespaces/c1/secrets/n"


def _page(*names: str, more: str = "", status: object = None) -> dict[str, object]:
    items = [
        {"metadata": {"name": name, "namespace": "c1", "labels": {"team": "a"}}, "status": status or {}}
        for name in names
    ]
    return {"metadata": {"resourceVersion": "9", "continue": more}, "items": items}


async def test_all_pages_of_what_is_selected_are_found(server: Server, source: TokenSource) -> None:
    first, second = "?labelSelector=team%3Da&limit=500", "?labelSelector=team%3Da&limit=500&continue=next"
    server.answers[_IDENTITIES + first] = 200, _page("one", "two", more="next")
    server.answers[_IDENTITIES + second] = 200, _page("three", status={"tokenSecretRef": {"name": "three"}})
    found = await source.find("team=a")
    assert [(one.cluster, one.name, one.labels, one.ready) for one in found] == [
        ("c1", "one", {"team": "a"}, False),
        ("c1", "two", {"team": "a"}, False),
        ("c1", "three", {"team": "a"}, True),
    ]
    assert server.authorizations == set(), "without TLS nothing is shown, as kubectl has it"


async def test_of_one_cluster_only_its_namespace_is_read_and_a_spoilt_status_is_not_ready(
    server: Server, source: TokenSource
) -> None:
    path = _IDENTITIES.replace("/v1beta1/", "/v1beta1/namespaces/c1/") + "?limit=500"
    server.answers[path] = 200, _page("one", status={"tokenSecretRef": 5})
    assert [one.ready for one in await source.find(cluster="c1")] == [False]


@pytest.mark.parametrize(("said", "ready"), [("True", True), ("False", False), ("Unknown", False)])
async def test_what_is_found_is_ready_as_the_condition_says(
    server: Server, source: TokenSource, said: str, ready: bool
) -> None:
    condition = {"type": "Ready", "status": said, "reason": "AgentUnavailable"}
    status = {"tokenSecretRef": {"name": "one"}, "conditions": [condition]}
    server.answers[f"{_IDENTITIES}?limit=500"] = 200, _page("one", status=status)
    assert [one.ready for one in await source.find()] == [ready]


async def test_the_right_to_find_is_named(server: Server, source: TokenSource) -> None:
    server.answers[f"{_IDENTITIES}?limit=500"] = 403, {"reason": "Forbidden", "message": "no"}
    with pytest.raises(
        Denied,
        match=r"the right to list managedserviceaccounts\.authentication\.open-cluster-management\.io in all namespaces \(no\)",
    ):
        await source.find()


async def test_the_right_to_read_one_is_named(server: Server, source: TokenSource) -> None:
    server.answers[_SECRET] = 403, {"reason": "Forbidden", "message": "no"}
    with pytest.raises(Denied, match=r"get secrets in namespace c1; resourceNames \[n\] is enough"):
        await source.get("c1", "n")


async def test_a_secret_that_is_not_there_is_missing(source: TokenSource) -> None:
    with pytest.raises(Missing, match="Secret c1/n on the hub is not there"):
        await source.get("c1", "n")


async def test_a_server_in_trouble_is_unreachable(server: Server, source: TokenSource) -> None:
    server.answers[_SECRET] = 500, {"message": "etcd is gone"}
    with pytest.raises(
        Unreachable, match="Secret c1/n cannot be read from the hub: ServerError: etcd is gone"
    ):
        await source.get("c1", "n")


def _stored(token: str) -> dict[str, object]:
    labels = {"authentication.open-cluster-management.io/is-managed-serviceaccount": "true"}
    data = {"token": b64encode(token.encode()).decode(), "ca.crt": b64encode(_CA).decode()}
    return {"metadata": {"name": "n", "namespace": "c1", "labels": labels}, "data": data}


_CA = b"-----BEGIN CERTIFICATE-----"
_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIiwiaWF0IjowLCJleHAiOjk5OTk5OTk5OTl9.c2ln"  # for some centuries


async def test_address_and_ca_of_the_cluster_come_from_the_first_of_its_configs_that_has_one(
    server: Server, source: TokenSource, ca: bytes
) -> None:
    configs = [
        {},
        {"url": "https://c1.example:6443/", "caBundle": b64encode("# für c1\n".encode() + ca).decode()},
        {"url": "x"},
    ]
    server.answers[_SECRET] = 200, _stored(_TOKEN)
    server.answers[_CLUSTER] = (
        200,
        {"metadata": {"name": "c1"}, "spec": {"managedClusterClientConfigs": configs}},
    )
    credential = await source.get("c1", "n")
    assert credential.token.reveal() == _TOKEN
    assert credential.server == "https://c1.example:6443"
    assert credential.ca == _CA + b"\n" + ca


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ((404, {}), Missing, "ManagedCluster c1 is not on the hub: join the cluster, or give it by hand"),
        (
            (200, {"metadata": {}}),
            Missing,
            "does not tell it: fill spec.managedClusterClientConfigs, or give it",
        ),
        (
            (403, {}),
            Denied,
            r"get managedclusters\.cluster\.open-cluster-management\.io c1, or give it by hand",
        ),
        ((500, {}), Unreachable, "ManagedCluster c1 cannot be read"),
    ],
)
async def test_why_the_address_cannot_be_told_comes_with_the_remedy(
    server: Server, source: TokenSource, answer: tuple[int, object], kind: type, told: str
) -> None:
    server.answers[_SECRET] = 200, _stored(_TOKEN)
    server.answers[_CLUSTER] = answer
    credential = await source.get("c1", "n")
    with pytest.raises(kind, match=told):
        _ = credential.server


async def test_a_kubeconfig_that_is_not_there_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(TokenError) as told:
        await TokenSource(tmp_path / "none").__aenter__()
    assert str(told.value) == (
        f"the hub: kubeconfig {tmp_path / 'none'}: No such file or directory: give TokenSource the kubeconfig of the hub, or set"
        " KUBECONFIG"
    )


async def test_the_environment_names_the_kubeconfig(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{tmp_path / 'config'}")
    server.answers[f"{_IDENTITIES}?limit=500"] = 200, _page()
    async with TokenSource() as source:
        assert await source.find() == []


async def test_a_selector_that_is_none_is_told(server: Server, source: TokenSource) -> None:
    server.answers[f"{_IDENTITIES}?labelSelector=%3D&limit=500"] = (
        400,
        {"reason": "BadRequest", "message": "no selector"},
    )
    with pytest.raises(TokenError, match="cannot be asked for like this: no selector"):
        await source.find("=")


async def test_a_task_of_asyncio_is_cancelled_as_any_other(server: Server, tmp_path: Path) -> None:
    opened = asyncio.Event()

    async def consume() -> None:
        async with TokenSource(tmp_path / "config"):
            opened.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
