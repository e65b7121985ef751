"""The reconciler with scripted clusters, on virtual time: what it asks of them, and when."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from msa.agent.reconciler import TokenReconciler
from msa.api.core import IssuedToken, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import OwnerReference
from msa.policy.rotation import Request
from msa.runtime.errors import ApiError, Network, Throttled
from msa.runtime.result import Done, Key, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")


@pytest.fixture
def world(now: Callable[[], datetime]) -> World:
    world = World(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


async def _live(world: World, reconciler: TokenReconciler, seconds: float) -> None:
    """Looks at the identity whenever it asked to be looked at, and once more after each look, as its own events would."""
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        try:
            result = await reconciler(ONE)
        except ApiError:
            await anyio.sleep(1)
            continue
        wait = result.seconds if isinstance(result, RequeueAfter) else seconds
        await anyio.sleep(min(wait, end - anyio.current_time()))


async def test_a_new_identity_costs_four_requests_and_the_next_look_none(world: World) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]
    result = await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]
    assert isinstance(result, RequeueAfter)
    assert 0.7 * 86400 <= result.seconds <= 0.8 * 86400


async def test_an_answer_that_is_a_second_off_the_tokens_own_expiry_needs_no_repair(world: World) -> None:
    """The API server looks at its clock once for the token and once for the answer."""
    world.rounding = timedelta(seconds=1)
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    await reconciler(ONE)
    assert world.writes == ["account", "token", "secret", "status"]


async def test_a_rotation_costs_three_requests_and_comes_at_its_time(world: World) -> None:
    reconciler = reconciler_of(world)
    await _live(world, reconciler, 86400 * 0.85)
    assert world.writes == ["account", "token", "secret", "status", "token", "patch secret", "status"]


@pytest.mark.parametrize("write", range(4))
async def test_wherever_the_agent_crashes_a_new_one_ends_in_the_same_state(world: World, write: int) -> None:
    world.crash_at = write
    with contextlib.suppress(ApiError):
        await reconciler_of(world)(ONE)
    world.error = None
    await reconciler_of(world)(ONE)
    await anyio.sleep(400)
    await reconciler_of(world)(ONE)
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    assert {condition.type: condition.status for condition in identity.status.conditions} == {
        "Ready": "True",
        "TokenReported": "True",
        "SecretCreated": "True",
    }
    assert world.writes.count("account") == 1
    assert len(world.credentials) == 1


async def test_clocks_that_are_far_apart_lead_to_no_storm_of_tokens(world: World) -> None:
    """The managed cluster's clock is two days behind and nobody noticed: each new token seems expired at once."""
    world.skew = -timedelta(days=2)
    await _live(world, reconciler_of(world), 3600)
    assert world.writes.count("token") == 1
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    assert "ClockSkew" in {condition.reason for condition in identity.status.conditions}


async def test_an_hour_of_skew_either_way_costs_no_token_more(now: Callable[[], datetime]) -> None:
    for hours in (-1, 1):
        world = World(now, skew=timedelta(hours=hours))
        StoreWriter(world.identities).put(builders.identity())
        await _live(world, reconciler_of(world), 86400 * 0.6)
        assert world.writes.count("token") == 1


async def test_an_unreachable_cluster_is_asked_less_and_less_and_reported_once(world: World) -> None:
    class Down(World):
        async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
            asked.append(anyio.current_time())
            raise Network("down")

    asked: list[float] = []
    down = Down(world.now)
    StoreWriter(down.identities).put(builders.identity())
    await _live(down, reconciler_of(down), 3600)
    assert 8 < len(asked) < 80
    assert down.writes == ["status"]


async def test_an_ephemeral_identity_is_deleted_at_its_time_and_never_early(world: World) -> None:
    created = world.now().astimezone(UTC)
    brief = builders.identity()
    spec = replace(brief.spec, ttl_seconds_after_creation=100)
    StoreWriter(world.identities).put(
        replace(
            brief,
            spec=spec,
            metadata=replace(brief.metadata, creation_timestamp=created, resource_version="8"),
        )
    )
    reconciler = reconciler_of(world, ephemeral=True)
    await _live(world, reconciler, 99.9)
    assert "delete identity" not in world.writes
    await _live(world, reconciler, 1)
    await reconciler(ONE)
    assert world.writes[-1] == "delete identity"


async def test_a_token_for_another_account_of_that_name_is_never_written(world: World) -> None:
    """Our copy is behind: the account was deleted, and another addon, with other rights, made one of that name."""

    class Stale(World):
        async def request_token(self, account: ServiceAccount, request: Request) -> IssuedToken:
            foreign = ServiceAccount(replace(account.metadata, uid="somebody-else"))
            return await super().request_token(foreign, request)

    stale = Stale(world.now)
    StoreWriter(stale.identities).put(builders.identity())
    await _live(stale, reconciler_of(stale), 3600)
    assert "secret" not in stale.writes
    assert stale.writes.count("token") < 80, "it is asked for less and less often"
    identity = stale.identities.get("cluster1/one")
    assert identity is not None
    assert {condition.reason for condition in identity.status.conditions} == {"UnfitToken"}


async def test_the_time_that_a_server_asks_for_is_given_to_it(world: World) -> None:
    class Busy(World):
        async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
            asked.append(anyio.current_time())
            raise Throttled("later", retry_after=60.0)

    asked: list[float] = []
    busy = Busy(world.now)
    StoreWriter(busy.identities).put(builders.identity())
    await _live(busy, reconciler_of(busy), 300)
    assert len(asked) >= 3
    assert all(later - sooner >= 60.0 for sooner, later in pairwise(asked))


async def test_an_identity_that_cannot_be_read_keeps_its_account(world: World) -> None:
    """Somebody wrote a time into its status that the API server takes and we cannot read: it is in no cache."""
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    change = StoreWriter(world.identities).drop(Key("cluster1/one"))
    assert change is not None
    reconciler.absences.changed(ONE, change)
    world.unreadable = {"one"}
    for _ in range(5):
        assert isinstance(await reconciler(ONE), RequeueAfter)
        await anyio.sleep(61)
    assert "delete account" not in world.writes
    world.unreadable = set()
    assert await reconciler(ONE) == Done()
    assert world.writes[-1] == "delete account"


ELSEWHERE = OwnerReference("work.open-cluster-management.io/v1", "AppliedManifestWork", "w", "w-uid")


async def test_an_account_that_another_program_comes_to_own_loses_its_token_and_gets_none_again(
    world: World,
) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    _change_account(world, owner_references=(ELSEWHERE,))
    for _ in range(3):
        await reconciler(ONE)
        await anyio.sleep(100)
    assert world.writes[4:] == ["revoke secret", "status"]
    assert _reason(world) == "ServiceAccountConflict"
    stored = world.identities.get("cluster1/one")
    assert stored is not None
    assert stored.status.expiration_timestamp is None
    assert world.observed[-1] == ("refused", "ServiceAccountConflict", True)


@pytest.mark.parametrize("first", [True, False], ids=["spec invalid first", "spec invalid after"])
async def test_a_spec_that_asks_for_nothing_does_not_keep_the_token_of_an_account_that_another_program_applies(
    world: World, *, first: bool
) -> None:
    """A tenant would have its token for as long as it lasts, with the rights that the other program's account is given."""
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    if not first:
        _change_account(world, annotations={"meta.helm.sh/release-name": "cluster-proxy"})
    stored = world.identities.get("cluster1/one")
    assert stored is not None
    metadata = replace(stored.metadata, resource_version=str(world.version + 1), generation=2)
    spec = replace(stored.spec, rotation=replace(stored.spec.rotation, validity="nonsense"))
    world.version += 1
    StoreWriter(world.identities).put(replace(stored, metadata=metadata, spec=spec))
    await reconciler(ONE)
    if first:
        assert _reason(world) == "InvalidSpec"
        _change_account(world, annotations={"meta.helm.sh/release-name": "cluster-proxy"})
        await reconciler(ONE)
    assert "revoke secret" in world.writes


async def test_when_another_programs_mark_is_removed_the_next_look_asks_for_a_token(world: World) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    _change_account(world, annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"})
    for _ in range(2):
        await reconciler(ONE)
        await anyio.sleep(61)
    await reconciler(ONE)
    assert _reason(world) == "ServiceAccountConflict"
    _change_account(world, annotations=None)
    await reconciler(ONE)
    assert _reason(world) == "TokenFresh"


async def test_when_the_account_is_ours_alone_again_it_gets_a_new_token(world: World) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    _change_account(world, owner_references=(ELSEWHERE,))
    await reconciler(ONE)
    _change_account(world, owner_references=())
    await reconciler(ONE)
    assert _reason(world) == "TokenFresh"


async def test_the_token_of_an_account_that_was_deleted_is_dead_and_stays_where_it_is(world: World) -> None:
    """A stranger's has its name now."""
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    _change_account(world, uid="other", labels=None)
    await reconciler(ONE)
    assert world.writes[4:] == ["status"]
    assert _reason(world) == "ServiceAccountConflict"


async def test_no_token_is_asked_for_while_the_account_is_being_deleted(world: World) -> None:
    """Its finalizers keep it, and the server would refuse the token a minute later."""
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    StoreWriter(world.credentials).drop(Key("cluster1/one"))
    _change_account(world, deletion_timestamp=world.now(), finalizers=("example.com/keep",))
    await reconciler(ONE)
    assert world.writes[4:] == ["status"]
    assert _reason(world) == "ServiceAccountTerminating"
    StoreWriter(world.accounts).drop(Key(f"{builders.NAMESPACE}/one"))
    await reconciler(ONE)
    assert world.writes[5:] == ["account", "token", "secret", "status"]


def _change_account(world: World, **changes: Any) -> None:
    stored = world.accounts.get(f"{builders.NAMESPACE}/one")
    assert stored is not None
    world.version += 1
    metadata = replace(stored.metadata, resource_version=str(world.version), **changes)
    StoreWriter(world.accounts).put(ServiceAccount(metadata))


def _reason(world: World) -> str:
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    return next(item.reason for item in identity.status.conditions if item.type == "Ready")
