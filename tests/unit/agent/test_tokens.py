"""How an identity's Secret is made right, and what is told of it, with scripted clusters on virtual time."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.agent.failures import Side
from msa.agent.keyset import KeySet
from msa.agent.ports import SecretContent, StoredSecret
from msa.agent.reconciler import TokenReconciler
from msa.api import names
from msa.api.core import Credential, IssuedToken, Secret, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import ObjectMeta
from msa.policy.rotation import Request
from msa.runtime.errors import AlreadyExists, ApiError, Forbidden, Network
from msa.runtime.result import Key, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")


@pytest.fixture
def world(now: Callable[[], datetime]) -> World:
    world = World(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


def _alter(world: World, **changes: Any) -> None:
    """Somebody else writes the Secret."""
    stored = world.credentials.get("cluster1/one")
    assert stored is not None
    world.version += 1
    metadata = replace(stored.metadata, resource_version=str(world.version))
    StoreWriter(world.credentials).put(evolve(stored, metadata=metadata, **changes))


def _reasons(world: World) -> set[str]:
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    return {condition.reason for condition in identity.status.conditions}


async def _wait(reconciler: TokenReconciler) -> float:
    result = await reconciler(ONE)
    assert isinstance(result, RequeueAfter)
    return result.seconds


async def test_a_copy_for_a_cluster_profile_is_not_taken_over(world: World) -> None:
    """It has our label, and its name may be an identity's in the namespace of the profile."""
    labels = {names.LABEL_MANAGED: "true", names.LABEL_SYNCED_FROM: "cluster-one"}
    metadata = ObjectMeta(name="one", namespace="cluster1", resource_version="5", labels=labels)
    StoreWriter(world.credentials).put(world.ingest(Secret(metadata)))
    reconciler = reconciler_of(world)
    for _ in range(3):
        await reconciler(ONE)
    assert world.observed == [("refused", "SecretConflict", False)]
    assert world.writes == ["account", "token", "status"]


async def test_a_ca_of_the_cluster_that_changes_often_is_written_each_time_and_blamed_on_nobody(
    world: World,
) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reconciler.cluster.run)
        await anyio.sleep(1)
        for number in range(6):
            world.ca = f"ca {number}".encode()
            await anyio.sleep(6)
            await reconciler(ONE)
        tasks.cancel_scope.cancel()
    assert world.writes.count("patch secret") == 6
    assert "SecretContested" not in _reasons(world)


async def test_a_ca_that_somebody_else_writes_again_and_again_is_repaired_three_times_and_then_later(
    world: World,
) -> None:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    for _ in range(3):
        _alter(world, ca_digest="not ours")
        await anyio.sleep(await _wait(reconciler))
        await reconciler(ONE)
    _alter(world, ca_digest="not ours")
    wait = await _wait(reconciler)
    assert world.writes.count("patch secret") == 3
    assert "SecretContested" in _reasons(world)
    assert 0 < wait <= 5


async def test_each_failure_is_counted_and_only_the_first_of_a_cause_that_lasts_is_told_as_new(
    world: World,
) -> None:
    reconciler = reconciler_of(world)
    world.error = Network("down")
    for _ in range(3):
        with suppress(ApiError):  # the status cannot be written either
            await reconciler(ONE)
        await anyio.sleep(301)
    world.error = Forbidden("no")
    with pytest.raises(ApiError):
        await reconciler(ONE)
    assert world.observed == [
        ("failed", "ManagedClusterUnreachable", True),  # it may be over in a moment
        ("failed", "ManagedClusterUnreachable", False),
        ("failed", "ManagedClusterUnreachable", True),
        ("failed", "ForbiddenOnManagedCluster", False),
    ]


async def test_an_agent_that_starts_again_tells_only_what_the_status_does_not_say(world: World) -> None:
    foreign = ServiceAccount(ObjectMeta(name="one", namespace=builders.NAMESPACE, uid="foreign"))
    StoreWriter(world.accounts).put(foreign)
    for _ in range(2):
        await reconciler_of(world)(ONE)
    assert world.observed == [
        ("refused", "ServiceAccountConflict", False),
        ("refused", "ServiceAccountConflict", True),
    ]


async def test_keys_that_wait_for_a_server_are_looked_at_as_soon_as_it_is_back(world: World) -> None:
    class Down(World):
        async def create_account(self, identity: object) -> ServiceAccount:
            raise Network("down")

    down = Down(world.now)
    StoreWriter(down.identities).put(builders.identity())
    reconciler = reconciler_of(down)
    for _ in range(12):
        await anyio.sleep(await _wait(reconciler))
    failures = len(down.observed)
    await _wait(reconciler)
    assert len(down.observed) == failures + 1, "the time was over"
    await _wait(reconciler)
    assert len(down.observed) == failures + 1, "now it waits"
    assert reconciler.recovered(Side.HUB) == ()
    assert reconciler.recovered(Side.MANAGED) == (ONE,)
    await _wait(reconciler)
    assert len(down.observed) == failures + 2


async def test_a_life_shortened_by_the_cluster_is_told_once(world: World) -> None:
    world.granted = timedelta(hours=1)
    reconciler = reconciler_of(world)
    for _ in range(4):
        await anyio.sleep(await _wait(reconciler))
    assert world.observed.count(("limited", "LifetimeShortened", False)) == 1
    assert world.observed.count(("issued", "TokenDue", False)) == 3


async def test_a_secret_whose_keys_came_late_is_read_again_once(now: Callable[[], datetime]) -> None:
    """The key set could not be had when the Secret was read, so its copy says that nobody signed its token."""
    document = builders.jwks("k")

    class Signed(World):
        async def read_secret(self, name: str) -> StoredSecret:
            stored = (await super().read_secret(name)).credential
            assert stored.token is not None
            (key,) = KeySet.from_jwks(document).thumbprints
            return StoredSecret(evolve(stored, token=evolve(stored.token, signed_by=key)), ())

    async def fetch_keys() -> bytes:
        return document

    world = Signed(now)
    StoreWriter(world.identities).put(builders.identity())
    reconciler = reconciler_of(world, fetch_keys=fetch_keys)
    await reconciler(ONE)
    await reconciler.cluster.refresh()
    for _ in range(3):
        await reconciler(ONE)
    assert world.reads == ["one"]
    assert world.writes.count("token") == 1


async def test_an_expired_token_is_asked_for_at_least_every_minute(world: World) -> None:
    class Denied(World):
        async def request_token(self, account: ServiceAccount, request: Request) -> IssuedToken:
            if self.tokens["one"]:
                raise Network("down")
            return await super().request_token(account, request)

    denied = Denied(world.now)
    StoreWriter(denied.identities).put(builders.identity())
    reconciler = reconciler_of(denied)
    await anyio.sleep(await _wait(reconciler))
    start = anyio.current_time()
    waits = []
    while anyio.current_time() < start + 86400:
        waits.append(await _wait(reconciler))
        await anyio.sleep(waits[-1])
    assert max(waits[-100:]) <= 60.0
    assert max(waits) > 100.0, "while there is time, it is asked for less often"


async def test_a_refusal_right_after_the_account_was_made_is_told_and_counted_once(world: World) -> None:
    class Taken(World):
        async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
            raise AlreadyExists("a Secret of that name is there")

        async def read_secret(self, name: str) -> StoredSecret:
            foreign = builders.with_metadata(builders.credential(owners=()), labels={})
            return StoredSecret(foreign, ())

    taken = Taken(world.now)
    StoreWriter(taken.identities).put(builders.identity())
    reconciler = reconciler_of(taken)
    for _ in range(3):
        await reconciler(ONE)
    assert taken.observed == [("refused", "SecretConflict", False)]
    assert taken.writes == ["account", "token", "status"]
