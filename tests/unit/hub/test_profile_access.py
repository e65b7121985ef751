"""How clusters are reached, published in ClusterProfiles: when it is written, and when it is taken away."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
from attrs import define, evolve, field

from msa.api.cluster import ClusterSpec, ManagedCluster
from msa.api.clusterprofile import Access, ClusterProfile
from msa.hub.fanout_causes import Causes
from msa.hub.leaving import Leavers
from msa.hub.profile_access import AccessReconciler
from msa.hub.profile_departures import Departures
from msa.hub.profiles import PUBLISHED, ProfileCaches
from msa.policy.profiles import Provider
from msa.runtime.errors import ApiError, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Done, Key, RequeueAfter
from msa.runtime.store import Change, StoreWriter, key_of
from tests.support.fanout_hub import binding
from tests.support.fleet import with_
from tests.support.profiles import OURS, REACHED, WANTED, profile, shown
from tests.support.scripted_profiles import caches, groups, wall_clock


@define
class Publishing:
    """Of `ProfileHub`, `FreshHub` and `ProfileObserver` what the publishing needs."""

    error: ApiError | None = None
    bound: bool = False
    sent: list[Any] = field(factory=list)
    told: list[Any] = field(factory=list)
    held_now: dict[str, int] = field(factory=dict)

    async def publish(self, profile: ClusterProfile, providers: Sequence[Provider]) -> str:
        if self.error is not None:
            raise self.error
        self.sent.append((key_of(profile), list(providers)))
        return "70"

    def published(self, profile: str, *, withdrawn: bool) -> None:
        self.told.append((profile, withdrawn))

    async def may_use(self, _namespace: str, _cluster: str) -> bool:
        return self.bound

    def held(self, profile: ClusterProfile) -> None:
        self.told.append(("held", profile.metadata.name))

    def holding(self, kind: str, count: int) -> None:
        self.held_now[kind] = count


def _publisher(hub: Any, known: ProfileCaches, freshness: Freshness | None = None) -> AccessReconciler:
    profiles, causes = known.profiles, Causes(known.groups.sets, known.groups.bindings)
    leavers = Leavers(
        profiles, lambda: profiles.count(PUBLISHED, ""), partial(hub.holding, "access"), lambda: False
    )
    departures = Departures(leavers, hub, wall_clock)
    return AccessReconciler(known, hub, freshness or Freshness(), hub, causes, hub, departures)


async def _publish(
    hub: Any, *profiles: ClusterProfile, member: ManagedCluster = REACHED, bound: bool = True
) -> Freshness:
    known, freshness = evolve(caches(), groups=groups("argo") if bound else groups()), Freshness()
    for item in profiles:
        StoreWriter(known.profiles).put(item)
    StoreWriter(known.clusters).put(with_(member, resource_version="3"))
    assert await _publisher(hub, known, freshness)(Key("argo/c1")) == Done()
    return freshness


async def test_a_profile_is_told_how_to_reach_its_cluster_and_waits_until_the_cache_shows_it() -> None:
    hub = Publishing()
    freshness = await _publish(hub, shown(Access()))
    assert hub.sent == [("argo/c1", WANTED)]
    assert hub.told == [("argo/c1", False)]
    assert freshness.lag(Key("argo/c1"), 0.0) is not None


async def test_a_withdrawal_is_told_as_one() -> None:
    hub = Publishing()
    await _publish(hub, shown(OURS), member=with_(REACHED, spec=ClusterSpec(hub_accepts_client=False)))
    assert hub.sent == [("argo/c1", [])]
    assert hub.told == [("argo/c1", True)]


async def test_the_way_to_a_cluster_is_not_shown_where_no_set_with_it_is_bound() -> None:
    hub = Publishing()
    await _publish(hub, shown(Access()), bound=False)
    assert hub.sent == []


def _shown_with(known: ProfileCaches) -> Key:
    StoreWriter(known.profiles).put(shown(OURS))
    StoreWriter(known.clusters).put(with_(REACHED, resource_version="3"))
    return Key("argo/c1")


async def test_the_way_is_withdrawn_at_once_where_a_binding_was_seen_being_deleted() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups("argo"))
    key, publisher = _shown_with(known), _publisher(hub, known)
    assert await publisher(key) == Done()
    change = StoreWriter(known.groups.bindings).remove(binding("global", "argo"))
    assert change is not None
    publisher.causes.binding(change)
    assert await publisher(key) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_where_a_binding_is_only_missing_the_way_is_shown_until_the_hub_was_asked_once_more() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups())
    key, publisher = _shown_with(known), _publisher(hub, known)
    hub.bound = True
    for _ in range(3):
        assert await publisher(key) == RequeueAfter(60.0)
        await anyio.sleep(60)
    assert hub.sent == []
    hub.bound = False
    assert await publisher(key) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_while_a_cluster_is_only_missing_the_way_to_it_stays() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups("argo"))
    StoreWriter(known.profiles).put(shown(OURS))
    publisher = _publisher(hub, known)
    assert await publisher(Key("argo/c1")) == Done()
    assert hub.sent == []
    publisher.causes.cluster(Change(Key("c1"), REACHED, None))
    assert await publisher(Key("argo/c1")) == Done()
    assert hub.sent == [("argo/c1", [])]


async def test_most_ways_at_once_are_held() -> None:
    hub, known = Publishing(), evolve(caches(), groups=groups())
    names_ = [f"c{number}" for number in range(1, 7)]
    for name in names_:
        StoreWriter(known.profiles).put(evolve(profile("argo", name), access=OURS))
        StoreWriter(known.clusters).put(with_(REACHED, name=name, resource_version="3"))
    publisher = _publisher(hub, known)
    for seconds in (60, 830):
        for name in names_:
            assert isinstance(await publisher(Key(f"argo/{name}")), RequeueAfter)
        await anyio.sleep(seconds)
    assert (hub.sent, hub.held_now) == ([], {"access": 6})
    await anyio.sleep(11)
    for name in names_:
        await publisher(Key(f"argo/{name}"))
    assert len(hub.sent) == 6


async def test_what_is_published_or_gone_is_not_written() -> None:
    hub = Publishing()
    await _publish(hub, shown(OURS))
    await _publish(hub)
    assert hub.sent == []
    hub.error = NotFound("it went meanwhile")
    await _publish(hub, shown(Access()))
    assert hub.told == []
