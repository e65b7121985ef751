"""Ready-made configurations for the two Kubernetes clients: what they ask at each request."""

import copy
from collections.abc import AsyncIterator

import anyio
import pytest

from msa.client import TokenSource
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


async def test_kubernetes_asks_for_the_token_at_each_request(hub: ScriptedHub, source: TokenSource) -> None:
    first = hub.write(C, N)
    configuration = await source.kubernetes(C, N)
    assert configuration.host == "https://c1:6443"
    assert configuration.auth_settings()["BearerToken"]["value"] == f"Bearer {first}"
    second = hub.write(C, N)
    await anyio.sleep(1)
    assert configuration.auth_settings()["BearerToken"]["value"] == f"Bearer {second}"


async def test_kubernetes_asyncio_asks_for_the_token_at_each_request(
    hub: ScriptedHub, source: TokenSource
) -> None:
    first = hub.write(C, N)
    configuration = await source.kubernetes_asyncio(C, N)
    assert configuration.host == "https://c1:6443"
    assert (await configuration.auth_settings())["BearerToken"]["value"] == f"Bearer {first}"
    second = hub.write(C, N)
    await anyio.sleep(1)
    assert (await configuration.auth_settings())["BearerToken"]["value"] == f"Bearer {second}"


async def test_a_copy_of_a_configuration_is_fresh_too(hub: ScriptedHub, source: TokenSource) -> None:
    """Both libraries copy the configuration that is set as the default."""
    hub.write(C, N)
    one = copy.deepcopy(await source.kubernetes(C, N))
    other = copy.deepcopy(await source.kubernetes_asyncio(C, N))
    second = hub.write(C, N)
    await anyio.sleep(1)
    assert one.auth_settings()["BearerToken"]["value"] == f"Bearer {second}"
    assert (await other.auth_settings())["BearerToken"]["value"] == f"Bearer {second}"
