"""The manager corrects what `Ready` says where the agent cannot, with one write for each change."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random

import anyio
import pytest
from attrs import define, field
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.addon import AddonStatus, ManagedClusterAddOn
from msa.api.durations import rfc3339
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.hub.readiness import ReadinessReconciler
from msa.hub.readiness_triggers import Triggers
from msa.runtime.backoff import Backoff
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Change, Store, StoreWriter
from tests.support.fanout_hub import FanOutHub

KEY = Key("c1/robot")


class Hub(FanOutHub):
    """With one identity whose token is good for an hour, and an agent that works."""

    addons: Store[ManagedClusterAddOn]
    told: list[tuple[str, str]]

    def begin(self) -> "Hub":
        self.addons, self.told = Store(), []
        self.apply(KEY)
        self.report("c1", "True", "TokenFresh", expirationTimestamp=rfc3339(self.now() + timedelta(hours=1)))
        self.available("True")
        return self

    def available(self, said: str, since: datetime | None = None, **metadata: object) -> ManagedClusterAddOn:
        self.version += 1
        meta = ObjectMeta(
            name=names.ADDON, namespace="c1", uid="addon-uid", resource_version=str(self.version)
        )
        status = AddonStatus(conditions=(Condition("Available", said, last_transition_time=since),))
        addon = ManagedClusterAddOn(replace(meta, **metadata), status=status)
        StoreWriter(self.addons).put(addon)
        return addon

    def no_addon(self) -> None:
        StoreWriter(self.addons).drop(Key(f"c1/{names.ADDON}"))

    def changed(self, identity: FleetIdentity, ready: Condition) -> None:
        assert identity.metadata.name == "robot"
        self.told.append((ready.status, ready.reason))

    def ready(self) -> tuple[str, str]:
        found = next(item for item in self.get(KEY).status.conditions if item.type == "Ready")
        return found.status, found.reason

    async def reconcile(self) -> Result:
        judge = ReadinessReconciler(
            self.caches.identities, self.addons, self, Freshness(), self, now=self.now
        )
        return await judge(KEY)


@pytest.fixture
async def hub(now: Callable[[], datetime]) -> Hub:
    return Hub(now).begin()


async def test_a_good_token_of_an_agent_that_works_is_left_alone_until_it_expires(hub: Hub) -> None:
    assert await hub.reconcile() == RequeueAfter(3600)
    assert (hub.writes, hub.told) == ([], [])


async def test_a_silent_agent_makes_ready_unknown_and_its_return_gives_it_back(hub: Hub) -> None:
    hub.available("False")
    await hub.reconcile()
    assert hub.ready() == ("Unknown", "AgentUnavailable")
    await hub.reconcile()
    assert len(hub.writes) == 1
    hub.available("True")
    await hub.reconcile()
    assert hub.ready() == ("True", "TokenFresh")
    assert hub.told == [("Unknown", "AgentUnavailable"), ("True", "TokenFresh")]
    assert len(hub.writes) == 2


async def test_a_token_that_nobody_renews_is_called_expired_when_it_expires(hub: Hub) -> None:
    hub.available("Unknown")
    result = await hub.reconcile()
    assert isinstance(result, RequeueAfter)
    await anyio.sleep(result.seconds)
    assert await hub.reconcile() == Done()
    assert hub.ready() == ("False", "TokenExpired")


async def test_a_removed_addon_is_told_and_what_it_kept_is_kept(hub: Hub) -> None:
    hub.no_addon()
    await hub.reconcile()
    assert hub.ready() == ("False", "AddonRemoved")
    reported = next(item for item in hub.get(KEY).status.conditions if item.type == "TokenReported")
    assert reported.status == "True"


async def test_after_a_new_installation_an_old_token_is_not_called_fresh_and_the_new_one_is_at_once(
    hub: Hub, now: Callable[[], datetime]
) -> None:
    """The old one ended with its ServiceAccount."""
    old, new = (
        {"name": "robot", "lastRefreshTimestamp": rfc3339(now() + timedelta(minutes=m))} for m in (-60, 2)
    )
    hub.report("c1", tokenSecretRef=old, expirationTimestamp=rfc3339(now() + timedelta(hours=1)))
    hub.no_addon()
    await hub.reconcile()
    hub.available("True", since=now(), creation_timestamp=now())
    assert await hub.reconcile() == RequeueAfter(60), (
        "for the agent may find nothing to replace: a hub that was restored"
    )
    assert hub.ready() == ("False", "AddonRemoved")
    conditions = hub.stored[KEY]["status"]["conditions"]
    hub.apply(KEY, status={**hub.stored[KEY]["status"], "conditions": conditions, "tokenSecretRef": new})
    await hub.reconcile()
    assert hub.ready() == ("True", "TokenFresh")
    assert hub.told == [("False", "AddonRemoved"), ("True", "TokenFresh")]


async def test_one_that_no_agent_has_answered_for_is_not_written(hub: Hub) -> None:
    hub.apply(KEY, status={"conditions": []})
    hub.no_addon()
    await hub.reconcile()
    assert hub.writes == []


async def test_one_that_is_gone_or_on_its_way_out_is_not_written(hub: Hub) -> None:
    hub.no_addon()
    hub.apply(KEY, metadata={"finalizers": ["x"], "deletionTimestamp": rfc3339(hub.now())})
    assert await hub.reconcile() == Done()
    hub._forget(KEY)
    assert await hub.reconcile() == Done()
    assert hub.writes == []


async def test_an_addons_change_wakes_its_clusters_identities_only_where_the_answer_depends_on_it(
    hub: Hub,
) -> None:
    hub.apply("c2/robot")
    queue = WorkQueue("readiness", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers = Triggers(hub.caches.identities, queue)
    before, after = hub.available("True"), hub.available("True")
    key = Key(f"c1/{names.ADDON}")
    triggers.addon(Change(key, before, after))
    assert sum(queue.statistics().ready.values()) == 0
    triggers.addon(Change(key, after, hub.available("False")))
    assert await queue.get() == KEY
    assert sum(queue.statistics().ready.values()) == 0


async def test_a_new_identity_of_which_nobody_has_said_anything_is_not_looked_at(hub: Hub) -> None:
    queue = WorkQueue("readiness", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers = Triggers(hub.caches.identities, queue)
    said = hub.get(KEY)
    new = replace(said, status=FanOutStatus())
    for initial in (True, False):
        triggers.identity(Change(KEY, None, new, initial=initial))
    triggers.identity(Change(KEY, said, None))
    assert sum(queue.statistics().ready.values()) == 0
    triggers.identity(Change(KEY, new, said))
    assert await queue.get() == KEY


async def test_conditions_of_others_stay_word_for_word_and_usual_ones_cost_no_read(hub: Hub) -> None:
    hub.available("False")
    await hub.reconcile()
    assert hub.reads == []
    others = [{"type": f"T{number}", "status": "True", "message": "m\n" * 1500} for number in range(40)]
    hub.apply(KEY, status={"conditions": [*hub.stored[KEY]["status"]["conditions"], *others]})
    hub.available("True")
    await hub.reconcile()
    stored = {item["type"]: item["message"] for item in hub.stored[KEY]["status"]["conditions"]}
    assert [stored.get(item["type"]) for item in others] == [item["message"] for item in others]
    assert hub.ready() == ("True", "TokenFresh")
    assert (len(hub.writes), len(hub.reads)) == (2, 1)


async def test_an_identity_whose_status_changes_all_the_time_is_looked_at_twice_a_second(hub: Hub) -> None:
    queue = WorkQueue("readiness", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers, looks = Triggers(hub.caches.identities, queue), 0

    async def look() -> None:
        nonlocal looks
        while True:
            queue.done(await queue.get())
            looks += 1

    async with anyio.create_task_group() as group:
        group.start_soon(queue.run)
        group.start_soon(look)
        for number in range(1000):
            before = hub.get(KEY)
            hub.report("c1", "True", f"R{number}")
            triggers.identity(Change(KEY, before, hub.get(KEY)))
            await anyio.sleep(0.01)
        await anyio.sleep(1)
        group.cancel_scope.cancel()
    assert 20 <= looks <= 50


@pytest.fixture
def crowded(hub: Hub) -> Hub:
    """With 1000 identities of cluster c2 as well."""
    for number in range(1000):
        metadata = replace(hub.get(KEY).metadata, namespace="c2", name=f"id-{number}", uid=f"uid-{number}")
        StoreWriter(hub.caches.identities).put(replace(hub.get(KEY), metadata=metadata))
    return hub


@define
class Looks:
    """Two workers that take ten milliseconds for each key; keys and times."""

    queue: WorkQueue
    seen: list[tuple[Key, float]] = field(factory=list)

    async def work(self) -> None:
        while True:
            key = await self.queue.get()
            self.seen.append((key, anyio.current_time()))
            await anyio.sleep(0.01)
            self.queue.done(key)

    def of(self, cluster: str) -> list[float]:
        return [moment for key, moment in self.seen if key.startswith(f"{cluster}/")]


@asynccontextmanager
async def _at_work() -> AsyncIterator[Looks]:
    queue = WorkQueue("readiness", Backoff(Random(1)), Metrics(CollectorRegistry()))
    looks = Looks(queue)
    async with anyio.create_task_group() as group:
        for task in (queue.run, looks.work, looks.work):
            group.start_soon(task)
        yield looks
        group.cancel_scope.cancel()


def _flip(hub: Hub, triggers: Triggers, said: str) -> None:
    """The registration agent of c2 writes that its agent is, or is not, available."""
    before, after = (
        replace(found, metadata=replace(found.metadata, namespace="c2"))
        for found in (hub.available("True" if said == "False" else "False"), hub.available(said))
    )
    triggers.addon(Change(Key(f"c2/{names.ADDON}"), before, after))


async def test_a_cluster_with_thousands_of_identities_that_says_this_and_that_waits_for_itself_alone(
    crowded: Hub,
) -> None:
    async with _at_work() as looks:
        triggers = Triggers(crowded.caches.identities, looks.queue)
        for number in range(60):
            _flip(crowded, triggers, "True" if number % 2 else "False")
            if number % 10 == 9:
                before = crowded.get(KEY)
                crowded.report("c1", "True", f"R{number}")
                asked = anyio.current_time()
                triggers.identity(Change(KEY, before, crowded.get(KEY)))
                await anyio.sleep(0.1)
                if number > 30:
                    assert min(looks.of("c1")[-1] - asked, 1) < 0.05, "behind 500 at most, once"
            await anyio.sleep(0.1)
    assert len(looks.of("c2")) <= 500 + 50 * 7, (
        "each identity was to be looked at sixty times, and two thirds could be"
    )


async def test_the_end_of_an_addon_is_judged_at_once_for_all_identities(crowded: Hub) -> None:
    async with _at_work() as looks:
        addon = crowded.available("True")
        elsewhere = replace(addon, metadata=replace(addon.metadata, namespace="c2"))
        gone = Change(Key(f"c2/{names.ADDON}"), elsewhere, None)
        Triggers(crowded.caches.identities, looks.queue).addon(gone)
        await anyio.sleep(1000 * 0.01 / 2 + 0.1)
    assert len(looks.of("c2")) == 1000
