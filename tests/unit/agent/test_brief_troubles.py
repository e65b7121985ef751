"""What fails for a moment alone is told to nobody: no condition, no Event, no warning in the log."""

from collections.abc import Callable
from datetime import datetime

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace

from msa.agent.failures import Side
from msa.agent.ports import SecretContent
from msa.agent.reconciler import TokenReconciler
from msa.api.conditions import find
from msa.api.core import Credential
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.policy.readiness import READY
from msa.runtime.errors import ApiError, Forbidden, Invalid, Network, NotFound, Throttled, Unauthorized
from msa.runtime.result import Key, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")


@define
class Refusing(World):
    """A hub that takes no Secret until that time, on the monotonic clock; statuses it takes."""

    refusal: ApiError = field(factory=lambda: Forbidden("secrets is forbidden"))
    until: float = 0.0

    async def create_secret(self, identity: ManagedServiceAccount, content: SecretContent) -> Credential:
        if anyio.current_time() < self.until:
            raise self.refusal
        return await super().create_secret(identity, content)


@pytest.fixture
def world(now: Callable[[], datetime]) -> Refusing:
    world = Refusing(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


async def _work(reconciler: TokenReconciler, seconds: float) -> None:
    """As the queue would have it for so long, in which the look at each status that was written changes nothing."""
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        result = await reconciler(ONE)
        assert isinstance(result, RequeueAfter)
        await anyio.sleep(min(result.seconds, max(0.0, end - anyio.current_time())))


def _ready(world: World) -> tuple[str, str] | None:
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    said = find(identity.status.conditions, READY)
    return (said.status, said.reason) if said is not None else None


def _told(world: World) -> list[str]:
    return [reason for what, reason, quietly in world.observed if what == "failed" and not quietly]


@pytest.mark.parametrize(
    "refusal",
    [Forbidden("no"), Unauthorized("no"), Network("no"), Throttled("no")],
    ids=lambda error: error.reason,
)
async def test_a_refusal_that_is_over_within_seconds_is_counted_and_told_to_nobody(
    world: Refusing, refusal: ApiError
) -> None:
    """An agent's RoleBinding that is replaced, a server that restarts."""
    world.refusal, world.until = refusal, anyio.current_time() + 2
    await _work(reconciler_of(world), 20)
    assert _ready(world) == ("True", "TokenFresh")
    assert _told(world) == []
    assert ("failed" in {what for what, *_ in world.observed}) is True
    assert world.writes.count("status") == 1


async def test_a_refusal_that_lasts_is_told_once_within_ten_seconds(world: Refusing) -> None:
    world.until = anyio.current_time() + 60
    reconciler = reconciler_of(world)
    await _work(reconciler, 10)
    assert _ready(world) == ("False", "ForbiddenOnHub")
    await _work(reconciler, 45)
    assert _told(world) == ["ForbiddenOnHub"]
    assert world.writes.count("status") == 1


async def test_a_server_that_asks_to_wait_for_longer_is_told_of_at_once(world: Refusing) -> None:
    world.refusal, world.until = Throttled("no", retry_after=30.0), anyio.current_time() + 60
    await reconciler_of(world)(ONE)
    assert _told(world) == ["HubBusy"]


async def test_what_the_user_must_change_is_told_at_once(world: Refusing) -> None:
    world.refusal, world.until = Invalid("a policy says no"), anyio.current_time() + 60
    await reconciler_of(world)(ONE)
    assert _told(world) == ["SecretRefused"]
    assert _ready(world) == ("False", "SecretRefused")


async def test_brief_troubles_that_follow_each_other_are_told_of_since_they_do_not_end(
    world: Refusing,
) -> None:
    """Each is of another cause: the Secret, the spec, the account was altered meanwhile."""
    reconciler, world.until = reconciler_of(world), anyio.current_time() + 60
    for generation in range(2, 14):
        await _work(reconciler, 0.5)
        stored = world.identities.get("cluster1/one")
        assert stored is not None
        edited = replace(stored.metadata, generation=generation)
        StoreWriter(world.identities).put(replace(stored, metadata=edited))
    assert _told(world)[:1] == ["ForbiddenOnHub"]


async def test_a_trouble_that_outlasts_a_server_that_comes_and_goes_is_told_of(world: Refusing) -> None:
    """At each return all that waited is tried again at once: that is no end of the trouble."""
    reconciler, world.until = reconciler_of(world), anyio.current_time() + 60
    for _ in range(12):
        await _work(reconciler, 1)
        assert ONE in reconciler.recovered(Side.HUB)
    assert _ready(world) == ("False", "ForbiddenOnHub")
    assert _told(world) == ["ForbiddenOnHub"]


async def test_a_deleted_namespace_is_told_of_when_it_is_not_there_again_within_seconds(
    world: Refusing,
) -> None:
    world.error = NotFound("namespaces not found")
    reconciler = reconciler_of(world)
    result = await reconciler(ONE)
    assert isinstance(result, RequeueAfter)
    assert (result.seconds <= 1, _ready(world), _told(world)) == (True, None, [])
