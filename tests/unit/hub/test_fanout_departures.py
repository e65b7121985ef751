"""Children whose reason to be is only missing: they wait, the hub is asked once more, and most of them at once are held."""

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import pytest

from msa.api import names
from msa.api.durations import rfc3339
from msa.hub.fanout import FanOutReconciler
from msa.runtime.errors import Forbidden, Network
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import StoreWriter
from tests.support.fanout_hub import (
    ORIGIN,
    FanOutHub,
    binding,
    cluster,
    cluster_set,
    decision,
    reconciler_of,
    settle,
)

FEW = ("c1", "c2", "c3", "c4")
MANY = (*FEW, "c5", "c6")
UNBOUNDED = {"rollout": {"maxConcurrent": "100%"}}


@pytest.fixture
async def hub(now: Callable[[], datetime]) -> FanOutHub:
    hub = FanOutHub(now)
    hub.synced()
    hub.put(cluster_set(), binding())
    hub.apply(ORIGIN, spec=UNBOUNDED)
    return hub


async def _fanned_out(hub: FanOutHub, *clusters: str) -> FanOutReconciler:
    hub.put(*(cluster(name) for name in clusters))
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    await anyio.sleep(1)
    await settle(hub, reconcile)
    assert hub.children() == sorted(clusters)
    return reconcile


async def _until_gone(
    hub: FanOutHub, reconcile: FanOutReconciler, key: Key = ORIGIN, most: float = 3600
) -> float:
    """Looks only as it asks itself to be called; seconds until no child is left."""
    start = anyio.current_time()
    while hub.children() and anyio.current_time() - start < most:
        result = await settle(hub, reconcile, key)
        if hub.children():
            assert isinstance(result, RequeueAfter)
            await anyio.sleep(max(result.seconds, 0.001))
    return anyio.current_time() - start


LOSSES: list[Callable[[FanOutHub], None]] = [
    lambda hub: hub.lose(binding()),
    lambda hub: hub.lose(cluster_set()),
    lambda hub: hub.lose(*(cluster(name) for name in MANY)),
]
SIGHTS: list[Callable[[FanOutHub], None]] = [
    lambda hub: hub.take(binding()),
    lambda hub: hub.take(cluster_set()),
    lambda hub: hub.take(*(cluster(name) for name in MANY)),
    lambda hub: hub.put(*(cluster(name, "other") for name in MANY)),
]
WHAT = ["binding", "set", "clusters"]


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_most_children_at_once_are_held_for_fifteen_minutes_and_told_once(
    hub: FanOutHub, lose: Callable[[FanOutHub], None]
) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    lose(hub)
    hub.observed.clear()
    assert await _until_gone(hub, reconcile) == pytest.approx(900, abs=2)
    assert [item for item in hub.observed if item[0] in ("held", "holding")] == [
        ("holding", "6"),
        ("held", "robot", "6"),
        ("holding", "0"),
    ]


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_a_few_wait_for_a_minute(hub: FanOutHub, lose: Callable[[FanOutHub], None]) -> None:
    reconcile = await _fanned_out(hub, *FEW)
    lose(hub)
    assert await _until_gone(hub, reconcile) == pytest.approx(60, abs=2)
    assert not [item for item in hub.observed if item[0] == "held"]


@pytest.mark.parametrize("see", SIGHTS, ids=[*WHAT, "labels"])
async def test_what_was_seen_to_happen_acts_at_once_however_many_they_are(
    hub: FanOutHub, see: Callable[[FanOutHub], None]
) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    await anyio.sleep(1)
    see(hub)
    await anyio.sleep(1)
    await settle(hub, reconcile)
    assert hub.children() == []


async def test_a_heartbeat_or_another_label_of_a_cluster_explains_nothing(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(binding())
    for _ in range(10):
        await settle(hub, reconcile)
        await anyio.sleep(60)
        hub.put(*(cluster(name, health="good") for name in MANY))
        hub.put(decision("some", "c1"))
    assert hub.children() == sorted(MANY)


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_a_manager_that_starts_with_a_partial_list_deletes_nothing_when_the_hub_says_otherwise(
    hub: FanOutHub, lose: Callable[[FanOutHub], None]
) -> None:
    await _fanned_out(hub, *FEW)
    whole = FanOutHub(hub.now)
    whole.synced()
    whole.put(cluster_set(), binding(), *(cluster(name) for name in FEW))
    hub.real = whole.caches
    lose(hub)
    reconcile = reconciler_of(hub)
    for _ in range(30):
        await settle(hub, reconcile)
        await anyio.sleep(60)
    assert hub.children() == sorted(FEW)


async def test_while_the_hub_cannot_be_asked_nothing_is_deleted(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *FEW)
    hub.real = FanOutHub(hub.now).caches
    hub.lose(binding())
    await settle(hub, reconcile)
    await anyio.sleep(61)
    assert isinstance(await reconcile(ORIGIN), RequeueAfter)
    assert hub.children() == sorted(FEW)


async def test_what_comes_back_meanwhile_is_as_if_nothing_had_been(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(binding())
    await settle(hub, reconcile)
    await anyio.sleep(59)
    hub.put(binding())
    await settle(hub, reconcile)
    hub.lose(binding())
    await anyio.sleep(59)
    await settle(hub, reconcile)
    assert hub.children() == sorted(MANY)


async def test_an_annotation_on_the_origin_releases_what_was_held_when_it_was_written(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(binding())
    await settle(hub, reconcile)
    await anyio.sleep(120)
    await settle(hub, reconcile)
    assert hub.children() == sorted(MANY)
    hub.apply(ORIGIN, metadata={"annotations": {names.ANNOTATION_RELEASE: rfc3339(hub.now())}})
    await settle(hub, reconcile)
    assert hub.children() == []


@pytest.mark.parametrize("at", [timedelta(days=-1), timedelta(days=9000)], ids=["before", "to come"])
async def test_an_annotation_releases_nothing_that_happened_after_it(hub: FanOutHub, at: timedelta) -> None:
    hub.apply(ORIGIN, metadata={"annotations": {names.ANNOTATION_RELEASE: rfc3339(hub.now() + at)}})
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(binding())
    assert await _until_gone(hub, reconcile) == pytest.approx(900, abs=2)


async def test_many_origins_of_few_children_each_are_a_mass_too(hub: FanOutHub) -> None:
    keys = [ORIGIN, *(Key(f"team/r{number}") for number in range(5))]
    for key in keys[1:]:
        hub.apply(key, spec=UNBOUNDED)
    hub.put(cluster("c1"))
    reconcile = reconciler_of(hub)
    for key in keys:
        await settle(hub, reconcile, key)
    await anyio.sleep(1)
    hub.lose(binding())
    for seconds in (61.0, 60.0):
        for key in keys:
            await settle(hub, reconcile, key)
        await anyio.sleep(seconds)
    assert hub.caches.child_count() == 6


async def test_small_losses_one_after_the_other_are_a_large_one(hub: FanOutHub) -> None:
    """Three of six clusters, then three more: each loss alone would be acted on within a minute."""
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(*(cluster(name) for name in MANY[:3]))
    for _ in range(2):
        await settle(hub, reconcile)
        await anyio.sleep(61)
    await settle(hub, reconcile)
    assert hub.children() == list(MANY[3:])
    assert not [item for item in hub.observed if item[0] == "held"]
    hub.lose(*(cluster(name) for name in MANY[3:]))
    assert await _until_gone(hub, reconcile) == pytest.approx(900, abs=2)
    assert ("held", "robot", "3") in hub.observed


async def test_on_a_hub_that_was_replaced_or_restored_even_a_few_are_held(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *FEW)
    hub.replaced = True
    hub.lose(binding())
    assert await _until_gone(hub, reconcile) == pytest.approx(900, abs=2)
    assert ("held", "robot", "4") in hub.observed


async def test_after_a_while_earlier_losses_count_no_more(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    hub.lose(*(cluster(name) for name in MANY[:3]))
    for seconds in (61, 901):
        await settle(hub, reconcile)
        await anyio.sleep(seconds)
    hub.lose(*(cluster(name) for name in MANY[3:]))
    assert await _until_gone(hub, reconcile) == pytest.approx(60, abs=2)


async def test_children_whose_origins_are_missing_after_a_restart_are_held_too(hub: FanOutHub) -> None:
    await _fanned_out(hub, *MANY)
    hub.real = hub.caches
    StoreWriter(hub.caches.identities).drop(ORIGIN)
    reconcile = reconciler_of(hub)
    assert await reconcile(ORIGIN) == RequeueAfter(600.0)
    await anyio.sleep(600)
    assert await reconcile(ORIGIN) == RequeueAfter(300.0)
    assert ("holding", "6") in hub.observed
    await anyio.sleep(300)
    assert await reconcile(ORIGIN) == RequeueAfter(60.0), "the hub still has the origin"
    del hub.stored[ORIGIN]
    await settle(hub, reconcile)
    assert hub.children() == []


async def test_a_deletion_that_was_seen_says_nothing_of_an_origin_of_that_name_that_came_later(
    hub: FanOutHub,
) -> None:
    hub.apply(ORIGIN, metadata={"finalizers": []})
    hub.remove(ORIGIN)
    hub.apply(ORIGIN, spec=UNBOUNDED)
    reconcile = await _fanned_out(hub, *MANY)
    StoreWriter(hub.caches.identities).drop(ORIGIN)
    await anyio.sleep(1)
    assert await reconcile(ORIGIN) == RequeueAfter(600.0)
    await anyio.sleep(600)
    await reconcile(ORIGIN)
    await anyio.sleep(300)
    await reconcile(ORIGIN)
    assert hub.children() == sorted(MANY), "the hub still has the origin"


async def test_one_child_that_cannot_be_deleted_does_not_keep_the_others(hub: FanOutHub) -> None:
    reconcile = await _fanned_out(hub, *MANY)
    hub.refuses["c2"] = Forbidden("a webhook says no")
    hub.take(binding())
    await anyio.sleep(1)
    with pytest.raises(Forbidden):
        await reconcile(ORIGIN)
    assert hub.children() == ["c2"]
    hub.refuses["c2"] = Network("gone")
    with pytest.raises(Network):
        await reconcile(ORIGIN)


async def test_children_that_lost_the_label_of_the_namespace_go_with_an_origin_that_was_removed_by_force(
    hub: FanOutHub,
) -> None:
    reconcile = await _fanned_out(hub, "c1", "c2")
    hub.apply(ORIGIN, metadata={"finalizers": []})
    hub.apply("c1/robot", metadata={"labels": {names.LABEL_ORIGIN_NAMESPACE: None}})
    hub.remove(ORIGIN)
    assert await reconcile(ORIGIN) == RequeueAfter(600.0)
    await anyio.sleep(600)
    await settle(hub, reconcile)
    assert not [key for key in hub.stored if key.endswith("/robot")]
    assert await reconcile(ORIGIN) == Done()


async def test_a_cluster_that_cannot_read_its_own_child_is_told_after_a_minute(hub: FanOutHub) -> None:
    """It is there, and in no cache: it can neither be changed nor created."""
    hub.put(cluster("c1"), cluster("c2"))
    hub.stored[Key("c1/robot")] = {
        "metadata": {"name": "robot", "namespace": "c1", "uid": "u", "generation": 1}
    }
    reconcile = reconciler_of(hub)
    start = anyio.current_time()
    while anyio.current_time() - start < 400:
        result: Result = await settle(hub, reconcile)
        assert isinstance(result, RequeueAfter)
        await anyio.sleep(max(result.seconds, 0.01))
    told = hub.get(ORIGIN).status.fan_out
    assert told is not None
    assert [(item.cluster, item.reason) for item in told.failing] == [("c1", "AlreadyExists")]
    assert hub.children() == ["c2"]


async def test_what_an_agent_reported_is_not_touched_while_its_cluster_is_missing_from_a_list(
    hub: FanOutHub,
) -> None:
    hub.put(cluster("c9"))
    hub.apply("c9/robot")
    hub.report("c9", tokenSecretRef={"name": "robot"})
    hub.lose(cluster("c9"))
    assert await reconciler_of(hub)(Key("c9/robot")) == Done()
    assert hub.writes == []
