"""What the hub refuses, or does not give, to a program that has some rights and not others."""

from collections.abc import AsyncIterator

import anyio
import pytest

from msa.client import TokenSource
from msa.client.errors import Denied, Unreachable
from msa.runtime import errors
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


async def test_a_hub_that_does_not_know_the_program_is_told_as_a_refusal_with_the_remedy(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.refuse(C, N, errors.Unauthorized("who are you", code=401))
    start = anyio.current_time()
    with pytest.raises(Denied) as told:
        await source.headers(C, N)
    assert anyio.current_time() - start == pytest.approx(30)
    assert str(told.value) == (
        "the hub does not know this program, which would follow Secret c1/deployer: see whether the token or the certificate that it"
        " comes with is still good, in its kubeconfig or its pod (things.test: Unauthorized: who are you)"
    )


async def test_a_hub_that_answers_with_errors_is_not_told_as_silent(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.refuse(C, N, errors.ServerError("Unauthorized: not really", code=500))
    with pytest.raises(Unreachable) as told:
        await source.headers(C, N)
    assert str(told.value) == (
        "the hub did not give Secret c1/deployer for 30 s: things.test: ServerError: Unauthorized: not really"
    )


@pytest.mark.parametrize(
    "error", [errors.Refused("nobody listens"), errors.Forbidden("no list", code=403)], ids=repr
)
async def test_a_call_that_follows_and_is_cancelled_spoils_no_single_request(
    hub: ScriptedHub, source: TokenSource, error: errors.ApiError
) -> None:
    hub.refuse(C, N, error)
    token = hub.write(C, N)
    with anyio.move_on_after(0.001):
        await source.headers(C, N)
    await anyio.sleep(5)
    start = anyio.current_time()
    assert (await source.get(C, N)).token.reveal() == token
    assert anyio.current_time() == start
