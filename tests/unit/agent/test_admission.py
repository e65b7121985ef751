"""The hub's admission alters or refuses what the agent writes: reported as it is, and no loop. On virtual time."""

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.agent.ports import SecretContent
from msa.agent.reconciler import TokenReconciler
from msa.api.conditions import find
from msa.api.core import Credential, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.token import TokenFacts
from msa.policy.readiness import READY
from msa.runtime.errors import Forbidden
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


def _status(world: World) -> Status:
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    return identity.status


async def _for(reconciler: TokenReconciler, seconds: float) -> None:
    """As the queue does it: again when the time is over, and after each write that changed something."""
    with anyio.move_on_after(seconds):
        while True:
            result = await reconciler(ONE)
            assert isinstance(result, RequeueAfter)
            await anyio.sleep(min(result.seconds, 1.0))


@pytest.mark.parametrize(
    "admit",
    [
        pytest.param(lambda stored: evolve(stored, token=TokenFacts(malformed="masked")), id="token"),
        pytest.param(lambda stored: evolve(stored, ca_digest="another"), id="CA"),
        pytest.param(lambda stored: evolve(stored, owners=()), id="owner"),
    ],
)
async def test_a_secret_that_the_hub_alters_is_reported_as_stored_and_not_written_in_a_loop(
    world: World, admit: Callable[[Credential], Credential]
) -> None:
    world.admit = admit
    await _for(reconciler_of(world), 290)
    assert world.writes == ["account", "token", "secret", "status"]
    ready = find(_status(world).conditions, READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "SecretAltered")
    stored = world.credentials.get("cluster1/one")
    assert stored is not None
    expires = stored.claims.expires_at if stored.claims is not None else None
    assert _status(world).expiration_timestamp == expires


async def test_what_the_hub_altered_again_is_not_told_as_repaired(world: World) -> None:
    await reconciler_of(world)(ONE)
    world.admit = lambda stored: evolve(stored, token=TokenFacts(malformed="masked"))
    stored = world.credentials.get("cluster1/one")
    assert stored is not None
    StoreWriter(world.credentials).put(builders.with_metadata(world.admit(stored), resource_version="20"))
    await _for(reconciler_of(world), 20)
    assert "patch secret" in world.writes
    assert "patch secret" in world.writes
    assert not [entry for entry in world.observed if entry[0] == "repaired"]


class Claiming(World):
    """The managed cluster's admission marks every ServiceAccount as another program's."""

    async def create_account(self, identity: ManagedServiceAccount) -> ServiceAccount:
        metadata = builders.account(identity.metadata.name).metadata
        labels = {**(metadata.labels or {}), "app.kubernetes.io/managed-by": "another"}
        account = ServiceAccount(replace(metadata, labels=labels, resource_version=self._write("account")))
        StoreWriter(self.accounts).put(account)
        return account


async def test_no_token_is_asked_for_while_admission_gives_the_account_to_another_program(
    now: Callable[[], datetime],
) -> None:
    world = Claiming(now)
    StoreWriter(world.identities).put(builders.identity())
    await _for(reconciler_of(world), 290)
    assert world.writes == ["account", "status"]
    ready = find(_status(world).conditions, READY)
    assert ready is not None
    assert ready.reason == "ServiceAccountConflict"


async def test_what_admission_adds_without_harm_is_no_trouble(world: World) -> None:
    world.admit = lambda stored: evolve(stored, owners=("another", *stored.owners))
    await _for(reconciler_of(world), 1000)
    assert world.writes == ["account", "token", "secret", "status"]
    ready = find(_status(world).conditions, READY)
    assert ready is not None
    assert ready.status == "True"


async def test_a_status_of_which_the_hub_stores_less_is_written_once(world: World) -> None:
    """A CRD of an older release prunes fields, or a webhook alters messages."""
    world.keep = lambda status: replace(status, granted_validity="", next_refresh_timestamp=None)
    await _for(reconciler_of(world), 1000)
    assert world.writes == ["account", "token", "secret", "status"]


class Immutable(World):
    """Its Secrets cannot be written, and no more may be created."""

    full: bool = True

    async def rehearse_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> None:
        assert identity.metadata.name == "one"
        assert content.token is not None
        if self.full:
            raise Forbidden("exceeded quota: secrets")

    async def delete_secret(self, stored: Credential) -> None:
        self._write("delete secret")
        StoreWriter(self.credentials).drop(Key(f"cluster1/{stored.metadata.name}"))


@pytest.mark.parametrize(("full", "deleted"), [(True, False), (False, True)])
async def test_an_immutable_secret_is_deleted_only_when_another_may_be_created(
    now: Callable[[], datetime], *, full: bool, deleted: bool
) -> None:
    world = await _immutable(now)
    world.full = full
    await anyio.sleep(19 * 3600)
    await reconciler_of(world)(ONE)
    assert ("delete secret" in world.writes) is deleted
    assert "patch secret" not in world.writes
    assert world.credentials.get("cluster1/one") is not None


@pytest.mark.parametrize(
    ("left", "deleted"), [(timedelta(minutes=11), False), (timedelta(minutes=9), True), (-timedelta(1), True)]
)
async def test_an_immutable_secret_is_replaced_before_its_token_expires_whatever_the_hub_would_accept(
    now: Callable[[], datetime], left: timedelta, *, deleted: bool
) -> None:
    """Who holds the token then has it still; and where the deletion makes room, nobody is ever without a good one."""
    world = await _immutable(now)
    await anyio.sleep((timedelta(hours=24) - left).total_seconds())
    await reconciler_of(world)(ONE)
    assert ("delete secret" in world.writes) is deleted


async def test_that_an_immutable_secret_waits_for_room_is_told_with_its_remedy(
    now: Callable[[], datetime],
) -> None:
    world = await _immutable(now)
    await anyio.sleep(19 * 3600)
    await _for(reconciler_of(world), 30)
    ready = find(_status(world).conditions, "TokenReported")
    assert ready is not None
    assert ready.reason == "ForbiddenOnHub"
    assert "Secret cluster1/one is immutable" in ready.message
    assert "Raise the quota by one Secret" in ready.message


async def _immutable(now: Callable[[], datetime]) -> Immutable:
    world = Immutable(now)
    StoreWriter(world.identities).put(builders.identity())
    await reconciler_of(world)(ONE)
    stored = world.credentials.get("cluster1/one")
    assert stored is not None
    later = builders.with_metadata(stored, resource_version="20")
    StoreWriter(world.credentials).put(evolve(later, immutable=True))
    world.writes.clear()
    return world
