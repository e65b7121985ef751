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
from msa.api.core import Credential
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


async def test_of_an_immutable_secret_with_an_expired_token_nothing_can_be_lost(
    now: Callable[[], datetime],
) -> None:
    world = await _immutable(now)
    await anyio.sleep(timedelta(hours=25).total_seconds())
    await reconciler_of(world)(ONE)
    assert "delete secret" in world.writes


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
