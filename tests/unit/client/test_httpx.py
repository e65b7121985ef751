"""httpx with a token that is always fresh; the managed cluster is a function that answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from msa.client import TokenSource
from msa.client.errors import Missing
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"


class Cluster(httpx.AsyncBaseTransport):
    """Takes one token and no other."""

    def __init__(self, good: str) -> None:
        self.good = good
        self.calls: list[tuple[str, bytes]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.calls.append((token, b"".join([part async for part in request.stream])))
        return httpx.Response(200 if token == self.good else 401)

    @asynccontextmanager
    async def client(self, source: TokenSource) -> AsyncIterator[httpx.AsyncClient]:
        settings = await source.httpx(C, N)
        async with httpx.AsyncClient(transport=self, **settings) as client:
            yield client

    @property
    def tokens(self) -> list[str]:
        return [token for token, _ in self.calls]


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


async def test_each_request_goes_with_the_fresh_token_to_the_clusters_address(
    hub: ScriptedHub, source: TokenSource
) -> None:
    cluster = Cluster(hub.write(C, N))
    async with cluster.client(source) as client:
        answer = await client.get("/api")
        assert (answer.status_code, str(answer.request.url)) == (200, "https://c1:6443/api")
        cluster.good = hub.write(C, N)
        await anyio.sleep(1)
        assert (await client.get("/api")).status_code == 200
    assert len(set(cluster.tokens)) == len(cluster.tokens) == 2


async def test_a_refused_request_is_sent_again_with_the_token_that_comes(
    hub: ScriptedHub, source: TokenSource
) -> None:
    cluster = Cluster(hub.write(C, N))
    async with cluster.client(source) as client, anyio.create_task_group() as tasks:
        cluster.good = "deployer-3"
        tasks.start_soon(_write_after, hub, 4.0)
        answer = await client.post("/api", content=b"body")
    assert answer.status_code == 200
    assert cluster.calls == [("deployer-2", b"body"), ("deployer-3", b"body")]


async def test_a_request_is_sent_again_once_and_no_more(hub: ScriptedHub, source: TokenSource) -> None:
    cluster = Cluster(hub.write(C, N))
    async with cluster.client(source) as client, anyio.create_task_group() as tasks:
        cluster.good = "none"
        tasks.start_soon(_write_after, hub, 1.0)
        assert (await client.get("/api")).status_code == 401
    assert len(cluster.calls) == 2


async def test_where_no_other_token_comes_the_refusal_is_the_answer_after_five_seconds(
    hub: ScriptedHub, source: TokenSource
) -> None:
    cluster = Cluster("another")
    hub.write(C, N)
    async with cluster.client(source) as client:
        start = anyio.current_time()
        assert (await client.get("/api")).status_code == 401
        assert anyio.current_time() - start == pytest.approx(5)
    assert len(cluster.calls) == 1


async def test_a_body_that_is_used_up_is_not_sent_again(hub: ScriptedHub, source: TokenSource) -> None:
    cluster = Cluster("another")
    hub.write(C, N)

    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    async with cluster.client(source) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(_write_after, hub, 1.0)
        assert (await client.post("/api", content=body())).status_code == 401
    assert len(cluster.calls) == 1


async def test_a_withdrawn_token_is_told_and_never_sent(hub: ScriptedHub, source: TokenSource) -> None:
    cluster = Cluster(hub.write(C, N))
    async with cluster.client(source) as client:
        hub.delete(C, N)
        await anyio.sleep(31)
        with pytest.raises(Missing):
            await client.get("/api")
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://c1:6443/api", True),
        ("https://C1:6443/api", True),
        ("https://other:6443/api", False),
        ("https://c1/api", False),
        ("http://c1:6443/api", False),
        ("https://c1:6443@other/api", False),
    ],
)
async def test_the_token_goes_to_the_clusters_address_and_nowhere_else(
    hub: ScriptedHub, source: TokenSource, url: str, *, goes: bool
) -> None:
    hub.write(C, N)
    transport = httpx.MockTransport(lambda _request: httpx.Response(200))
    settings = await source.httpx(C, N)
    async with httpx.AsyncClient(transport=transport, **settings) as client:
        assert ("Authorization" in (await client.get(url)).request.headers) is goes
    request = next(settings["auth"].sync_auth_flow(httpx.Request("GET", url)))
    assert ("Authorization" in request.headers) is goes


async def _write_after(hub: ScriptedHub, seconds: float) -> None:
    await anyio.sleep(seconds)
    hub.write(C, N)
