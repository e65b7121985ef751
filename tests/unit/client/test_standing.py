"""What a ManagedServiceAccount says of its token reaches whoever follows it, where he may read that."""

from typing import Any

import anyio
import pytest
from msgspec import Raw

from msa.api.managedserviceaccount import StoredIdentity
from msa.api.meta import ObjectMeta
from msa.client import TokenSource
from msa.client.errors import Expired, Missing
from msa.client.standing import read
from msa.runtime.errors import Forbidden, NotFound
from tests.unit.client.scripted_hub import ListedOnly, ScriptedHub

C, N = "c1", "deployer"
ENDS = pytest.mark.parametrize(("reason", "error"), [("TokenExpired", Expired), ("AddonRemoved", Missing)])


@ENDS
async def test_a_token_that_can_be_used_no_more_is_told_and_so_is_its_return(
    hub: ScriptedHub, reason: str, error: type[Exception]
) -> None:
    token = hub.write(C, N)
    hub.say(C, N, "True", "TokenFresh")
    async with TokenSource(hub=hub) as source:
        changes = source.follow(C, N)
        assert await anext(changes) is not None
        hub.say(C, N, "False", reason)
        with anyio.fail_after(5):
            assert await anext(changes) is None
        with pytest.raises(error, match=f"Ready of the ManagedServiceAccount is False .{reason}: as it is"):
            source.token(C, N)
        with pytest.raises(error):
            await source.get(C, N)
        hub.say(C, N, "True", "TokenFresh")
        with anyio.fail_after(5):
            back = await anext(changes)
        assert back is not None
        assert back.token.reveal() == token


@ENDS
async def test_who_begins_to_follow_then_is_not_given_the_token(
    hub: ScriptedHub, reason: str, error: type[Exception]
) -> None:
    hub.write(C, N)
    hub.say(C, N, "False", reason)
    async with TokenSource(hub=hub) as source:
        with pytest.raises(error):
            await source.headers(C, N)


@pytest.mark.parametrize(
    ("status", "reason"),
    [("Unknown", "AgentUnavailable"), ("False", "SecretContested"), ("True", "TokenFresh")],
)
async def test_a_token_that_may_live_is_given(hub: ScriptedHub, status: str, reason: str) -> None:
    token = hub.write(C, N)
    hub.say(C, N, status, reason)
    async with TokenSource(hub=hub) as source:
        await source.headers(C, N)
        assert source.token(C, N).reveal() == token


@pytest.mark.parametrize("error", [Forbidden("no"), NotFound("no such kind")])
async def test_without_the_right_to_read_it_the_secret_alone_tells_and_it_is_asked_for_once(
    hub: ScriptedHub, error: Any
) -> None:
    token = hub.write(C, N)
    hub.hide_identity(C, N, error)
    async with TokenSource(hub=hub) as source:
        await source.headers(C, N)
        asked = len(hub.identities_of[C, N].requests)
        await anyio.sleep(3600)
        assert source.token(C, N).reveal() == token
        assert len(hub.identities_of[C, N].requests) == asked


async def test_who_may_list_it_and_not_watch_it_goes_by_the_secret_and_asks_no_longer_than_a_minute(
    hub: ScriptedHub,
) -> None:
    token = hub.write(C, N)
    hub.identities_of[C, N] = ListedOnly()
    hub.say(C, N, "True", "TokenFresh")
    async with TokenSource(hub=hub) as source:
        await source.headers(C, N)
        await anyio.sleep(70)
        asked = len(hub.identities_of[C, N].requests)
        hub.say(C, N, "False", "AddonRemoved")
        await anyio.sleep(3600)
        assert source.token(C, N).reveal() == token
        assert len(hub.identities_of[C, N].requests) == asked


async def test_what_was_listed_once_is_not_believed_where_it_cannot_be_watched(hub: ScriptedHub) -> None:
    token = hub.write(C, N)
    hub.identities_of[C, N] = ListedOnly()
    hub.say(C, N, "False", "AddonRemoved")
    async with TokenSource(hub=hub) as source:
        with anyio.fail_after(70):
            credential = await anext(source.follow(C, N))
        assert credential is not None
        assert credential.token.reveal() == token


async def test_of_one_that_is_deleted_the_secret_tells(hub: ScriptedHub) -> None:
    hub.write(C, N)
    hub.say(C, N, "True", "TokenFresh")
    async with TokenSource(hub=hub) as source:
        changes = source.follow(C, N)
        assert await anext(changes) is not None
        hub.say(C, N, "False", "AddonRemoved")
        with anyio.fail_after(5):
            assert await anext(changes) is None
        hub.identities_of[C, N].delete(N)
        with anyio.fail_after(5):
            assert await anext(changes) is not None


@pytest.mark.parametrize("status", [b"{", b'{"conditions":7}', b"[" * 5000 + b"]" * 5000])
def test_of_a_status_that_cannot_be_read_nothing_is_known(status: bytes) -> None:
    assert read(StoredIdentity(ObjectMeta(name=N), status=Raw(status))).ended is None
