"""A Secret whose CA is none: no client trusts anybody else for it, and no error but ours comes out."""

from collections.abc import AsyncIterator

import anyio
import pytest

from msa.client import TokenError, TokenSource
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"
_BAD = [
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN CERTIFICATE-----",
    "# für c1\n-----BEGIN CERTIFICATE-----".encode(),
    b"\xff-----BEGIN CERTIFICATE-----",
    b"",
]


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


@pytest.mark.parametrize("bad", _BAD)
async def test_a_ca_that_is_none_makes_no_context_and_names_the_secret(
    hub: ScriptedHub, source: TokenSource, bad: bytes
) -> None:
    hub.ca = bad
    hub.write(C, N)
    credential = await source.get(C, N)
    told = r"the CAs of cluster c1 are not usable, see ca\.crt of Secret c1/deployer on the hub"
    with pytest.raises(TokenError, match=told):
        credential.ssl_context()
    with pytest.raises(TokenError, match=told):
        await source.httpx(C, N)
    with pytest.raises(TokenError, match=told):
        await source.kubernetes(C, N)
    with pytest.raises(TokenError, match=told):
        await source.kubernetes_asyncio(C, N)


@pytest.mark.parametrize("bad", _BAD)
async def test_a_ca_that_is_none_leaves_what_was_trusted(
    hub: ScriptedHub, source: TokenSource, bad: bytes
) -> None:
    hub.write(C, N)
    file = anyio.Path((await source.kubernetes(C, N)).ssl_ca_cert or "")
    trusted = (await source.httpx(C, N))["verify"].get_ca_certs()
    good, hub.ca = hub.ca, bad
    newest = hub.write(C, N)
    await anyio.sleep(10)
    assert source.token(C, N).reveal() == newest
    assert await file.read_bytes() == good
    assert (await source.headers(C, N))()
    hub.ca = good
    hub.write(C, N)
    await anyio.sleep(10)
    assert (await source.httpx(C, N))["verify"].get_ca_certs() == trusted
