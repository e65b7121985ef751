"""Secrets that somebody else writes: when they are repaired, and what is merely adopted. On virtual time."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.agent.ports import StoredSecret
from msa.agent.reconciler import TokenReconciler
from msa.api.core import Credential, Marks
from msa.api.token import TokenFacts
from msa.runtime.errors import Throttled
from msa.runtime.result import Key, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

ONE = Key("one")
GARBAGE = TokenFacts(malformed="garbage")


@pytest.fixture
def world(now: Callable[[], datetime]) -> World:
    world = World(now)
    StoreWriter(world.identities).put(builders.identity())
    return world


@pytest.fixture
async def reconciler(world: World) -> TokenReconciler:
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    world.writes.clear()
    world.observed.clear()
    return reconciler


def _stored(world: World) -> Credential:
    stored = world.credentials.get("cluster1/one")
    assert stored is not None
    return stored


def _alter(world: World, **changes: Any) -> None:
    world.version += 1
    metadata = replace(_stored(world).metadata, resource_version=str(world.version))
    StoreWriter(world.credentials).put(evolve(_stored(world), metadata=metadata, **changes))


def _mark_account(world: World, annotations: dict[str, str] | None) -> None:
    """Another program applies it, or does not any more."""
    world.version += 1
    account = world.accounts.get(f"{builders.NAMESPACE}/one")
    assert account is not None
    metadata = replace(account.metadata, resource_version=str(world.version), annotations=annotations)
    StoreWriter(world.accounts).put(replace(account, metadata=metadata))


async def _look(reconciler: TokenReconciler) -> float:
    result = await reconciler(ONE)
    assert isinstance(result, RequeueAfter)
    return result.seconds


async def test_several_edits_in_a_row_cost_one_new_token_three_seconds_after_the_last(
    world: World, reconciler: TokenReconciler
) -> None:
    for number in range(3):
        _alter(world, token=evolve(GARBAGE, malformed=f"garbage {number}"))
        wait = await _look(reconciler)
        await anyio.sleep(0.5)
    assert (wait, world.writes) == (3.0, []), "what was written is seen, and nothing is reported of it"
    await anyio.sleep(await _look(reconciler))
    assert anyio.current_time() == pytest.approx(1.0 + 3.0)
    await _look(reconciler)
    assert world.writes == ["token", "patch secret", "status"]


async def test_an_alteration_that_never_ends_is_repaired_five_seconds_after_it_began(
    world: World, reconciler: TokenReconciler
) -> None:
    while "patch secret" not in world.writes:
        _alter(world, ca_digest="another")
        await anyio.sleep(min(1.0, await _look(reconciler)))
    assert anyio.current_time() == pytest.approx(5.0, abs=1.0)


async def test_an_alteration_that_is_taken_back_is_not_repaired(
    world: World, reconciler: TokenReconciler
) -> None:
    before = _stored(world)
    _alter(world, token=GARBAGE)
    await _look(reconciler)
    _alter(world, token=before.token)
    await _look(reconciler)
    await anyio.sleep(60)
    _alter(world, token=GARBAGE)
    assert await _look(reconciler) == 3.0, "the next one has its own time"
    assert world.writes == []


async def test_a_deletion_and_a_missing_token_are_repaired_at_once(
    world: World, reconciler: TokenReconciler
) -> None:
    _alter(world, token=None)
    await _look(reconciler)
    assert world.writes[:2] == ["token", "patch secret"]
    StoreWriter(world.credentials).drop(Key("cluster1/one"))
    world.writes.clear()
    await _look(reconciler)
    assert world.writes[:2] == ["token", "secret"]
    assert anyio.current_time() == 0.0


async def test_a_secret_that_lost_its_label_keeps_its_token_and_is_repaired_once(
    world: World, now: Callable[[], datetime]
) -> None:
    """It leaves the watch as a deleted one does."""

    class Unlabelled(World):
        """Its Secret is in no watch."""

        hidden: Credential | None = None

        async def read_secret(self, name: str) -> StoredSecret:
            if self.hidden is not None:
                return StoredSecret(self.hidden, ())
            return await super().read_secret(name)

    world = Unlabelled(now)
    StoreWriter(world.identities).put(builders.identity())
    reconciler = reconciler_of(world)
    await reconciler(ONE)
    world.observed.clear()
    world.writes.clear()
    world.hidden = builders.with_metadata(_stored(world), labels=None)
    StoreWriter(world.credentials).drop(Key("cluster1/one"))
    await anyio.sleep(await _look(reconciler))
    StoreWriter(world.credentials).put(world.hidden)  # the scripted hub patches what its copy shows
    await _look(reconciler)
    assert world.observed == [("repaired", "MarksLost", False)]
    assert world.writes == ["patch secret"]


@pytest.mark.parametrize(
    "marks",
    [
        pytest.param(lambda _stored: Marks(), id="no annotation"),
        pytest.param(lambda stored: evolve(stored.marks, requested=""), id="times annotated"),
    ],
)
async def test_what_the_go_addon_wrote_is_adopted_with_one_patch_and_no_token(
    world: World, reconciler: TokenReconciler, marks: Callable[[Credential], Marks]
) -> None:
    _alter(world, marks=marks(_stored(world)))
    for _ in range(3):
        await _look(reconciler)
    assert world.writes.count("patch secret") == 1
    assert "token" not in world.writes
    assert world.observed == [("adopted", "Adopted", False)]


@pytest.mark.parametrize(
    ("changes", "done"),
    [
        pytest.param({"token": None, "keys": frozenset()}, ("issued", "TokenMissing", False), id="empty"),
        pytest.param(
            {"token": None, "keys": frozenset(("a",))}, ("issued", "TokenMissing", False), id="others"
        ),
        pytest.param({"token": GARBAGE}, ("issued", "TokenMalformed", False), id="no token of ours"),
        pytest.param({}, None, id="a good token"),
    ],
)
async def test_a_secret_whose_label_asks_for_its_adoption_is_adopted_without_a_warning(
    world: World, reconciler: TokenReconciler, changes: dict[str, Any], done: tuple[str, str, bool] | None
) -> None:
    _alter(world, owners=(), marks=Marks(), **changes)
    for _ in range(3):
        await anyio.sleep(min(6, await _look(reconciler)))
    assert world.observed == [*([done] if done is not None else []), ("adopted", "Adopted", False)]


async def test_a_secret_that_is_handed_over_again_and_again_is_adopted_less_and_less_often(
    world: World, reconciler: TokenReconciler
) -> None:
    for _ in range(20):
        _alter(world, owners=(), marks=Marks(), token=None)
        await _look(reconciler)
    assert world.writes.count("token") == 3
    assert ("failed", "SecretContested", False) in world.observed


async def test_a_token_that_the_agent_took_away_itself_is_issued_anew_without_a_warning(
    world: World, reconciler: TokenReconciler
) -> None:
    """Its account was another program's for a while, and its user has seen to that."""
    _mark_account(world, {"meta.helm.sh/release-name": "x"})
    await _look(reconciler)
    _mark_account(world, None)
    world.observed.clear()
    for _ in range(3):
        await _look(reconciler)
    assert world.observed == [("issued", "TokenMissing", False)]


async def test_a_switch_to_the_go_addon_and_back_moves_the_refresh_time_forwards_only(
    world: World, reconciler: TokenReconciler
) -> None:
    """The Go addon issued a token anew and left our annotations as they were."""
    await anyio.sleep(3600)
    old = _stored(world)
    assert old.claims is not None
    assert old.token is not None
    later = evolve(
        old.claims,
        issued_at=old.claims.issued_at + builders.HOUR,
        expires_at=old.claims.expires_at + builders.HOUR,
    )
    _alter(world, token=evolve(old.token, claims=later))
    for _ in range(3):
        await _look(reconciler)
    assert (world.writes.count("patch secret"), world.writes.count("token")) == (1, 0)
    assert {what for what, _, _ in world.observed} == {"adopted"}
    assert _refreshed(world) == later.issued_at


def _refreshed(world: World) -> datetime:
    identity = world.identities.get("cluster1/one")
    assert identity is not None
    assert identity.status.token_secret_ref is not None
    refreshed = identity.status.token_secret_ref.last_refresh_timestamp
    assert refreshed is not None
    return refreshed


@pytest.mark.parametrize(("asked", "longest"), [(3600.0, 60.0), (float("inf"), 60.0), (20.0, 21.0)])
async def test_a_token_request_that_is_to_wait_for_ever_is_repeated_within_a_minute(
    now: Callable[[], datetime], asked: float, longest: float
) -> None:
    class Busy(World):
        async def request_token(self, account: object, request: object) -> Any:
            raise Throttled("busy", retry_after=asked)

    busy = Busy(now)
    StoreWriter(busy.identities).put(builders.identity())
    assert await _look(reconciler_of(busy)) <= longest
