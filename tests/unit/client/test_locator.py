"""A cluster's address that cannot be read at the moment: asked for again, without a new token."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import anyio
import pytest

from msa.client import TokenError, TokenSource
from msa.client.credential import Address
from msa.client.errors import Denied, Missing, Unreachable
from msa.client.locator import Locator
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"
_KNOWN = "https://c1:6443"
_FAILURES = [Denied("no right"), Missing("nobody told"), Unreachable("not now"), TokenError("odd")]


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


@pytest.mark.parametrize("error", _FAILURES, ids=repr)
async def test_an_address_that_could_not_be_read_is_read_later_and_told(
    hub: ScriptedHub, source: TokenSource, error: TokenError
) -> None:
    hub.write(C, N)
    hub.addresses[C] = error
    changes = source.follow(C, N)
    first = await anext(changes)
    assert first is not None
    with pytest.raises(type(error)):
        _ = first.server
    await anyio.sleep(300)
    hub.addresses[C] = Address(_KNOWN)
    with anyio.fail_after(61):
        second = await anext(changes)
    assert second is not None
    assert second.server == _KNOWN
    assert second.token.reveal() == first.token.reveal()


async def test_attempts_are_a_second_apart_and_then_ever_further_up_to_a_minute() -> None:
    asked = []

    async def refuse() -> Address:
        asked.append(anyio.current_time())
        raise Denied("no right")

    with anyio.move_on_after(250):
        await Locator(refuse, lambda: None).run()
    assert [later - earlier for earlier, later in pairwise(asked)] == pytest.approx(
        [1, 2, 4, 8, 16, 32, 60, 60, 60]
    )


async def test_what_was_read_is_not_asked_for_again_before_there_is_a_reason(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.write(C, N)
    hub.addresses[C] = Unreachable("not now")
    await source.headers(C, N)
    hub.addresses[C] = Address(_KNOWN)
    await anyio.sleep(10)
    asked = list(hub.asked)
    await anyio.sleep(3600)
    assert hub.asked == asked


@pytest.mark.parametrize("error", [Denied("no right"), Missing("nobody told")], ids=repr)
async def test_an_address_that_is_known_is_given_up_when_a_second_attempt_says_so_too(
    hub: ScriptedHub, source: TokenSource, error: TokenError
) -> None:
    hub.write(C, N)
    await source.headers(C, N)
    hub.addresses[C] = error
    hub.write(C, N)
    await anyio.sleep(0.9)
    assert (await source.get(C, N)).server == _KNOWN
    await anyio.sleep(0.2)
    with pytest.raises(type(error)):
        _ = (await source.get(C, N)).server


async def test_a_refusal_that_was_a_mistake_changes_nothing() -> None:
    answers: list[Any] = [Address(_KNOWN), Denied("a"), Address(_KNOWN), Denied("b"), Address(_KNOWN)]
    changed = []

    async def answer() -> Address:
        given = answers.pop(0)
        if isinstance(given, TokenError):
            raise given
        assert isinstance(given, Address)
        return given

    locator = Locator(answer, lambda: changed.append(locator.address))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(locator.run)
        for _ in range(2):
            await anyio.sleep(10)
            locator.refresh()
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    assert answers == []
    assert changed == [Address(_KNOWN)]


async def test_an_address_that_is_known_outlives_any_silence_of_the_hub(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.write(C, N)
    await source.headers(C, N)
    hub.addresses[C] = Unreachable("not now")
    hub.write(C, N)
    await anyio.sleep(3600)
    assert (await source.get(C, N)).server == _KNOWN
