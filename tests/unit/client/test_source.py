"""A consumer's view: tokens that are asked for, followed, renewed, withdrawn; and what it is told when there are none."""

import pickle
from collections.abc import AsyncIterator

import anyio
import pytest

from msa.client import Identity, TokenError, TokenSource
from msa.client.credential import Address
from msa.client.errors import Denied, Expired, Missing, Unreachable
from msa.runtime import errors
from tests.support.scripted_server import Fault
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"


@pytest.fixture
async def source(hub: ScriptedHub) -> AsyncIterator[TokenSource]:
    async with TokenSource(hub=hub) as opened:
        yield opened


async def test_a_credential_is_read_without_being_followed(hub: ScriptedHub, source: TokenSource) -> None:
    token = hub.write(C, N)
    credential = await source.get(C, N)
    assert credential.token.reveal() == token
    assert (credential.server, credential.cluster, credential.name) == ("https://c1:6443", C, N)
    assert hub.servers[C, N].requests == []
    with pytest.raises(TokenError, match="is not followed"):
        source.token(C, N)


async def test_a_missing_one_is_told_with_the_object_and_the_remedy(source: TokenSource) -> None:
    with pytest.raises(Missing) as told:
        await source.get(C, N)
    assert str(told.value) == (
        "no token of deployer for cluster c1: Secret c1/deployer on the hub is not there; see whether there is a"
        " ManagedServiceAccount and what hinders it: kubectl describe managedserviceaccount -n c1 deployer"
    )


async def test_what_is_wrong_with_a_secret_is_told(hub: ScriptedHub, source: TokenSource) -> None:
    hub.spoilt = "is not ours"
    hub.write(C, N)
    with pytest.raises(Missing, match="Secret c1/deployer on the hub is not ours"):
        await source.get(C, N)


async def test_a_followed_one_is_read_from_the_cache_at_once(hub: ScriptedHub, source: TokenSource) -> None:
    hub.write(C, N)
    headers = await source.headers(C, N)
    newest = hub.write(C, N)
    await anyio.sleep(1)
    asked = list(hub.asked)
    assert source.token(C, N).reveal() == newest
    assert headers() == {"Authorization": f"Bearer {newest}"}
    assert (await source.get(C, N)).token.reveal() == newest
    assert hub.asked == asked


async def test_following_begins_with_the_present_one_and_tells_each_change(
    hub: ScriptedHub, source: TokenSource
) -> None:
    tokens = [hub.write(C, N)]
    seen = []
    async for credential in source.follow(C, N):
        assert credential is not None
        seen.append(credential.token.reveal())
        if len(seen) == 3:
            break
        tokens.append(hub.write(C, N))
    assert seen == tokens


async def test_following_waits_for_one_that_is_not_there_yet(hub: ScriptedHub, source: TokenSource) -> None:
    async with anyio.create_task_group() as tasks:
        seen = _seen(source, tasks)
        await anyio.sleep(3600)
        assert seen == []
        token = hub.write(C, N)
        await anyio.sleep(1)
        assert seen == [token]
        tasks.cancel_scope.cancel()


async def test_a_secret_that_comes_back_within_the_grace_is_a_change_and_no_withdrawal(
    hub: ScriptedHub, source: TokenSource
) -> None:
    first = hub.write(C, N)
    async with anyio.create_task_group() as tasks:
        seen = _seen(source, tasks)
        await anyio.sleep(1)
        hub.delete(C, N)
        await anyio.sleep(29)
        assert source.token(C, N).reveal() == first
        second = hub.write(C, N)
        await anyio.sleep(100)
        assert seen == [first, second]
        tasks.cancel_scope.cancel()


async def test_a_withdrawn_one_is_told_as_none_after_the_grace(hub: ScriptedHub, source: TokenSource) -> None:
    first = hub.write(C, N)
    async with anyio.create_task_group() as tasks:
        seen = _seen(source, tasks)
        await anyio.sleep(1)
        hub.delete(C, N)
        await anyio.sleep(31)
        assert seen == [first, None]
        with pytest.raises(Missing, match="is not there any more"):
            source.token(C, N)
        again = hub.write(C, N)
        await anyio.sleep(1)
        assert seen == [first, None, again]
        tasks.cancel_scope.cancel()


async def test_a_spoilt_secret_keeps_the_last_token_for_the_grace(
    hub: ScriptedHub, source: TokenSource
) -> None:
    first = hub.write(C, N)
    await source.headers(C, N)
    hub.spoilt = "holds no token"
    hub.write(C, N)
    await anyio.sleep(20)
    assert source.token(C, N).reveal() == first
    hub.write(C, N)  # spoilt again: the grace counts from the first time
    await anyio.sleep(11)
    with pytest.raises(Missing, match="holds no token"):
        source.token(C, N)


async def test_an_expired_token_is_refused_with_the_remedy_and_told_as_none(
    hub: ScriptedHub, source: TokenSource
) -> None:
    first = hub.write(C, N)
    async with anyio.create_task_group() as tasks:
        seen = _seen(source, tasks)
        await anyio.sleep(24 * 3600 + 59)
        assert source.token(C, N).reveal() == first
        await anyio.sleep(2)
        assert seen == [first, None]
        with pytest.raises(
            Expired, match=r"expired at 2026-01-02T00:00:00Z and was not renewed: is the cluster's agent"
        ):
            source.token(C, N)
        with pytest.raises(Expired):
            await source.get(C, N)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.UNAUTHORIZED])
async def test_whatever_happens_to_the_watch_the_newest_token_comes(
    hub: ScriptedHub, source: TokenSource, fault: Fault
) -> None:
    hub.write(C, N)
    await source.headers(C, N)
    server = hub.servers[C, N]
    server.meet(fault)
    hub.write(C, N)
    await anyio.sleep(61)
    server.compact()
    newest = hub.write(C, N)
    await anyio.sleep(300)
    assert source.token(C, N).reveal() == newest


async def test_a_change_that_is_none_for_the_consumer_is_not_told(
    hub: ScriptedHub, source: TokenSource
) -> None:
    first = hub.write(C, N)
    async with anyio.create_task_group() as tasks:
        seen = _seen(source, tasks)
        await anyio.sleep(1)
        held = hub._written[C, N, str(hub.servers[C, N].version)]
        hub.write(C, N)
        hub._written[C, N, str(hub.servers[C, N].version)] = held  # a label, say, was put on it
        await anyio.sleep(10)
        assert seen == [first]
        tasks.cancel_scope.cancel()


async def test_a_slow_consumer_gets_the_newest_and_not_all_between(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.write(C, N)
    seen = []
    async for credential in source.follow(C, N):
        assert credential is not None
        seen.append(credential.token.reveal())
        if len(seen) == 2:
            break
        hub.write(C, N)
        newest = hub.write(C, N)
        await anyio.sleep(10)
    assert seen[1] == newest


async def test_several_that_follow_the_same_share_one_watch(hub: ScriptedHub, source: TokenSource) -> None:
    hub.write(C, N)
    async with anyio.create_task_group() as tasks:
        one, two = _seen(source, tasks), _seen(source, tasks)
        await source.headers(C, N)
        await anyio.sleep(1)
        assert one == two != []
        assert len(hub.servers[C, N].requests) == 1
        tasks.cancel_scope.cancel()


async def test_the_right_that_is_missing_is_named(hub: ScriptedHub, source: TokenSource) -> None:
    hub.refuse(C, N, errors.Forbidden("secrets is forbidden", code=403))
    with pytest.raises(Denied) as told:
        await source.headers(C, N)
    assert (
        "needs the verbs list and watch on secrets in namespace c1; resourceNames [deployer] is enough"
        in str(told.value)
    )


async def test_a_refusal_is_forgotten_so_that_the_next_call_asks_anew(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.write(C, N)
    right = hub.servers[C, N]
    hub.refuse(C, N, errors.Forbidden("no", code=403))
    with pytest.raises(Denied):
        await source.headers(C, N)
    hub.servers[C, N] = right
    assert (await source.headers(C, N))()


async def test_a_hub_that_does_not_answer_is_waited_for_half_a_minute(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.refuse(C, N, errors.Refused("nobody listens"))
    start = anyio.current_time()
    with pytest.raises(
        Unreachable, match=r"did not give Secret c1/deployer for 30 s: things.test: Refused: nobody listens"
    ):
        await source.headers(C, N)
    assert anyio.current_time() - start == pytest.approx(30)


async def test_the_address_is_needed_only_by_who_asks_for_it(hub: ScriptedHub, source: TokenSource) -> None:
    hub.addresses[C] = Denied("the right to get managedclusters is missing")
    hub.write(C, N)
    credential = await source.get(C, N)
    with pytest.raises(Denied, match="get managedclusters"):
        _ = credential.server
    assert (await source.headers(C, N))()


async def test_an_address_given_by_hand_is_taken_and_the_hub_not_asked(hub: ScriptedHub) -> None:
    hub.write(C, N)
    async with TokenSource(hub=hub, servers={C: "https://by-hand:6443/"}) as source:
        assert (await source.get(C, N)).server == "https://by-hand:6443"
    assert hub.asked == ["secret c1/deployer"]


async def test_an_address_that_cannot_be_asked_for_at_the_moment_stays_as_it_was(
    hub: ScriptedHub, source: TokenSource
) -> None:
    hub.write(C, N)
    await source.headers(C, N)
    hub.addresses[C] = Unreachable("not now")
    hub.write(C, N)
    await anyio.sleep(10)
    assert (await source.get(C, N)).server == "https://c1:6443"


async def test_a_new_address_comes_with_the_next_token(hub: ScriptedHub, source: TokenSource) -> None:
    hub.write(C, N)
    await source.headers(C, N)
    hub.addresses[C] = Address("https://moved:6443", b"other CA")
    hub.ca = b"own CA\n"
    hub.write(C, N)
    await anyio.sleep(10)
    credential = await source.get(C, N)
    assert hub.asked == ["address c1"] * 2
    assert credential.server == "https://moved:6443"
    assert credential.ca == b"own CA\nother CA"


async def test_what_is_found_is_what_the_hub_selects(hub: ScriptedHub, source: TokenSource) -> None:
    found = Identity(C, N, {"team": "a"}, ready=True)
    hub.found = {("", "team=a"): [found], (C, ""): []}
    assert await source.find("team=a") == [found]
    assert await source.find(cluster=C) == []


@pytest.mark.parametrize("cluster", ["../kube-system", "", "A", "a/b"])
async def test_a_cluster_that_is_no_name_never_reaches_a_path(source: TokenSource, cluster: str) -> None:
    with pytest.raises(TokenError, match="cannot be the name of a cluster"):
        await source.get(cluster, N)
    with pytest.raises(TokenError, match="cannot be the name of a cluster"):
        await source.headers(cluster, N)


@pytest.mark.parametrize("name", ["../kept", "", "A", "a/b", "a..b", ".a", "a.", "a_b", "a\n", "a" * 254])
async def test_a_name_that_is_none_never_reaches_a_path(
    hub: ScriptedHub, source: TokenSource, name: str
) -> None:
    with pytest.raises(TokenError, match="cannot be the name of a ManagedServiceAccount"):
        await source.get(C, name)
    with pytest.raises(TokenError, match="cannot be the name of a ManagedServiceAccount"):
        await source.headers(C, name)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["a", "a.b-c.d1", "1", "a" * 253])
async def test_whatever_an_object_may_be_named_is_taken(
    hub: ScriptedHub, source: TokenSource, name: str
) -> None:
    token = hub.write(C, name)
    assert (await source.get(C, name)).token.reveal() == token


async def test_nor_does_one_whose_identities_are_asked_for(source: TokenSource) -> None:
    with pytest.raises(TokenError, match="cannot be the name of a cluster"):
        await source.find(cluster="../kube-system")


async def test_what_is_forgotten_ends_for_those_who_follow_it(hub: ScriptedHub, source: TokenSource) -> None:
    hub.write(C, N)
    seen = []
    async for credential in source.follow(C, N):
        seen.append(credential)
        source.forget(C, N)
    assert len(seen) == 1
    with pytest.raises(TokenError, match="is not followed"):
        source.token(C, N)


async def test_closing_ends_what_follows_and_closes_the_hub(hub: ScriptedHub) -> None:
    hub.write(C, N)
    with anyio.fail_after(2):
        async with anyio.create_task_group() as tasks, TokenSource(hub=hub) as source:
            seen = _seen(source, tasks)
            await anyio.sleep(1)
    assert len(seen) == 1
    assert hub.state == ["open", "running", "closed"]
    with pytest.raises(TokenError, match="is not open"):
        await source.headers(C, N)


async def test_the_consumers_own_errors_come_out_as_they_are(hub: ScriptedHub) -> None:
    with pytest.raises(KeyError):
        async with TokenSource(hub=hub):
            raise KeyError("mine")
    assert hub.state[-1] == "closed"


async def test_a_cancelled_consumer_ends_as_cancelled(hub: ScriptedHub) -> None:
    with anyio.move_on_after(5) as scope:
        async with TokenSource(hub=hub):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert hub.state[-1] == "closed"


async def test_a_bug_of_ours_is_no_silence(hub: ScriptedHub) -> None:
    hub.bug = ZeroDivisionError("ours")
    with pytest.RaisesGroup(ZeroDivisionError):
        async with TokenSource(hub=hub):
            await anyio.sleep_forever()
    assert hub.state[-1] == "closed"


async def test_a_credential_hides_its_token_and_is_never_pickled(
    hub: ScriptedHub, source: TokenSource
) -> None:
    token = hub.write(C, N)
    credential = await source.get(C, N)
    assert token not in repr(credential)
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(credential)


def _seen(source: TokenSource, tasks: anyio.abc.TaskGroup) -> list[str | None]:
    """What a consumer that follows sees from now on."""
    seen: list[str | None] = []

    async def follow() -> None:
        async for credential in source.follow(C, N):
            seen.append(credential.token.reveal() if credential is not None else None)  # noqa: PERF401 - it is read meanwhile

    tasks.start_soon(follow)
    return seen
