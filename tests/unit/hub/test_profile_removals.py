"""Copies of credentials whose reason to be is only missing: they wait, the hub is asked once more, and most of them at once are held."""

from collections.abc import Callable, Sequence

import anyio
import pytest

from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.api.durations import rfc3339
from msa.runtime.errors import Network
from msa.runtime.result import Key, RequeueAfter
from tests.support.fanout_hub import binding, cluster_set
from tests.support.fleet import cluster, with_
from tests.support.profiles import identity, profile, source
from tests.support.scripted_profiles import Hub, caches, wall_clock

FEW = ("a1", "a2", "a3", "a4")
MANY = (*FEW, "a5", "a6")
GLOBAL = with_(cluster_set("global"), spec=caches().groups.sets.values()[0].spec)


async def _copied(*names_: str) -> Hub:
    """A hub where each of these identities of one cluster has its copy."""
    hub = Hub()
    hub.sync()
    hub.put(cluster(), profile(), *(identity(name) for name in names_))
    hub.put(*(source(identity(name), uid=name) for name in names_))
    await _look(hub, *names_)
    await anyio.sleep(1)
    await _look(hub, *names_)
    assert _copies(hub) == sorted(names_)
    hub.told.clear()
    hub.requests.clear()
    return hub


async def _look(hub: Hub, *names_: str) -> None:
    for name in names_:
        await hub.reconcile(Key(f"c1/{name}"))


def _copies(hub: Hub) -> list[str]:
    return sorted(place.removeprefix("argo/c1-") for place in hub.secrets if place.startswith("argo/"))


async def _until_gone(hub: Hub, names_: Sequence[str], most: float = 3600) -> float:
    """Looks only as it asks itself to be called; seconds until no copy is left."""
    start, due = anyio.current_time(), dict.fromkeys(names_, anyio.current_time())
    while _copies(hub) and due and anyio.current_time() - start < most:
        name = min(due, key=lambda each: due[each])
        await anyio.sleep(max(0.0, due[name] - anyio.current_time()))
        result = await hub.reconcile(Key(f"c1/{name}"))
        if isinstance(result, RequeueAfter):
            due[name] = anyio.current_time() + result.seconds
        else:
            del due[name]
    return anyio.current_time() - start


LOSSES: list[Callable[[Hub], None]] = [
    lambda hub: hub.lose(binding("global", "argo")),
    lambda hub: hub.lose(GLOBAL),
    lambda hub: hub.lose(*hub.caches.identities.values()),
]
WHAT = ["binding", "set", "identities"]


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_a_few_wait_for_a_minute(lose: Callable[[Hub], None]) -> None:
    hub = await _copied(*FEW)
    lose(hub)
    assert await _until_gone(hub, FEW) == pytest.approx(60, abs=2)
    assert not [item for item in hub.told if item[0] == "held"]


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_most_copies_at_once_are_held_for_fifteen_minutes_and_each_profile_says_so(
    lose: Callable[[Hub], None],
) -> None:
    hub = await _copied(*MANY)
    lose(hub)
    await _look(hub, *MANY)
    await _look(hub, *MANY)
    assert hub.holding_now == {"copy": 6}
    assert set(hub.told) >= {("held", "argo", "c1")}
    assert sum(item[0] == "held" for item in hub.told) == 6, "one for each identity"
    assert await _until_gone(hub, MANY) == pytest.approx(900, abs=2)
    await _look(hub, *MANY)
    assert hub.holding_now == {"copy": 0}


@pytest.mark.parametrize("lose", LOSSES, ids=WHAT)
async def test_nothing_goes_when_the_hub_asked_once_more_says_otherwise(lose: Callable[[Hub], None]) -> None:
    hub = await _copied(*FEW)
    whole = await _copied(*FEW)
    hub.real = whole.caches
    lose(hub)
    await _until_gone(hub, FEW)
    assert _copies(hub) == sorted(FEW)
    assert not [request for request in hub.requests if request.startswith("delete")]


SIGHTS: list[Callable[[Hub], None]] = [
    lambda hub: hub.take(binding("global", "argo")),
    lambda hub: hub.take(GLOBAL),
    lambda hub: hub.put(with_(cluster_set("global"))),
    lambda hub: hub.take(*hub.caches.identities.values()),
    lambda hub: hub.put(*(with_(item, labels=None) for item in hub.caches.identities.values())),
    lambda hub: hub.take(cluster()),
    lambda hub: hub.put(cluster("argo")),
]


@pytest.mark.parametrize(
    "see", SIGHTS, ids=["binding", "set", "selector", "identities", "labels", "cluster", "foreign"]
)
async def test_what_was_seen_to_happen_acts_at_once_however_many_they_are(see: Callable[[Hub], None]) -> None:
    hub = await _copied(*MANY)
    await anyio.sleep(1)
    see(hub)
    await anyio.sleep(1)
    await _look(hub, *MANY)
    assert _copies(hub) == []


@pytest.mark.parametrize(
    "lose",
    [lambda hub: hub.lose(cluster()), lambda hub: hub.lose(profile()), lambda hub: hub.take(profile())],
    ids=["cluster", "profile", "deleted profile"],
)
async def test_a_copy_without_its_cluster_or_profile_is_left_to_the_garbage_collector(
    lose: Callable[[Hub], None],
) -> None:
    hub = await _copied(*MANY)
    lose(hub)
    await _until_gone(hub, MANY)
    assert hub.requests == []
    assert hub.told == []


async def test_what_comes_back_meanwhile_is_as_if_nothing_had_been() -> None:
    hub = await _copied(*FEW)
    for _ in range(3):
        hub.lose(binding("global", "argo"))
        await _look(hub, *FEW)
        await anyio.sleep(59)
        hub.put(binding("global", "argo"))
        await _look(hub, *FEW)
    assert _copies(hub) == sorted(FEW)


async def test_while_the_hub_cannot_be_asked_nothing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = await _copied(*FEW)

    async def fails(_hub: Hub, _key: Key) -> bool:
        raise Network("reset")

    monkeypatch.setattr(Hub, "has", fails)
    hub.lose(*hub.caches.identities.values())
    await _look(hub, *FEW)
    await anyio.sleep(61)
    with pytest.raises(Network):
        await hub.reconcile(Key("c1/a1"))
    assert _copies(hub) == sorted(FEW)


async def test_an_annotation_on_the_profile_releases_what_was_held_when_it_was_written() -> None:
    hub = await _copied(*MANY)
    hub.lose(binding("global", "argo"))
    await _look(hub, *MANY)
    await anyio.sleep(120)
    await _look(hub, *MANY)
    assert _copies(hub) == sorted(MANY)
    hub.put(with_(profile(), annotations={names.ANNOTATION_RELEASE: rfc3339(wall_clock())}))
    await _look(hub, *MANY)
    assert _copies(hub) == []
    assert hub.holding_now == {"copy": 0}


async def test_an_annotation_releases_nothing_that_happened_after_it() -> None:
    hub = await _copied(*MANY)
    hub.put(with_(profile(), annotations={names.ANNOTATION_RELEASE: rfc3339(wall_clock())}))
    await anyio.sleep(10)
    hub.lose(binding("global", "argo"))
    assert await _until_gone(hub, MANY) == pytest.approx(900, abs=2)


async def test_small_losses_one_after_the_other_are_a_large_one() -> None:
    hub = await _copied(*MANY)
    hub.lose(*(identity(name) for name in MANY[:3]))
    await _look(hub, *MANY[:3])
    await anyio.sleep(61)
    await _look(hub, *MANY[:3])
    assert _copies(hub) == list(MANY[3:])
    hub.lose(*(identity(name) for name in MANY[3:]))
    assert await _until_gone(hub, MANY[3:]) == pytest.approx(900, abs=2)


async def test_a_manager_that_starts_with_a_partial_list_waits_and_one_that_saw_the_reason_before_does_not_know_it() -> (
    None
):
    hub = await _copied(*FEW)
    hub.take(binding("global", "argo"))
    hub.causes = Hub().causes
    hub.restart()
    assert await _until_gone(hub, FEW) == pytest.approx(60, abs=2)


async def test_on_a_hub_that_was_replaced_or_restored_even_a_few_are_held() -> None:
    hub = await _copied(*FEW)
    hub.replaced = True
    hub.lose(binding("global", "argo"))
    assert await _until_gone(hub, FEW) == pytest.approx(900, abs=2)
    assert ("held", "argo", "c1") in hub.told


async def test_a_cluster_that_left_the_set_while_a_binding_was_missing_is_seen() -> None:
    hub = await _copied(*FEW)
    hub.lose(binding("global", "argo"))
    await _look(hub, *FEW)
    await anyio.sleep(1)
    hub.put(with_(cluster(), spec=ManagedCluster(cluster().metadata).spec))
    await _look(hub, *FEW)
    assert _copies(hub) == []
