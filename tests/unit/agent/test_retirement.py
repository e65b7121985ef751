"""What becomes of accounts whose identities are not there any more, on virtual time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from msa.agent.release import Release
from msa.api import names
from msa.api.core import ServiceAccount
from msa.api.meta import OwnerReference
from msa.runtime.result import Done, Key, RequeueAfter
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

NAMES = [f"id-{number}" for number in range(10)]


@pytest.fixture
def world(now: Callable[[], datetime]) -> World:
    """Ten identities with their accounts."""
    world = World(now)
    for name in NAMES:
        StoreWriter(world.identities).put(builders.identity(name, uid=name))
        StoreWriter(world.accounts).put(builders.account(name, uid=f"sa-{name}"))
    world.reconciler = reconciler_of(world)
    return world


def _miss(world: World, *missing: str) -> None:
    """They are not in a full list any more."""
    left = [item for item in world.identities.values() if item.metadata.name not in missing]
    for change in StoreWriter(world.identities).replace(left, "99"):
        world.reconciler.absences.changed(Key(change.latest.metadata.name), change)


def _restore(world: World, *names_: str) -> None:
    for name in names_:
        back = builders.identity(name, uid=name)
        world.version += 100
        change = StoreWriter(world.identities).put(
            replace(back, metadata=replace(back.metadata, resource_version=str(world.version)))
        )
        assert change is not None
        world.reconciler.absences.changed(Key(name), change)


async def _live(world: World, seconds: float, *keys: str) -> None:
    """Looks at each whenever it asked to be looked at."""
    end = anyio.current_time() + seconds
    due = {key: anyio.current_time() for key in keys}
    while due and min(due.values()) <= end:
        key = min(due, key=lambda name: due[name])
        await anyio.sleep(max(0.0, due[key] - anyio.current_time()))
        match await world.reconciler(Key(key)):
            case RequeueAfter(seconds=wait):
                due[key] = anyio.current_time() + wait
            case Done():
                del due[key]
    await anyio.sleep(max(0.0, end - anyio.current_time()))


def _deletions(world: World) -> int:
    return world.writes.count("delete account")


async def test_a_deletion_that_was_seen_is_carried_out_at_once_however_many_there_are(world: World) -> None:
    for name in NAMES:
        change = StoreWriter(world.identities).remove(builders.identity(name, uid=name))
        assert change is not None
        world.reconciler.absences.changed(Key(name), change)
        assert await world.reconciler(Key(name)) == Done()
    assert _deletions(world) == 10


async def test_so_is_that_of_an_identity_that_is_being_deleted(world: World) -> None:
    going = builders.identity(NAMES[0], uid=NAMES[0])
    metadata = replace(going.metadata, deletion_timestamp=world.now(), resource_version="20")
    StoreWriter(world.identities).put(replace(going, metadata=metadata))
    await world.reconciler(Key(NAMES[0]))
    assert _deletions(world) == 1


async def test_a_deletion_that_is_only_inferred_waits_a_minute_and_is_checked_on_the_hub(
    world: World,
) -> None:
    _miss(world, "id-0", "id-1")
    world.unreadable = {"id-1"}
    await _live(world, 59, "id-0", "id-1")
    assert _deletions(world) == 0
    await _live(world, 2, "id-0", "id-1")
    assert _deletions(world) == 1
    assert world.accounts.get(f"{builders.NAMESPACE}/id-1") is not None, "the hub has its identity"


async def test_when_most_are_missing_all_are_held_for_a_quarter_of_an_hour_and_it_is_told_once(
    world: World,
) -> None:
    _miss(world, *NAMES)
    await _live(world, 890, *NAMES)
    assert _deletions(world) == 0
    assert world.observed == [("held", "10 of 10", False)]
    assert len(world.reconciler.retirement.held) == 10
    await _live(world, 20, *NAMES)
    assert _deletions(world) == 10
    assert not world.reconciler.retirement.held


async def test_identities_that_come_back_during_the_hold_find_their_accounts(world: World) -> None:
    _miss(world, *NAMES)
    await _live(world, 300, *NAMES)
    _restore(world, *NAMES)
    for name in NAMES:
        await world.reconciler(Key(name))
    assert _deletions(world) == 0
    assert world.writes.count("account") == 0
    assert not world.reconciler.retirement.held


async def test_when_the_others_are_back_the_few_that_stay_away_are_not_held_any_longer(world: World) -> None:
    _miss(world, *NAMES)
    await _live(world, 100, *NAMES)
    _restore(world, *NAMES[2:])
    await _live(world, 1, *NAMES[:2])
    assert _deletions(world) == 2


async def test_a_person_releases_what_was_missing_when_he_said_so_and_nothing_that_is_missing_later(
    world: World,
) -> None:
    released: list[Key] = []
    release = Release(world, world.reconciler.retirement, world.now, released.append)
    async with anyio.create_task_group() as group:
        group.start_soon(release.run)
        _miss(world, *NAMES[:6])
        await _live(world, 100, *NAMES[:6])
        world.released = world.now() - timedelta(seconds=30)
        await anyio.sleep(11)
        assert set(released) == set(NAMES[:6])
        await _live(world, 1, *NAMES[:6])
        assert _deletions(world) == 6
        group.cancel_scope.cancel()


async def test_a_time_to_come_releases_nothing_that_has_not_happened_yet(world: World) -> None:
    released: list[Key] = []
    release = Release(world, world.reconciler.retirement, world.now, released.append)
    world.released = world.now() + timedelta(days=365)
    async with anyio.create_task_group() as group:
        group.start_soon(release.run)
        _miss(world, *NAMES)
        await _live(world, 800, *NAMES)
        group.cancel_scope.cancel()
    assert released == []
    assert _deletions(world) == 0


async def test_small_losses_one_after_the_other_are_a_large_one(world: World) -> None:
    """Four, then two more of the six that are left: more than half within a quarter of an hour."""
    _miss(world, *NAMES[:4])
    await _live(world, 61, *NAMES[:4])
    assert _deletions(world) == 4
    _miss(world, *NAMES[:6])
    await _live(world, 800, *NAMES[:6])
    assert _deletions(world) == 4
    assert world.observed == [("held", "6 of 10", False)]
    await _live(world, 101, *NAMES[4:6])
    assert _deletions(world) == 6


@pytest.mark.parametrize("rewound", [True, False])
async def test_of_a_hub_that_was_replaced_or_restored_even_one_absence_is_held(
    world: World, rewound: bool
) -> None:
    """Such a hub may be empty, and says so however often it is asked: a fresh read proves nothing."""
    if rewound:
        _miss(world)
        left = [item for item in world.identities.values() if item.metadata.name != "id-0"]
        for change in StoreWriter(world.identities).replace(left, "50"):
            world.reconciler.absences.changed(Key(change.latest.metadata.name), change)
    else:
        world.hub_replaced = True
        _miss(world, "id-0")
    await _live(world, 890, "id-0")
    assert _deletions(world) == 0
    assert world.observed == [("held", "1 of 10", False)]
    await _live(world, 20, "id-0")
    assert _deletions(world) == 1


async def test_what_a_person_released_does_not_count_against_what_is_missing_later(world: World) -> None:
    _miss(world, *NAMES[:6])
    await _live(world, 100, *NAMES[:6])
    world.reconciler.retirement.release(anyio.current_time())
    await _live(world, 1, *NAMES[:6])
    assert _deletions(world) == 6
    _miss(world, *NAMES[:7])
    await _live(world, 61, NAMES[6])
    assert _deletions(world) == 7


async def test_an_account_that_the_cache_still_shows_after_its_deletion_counts_once(world: World) -> None:
    _miss(world, "id-0")
    await _live(world, 61, "id-0")
    shown = builders.account("id-0", uid="sa-id-0").metadata
    StoreWriter(world.accounts).put(ServiceAccount(replace(shown, resource_version="90")))
    assert await world.reconciler(Key("id-0")) == Done()
    assert world.reconciler.absences.inferred == 0
    assert _deletions(world) == 1


@pytest.mark.parametrize("seen", [True, False])
async def test_an_account_that_lost_its_label_goes_with_its_identity_all_the_same(
    world: World, seen: bool
) -> None:
    bare = builders.account("id-0").metadata
    annotations = {names.ANNOTATION_OWNER_UID: "id-0"}
    metadata = replace(bare, labels=None, annotations=annotations, resource_version="50")
    StoreWriter(world.accounts).put(ServiceAccount(metadata))
    if seen:
        change = StoreWriter(world.identities).remove(builders.identity("id-0", uid="id-0"))
        assert change is not None
        world.reconciler.absences.changed(Key("id-0"), change)
    else:
        _miss(world, "id-0")
    await _live(world, 61, "id-0")
    assert _deletions(world) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": None},
        {"owner_references": (OwnerReference("v1", "AppliedManifestWork", "w", "u"),)},
        {"labels": {**names.MANAGED_LABELS, "app.kubernetes.io/managed-by": "Helm"}},
        {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
    ],
)
async def test_an_account_that_is_not_ours_or_not_ours_alone_is_left_alone(
    world: World, changed: dict[str, Any]
) -> None:
    metadata = replace(builders.account("id-0").metadata, resource_version="50", **changed)
    StoreWriter(world.accounts).put(ServiceAccount(metadata))
    change = StoreWriter(world.identities).remove(builders.identity("id-0", uid="id-0"))
    assert change is not None
    world.reconciler.absences.changed(Key("id-0"), change)
    await _live(world, 1000, "id-0")
    assert _deletions(world) == 0
