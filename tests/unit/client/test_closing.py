"""A source that is not open, or no longer; a credential that is no longer followed: nobody waits for what cannot come."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from msa.api.token import Token
from msa.client import TokenError, TokenSource
from msa.client.content import Content
from msa.runtime.errors import Refused
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"


async def _anext(source: TokenSource) -> object:
    return await anext(source.follow(C, N))


_CALLS: dict[str, Callable[[TokenSource], Awaitable[object]]] = {
    "find": lambda source: source.find(),
    "get": lambda source: source.get(C, N),
    "follow": _anext,
    "headers": lambda source: source.headers(C, N),
    "httpx": lambda source: source.httpx(C, N),
    "kubernetes": lambda source: source.kubernetes(C, N),
    "kubernetes_asyncio": lambda source: source.kubernetes_asyncio(C, N),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS)
async def test_a_source_that_is_not_open_yet_or_any_more_says_so(
    hub: ScriptedHub, call: Callable[[TokenSource], Awaitable[object]]
) -> None:
    hub.write(C, N)
    hub.found = {("", ""): []}
    source = TokenSource(hub=hub)
    with pytest.raises(TokenError, match="is not open"):
        await call(source)
    async with source:
        await call(source)
    with pytest.raises(TokenError, match="is not open"):
        await call(source)


async def test_following_is_refused_where_it_is_called(hub: ScriptedHub) -> None:
    with pytest.raises(TokenError, match="is not open"):
        TokenSource(hub=hub).follow(C, N)


class _Slow(ScriptedHub):
    async def secret(self, cluster: str, name: str) -> Content:
        content = await super().secret(cluster, name)
        await anyio.sleep(5)
        return content


async def test_an_address_is_not_asked_for_once_the_source_is_closed(hub: ScriptedHub) -> None:
    slow = _Slow(hub.now, hub.ca)
    slow.write(C, N)
    told: list[str] = []

    async def get(source: TokenSource) -> None:
        credential = await source.get(C, N)
        with pytest.raises(TokenError) as error:
            _ = credential.server
        told.append(str(error.value))

    async with anyio.create_task_group() as tasks, TokenSource(hub=slow) as source:
        tasks.start_soon(get, source)
        await anyio.sleep(1)
    assert "is not open" in told[0]
    assert slow.asked == ["secret c1/deployer"]


@pytest.mark.parametrize("call", ["headers", "follow"])
async def test_who_waits_for_the_hub_is_told_when_it_is_forgotten(hub: ScriptedHub, call: str) -> None:
    hub.refuse(C, N, Refused("nobody listens"))
    told: list[tuple[int, str]] = []
    async with TokenSource(hub=hub) as source, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(_note, _CALLS[call], source, told)
        await anyio.sleep(5)
        source.forget(C, N)
    assert told == [(5, "deployer of cluster c1 is no longer followed")] * 2


async def test_closing_waits_for_nobody_who_waits_for_the_hub(hub: ScriptedHub) -> None:
    hub.refuse(C, N, Refused("nobody listens"))
    told: list[tuple[int, str]] = []
    async with anyio.create_task_group() as tasks, TokenSource(hub=hub) as source:
        tasks.start_soon(_note, _CALLS["headers"], source, told)
        await anyio.sleep(5)
    assert told == [(5, "deployer of cluster c1 is no longer followed")]


async def test_who_waits_for_a_newer_token_gets_none_when_it_is_forgotten(hub: ScriptedHub) -> None:
    used = hub.write(C, N)
    async with TokenSource(hub=hub) as source, anyio.create_task_group() as tasks:
        await source.headers(C, N)
        start, waited = anyio.current_time(), []

        async def wait() -> None:
            assert await source._newer(C, N, Token(used)) is None
            waited.append(anyio.current_time() - start)

        tasks.start_soon(wait)
        await anyio.sleep(1)
        source.forget(C, N)
    assert waited == [pytest.approx(1)]


async def _note(
    call: Callable[[TokenSource], Awaitable[object]], source: TokenSource, told: list[tuple[int, str]]
) -> None:
    start = anyio.current_time()
    with pytest.raises(TokenError) as error:
        await call(source)
    told.append((round(anyio.current_time() - start), str(error.value)))
