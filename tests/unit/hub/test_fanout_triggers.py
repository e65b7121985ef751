"""What is looked at again when something changes on the hub, and how soon."""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.cluster import ClusterSpec
from msa.api.clusterset import ClusterSelector, ClusterSetSpec, LabelSelector, ManagedClusterSet, Requirement
from msa.api.meta import ObjectMeta
from msa.hub.fanout_triggers import Triggers
from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change
from tests.support.fanout_hub import ORIGIN, FanOutHub, binding, cluster, cluster_set, decision

OTHER = Key("others/robot")
CHILD = {names.LABEL_ORIGIN_NAMESPACE: "team", names.LABEL_ORIGIN_UID: "uid"}


class Woken:
    """Which keys come out of the queue within a time."""

    def __init__(self, hub: FanOutHub) -> None:
        self.queue = WorkQueue("fanout", Backoff(Random(1)), Metrics(CollectorRegistry()))
        self.triggers = Triggers(hub.caches, self.queue)

    async def within(self, seconds: float) -> set[str]:
        found: set[str] = set()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as group:
                group.start_soon(self.queue.run)
                while True:
                    key = await self.queue.get()
                    found.add(key)
                    self.queue.done(key)
        return found


@pytest.fixture
async def hub(now: Callable[[], datetime]) -> FanOutHub:
    """Two that are fanned out, one that waits for a binding, and a cluster with a child and a stranger."""
    hub = FanOutHub(now)
    hub.synced()
    hub.put(cluster("c1"))
    for key in (ORIGIN, OTHER):
        hub.apply(key, metadata={"finalizers": [names.FAN_OUT_FINALIZER]})
    hub.apply(
        "late/bot",
        status={"conditions": [{"type": "Ready", "status": "False", "reason": "NamespaceNotBound"}]},
    )
    hub.apply("c1/robot", metadata={"labels": CHILD})
    hub.apply("c1/plain")
    return hub


@pytest.fixture
async def woken(hub: FanOutHub) -> Woken:
    return Woken(hub)


def _change(hub: FanOutHub, key: str, **more: Any) -> Change[Any]:
    return Change(Key(key), hub.get(key), hub.get(key), **more)


async def test_one_outside_of_clusters_namespaces_is_looked_at_at_once(hub: FanOutHub, woken: Woken) -> None:
    woken.triggers.identity(_change(hub, "late/bot"))
    assert await woken.within(0.1) == {"late/bot"}


async def test_what_clusters_say_is_looked_at_together_within_a_second(hub: FanOutHub, woken: Woken) -> None:
    woken.triggers.identity(_change(hub, "c1/robot"))
    assert await woken.within(0.9) == set()
    assert await woken.within(0.2) == {ORIGIN, OTHER}  # the other one would have its place


async def test_one_that_nobody_fans_out_wakes_nobody(hub: FanOutHub, woken: Woken) -> None:
    woken.triggers.identity(_change(hub, "c1/plain"))
    assert await woken.within(5.0) == set()


async def test_a_child_whose_origin_is_gone_wakes_its_key(hub: FanOutHub, woken: Woken) -> None:
    hub.apply(ORIGIN, metadata={"finalizers": []})
    hub.remove(ORIGIN)
    woken.triggers.identity(_change(hub, "c1/robot"))
    assert ORIGIN in await woken.within(1.1)


async def test_a_child_that_lost_its_labels_wakes_its_origin(hub: FanOutHub, woken: Woken) -> None:
    before = hub.get("c1/robot")
    bare = replace(before, metadata=replace(before.metadata, labels=None))
    woken.triggers.identity(Change(Key("c1/robot"), before, bare))
    assert ORIGIN in await woken.within(1.1)


async def test_a_binding_wakes_its_namespace_alone(woken: Woken) -> None:
    woken.triggers.binding(Change(Key("late/edge"), None, binding(namespace="late")))
    assert await woken.within(0.1) == {"late/bot"}


async def test_a_decision_wakes_its_namespace_alone(woken: Woken) -> None:
    woken.triggers.decision(Change(Key("team/d1"), None, decision("p", "c1")))
    assert await woken.within(0.1) == {ORIGIN}


async def test_a_set_wakes_all_when_its_selector_is_another(woken: Woken) -> None:
    old = cluster_set()
    woken.triggers.cluster_set(
        Change(Key("edge"), old, replace(old, metadata=replace(old.metadata, uid="x")))
    )
    assert await woken.within(0.1) == set()
    woken.triggers.cluster_set(
        Change(Key("edge"), old, replace(old, spec=ClusterSetSpec(ClusterSelector("LabelSelector"))))
    )
    assert await woken.within(0.1) == {ORIGIN, OTHER, "late/bot"}


@pytest.mark.parametrize(
    ("old", "new", "wakes"),
    [
        (None, cluster("c2"), True),
        (cluster("c2"), None, True),
        (cluster("c2"), cluster("c2", "other"), True),
        (cluster("c2"), replace(cluster("c2"), spec=ClusterSpec(hub_accepts_client=False)), True),
        (cluster("c2"), cluster("c2"), False),
    ],
    ids=["comes", "goes", "set", "not accepted", "the same"],
)
async def test_a_cluster_wakes_all_when_that_may_change_who_is_selected(
    woken: Woken, old: Any, new: Any, *, wakes: bool
) -> None:
    woken.triggers.cluster(Change(Key("c2"), old, new))
    assert await woken.within(0.9) == set()
    assert (await woken.within(0.2) != set()) is wakes


async def test_a_cluster_that_comes_or_goes_wakes_what_is_in_its_namespace(
    hub: FanOutHub, woken: Woken
) -> None:
    gone = cluster("c1")
    hub.take(gone)
    woken.triggers.cluster(Change(Key("c1"), gone, None))
    assert {"c1/plain", "c1/robot"} <= await woken.within(1.1)


@pytest.mark.parametrize(("label", "wakes"), [("env", True), ("health", False)])
async def test_only_labels_that_a_set_selects_by_wake_all(
    hub: FanOutHub, woken: Woken, label: str, *, wakes: bool
) -> None:
    """OCM writes the health of addons into labels of clusters."""
    selector = ClusterSelector(
        "LabelSelector", LabelSelector({"zone": "a"}, (Requirement("env", "In", ("prod",)),))
    )
    hub.put(ManagedClusterSet(ObjectMeta(name="all"), ClusterSetSpec(selector)))
    old, new = cluster("c1"), cluster("c1", **{label: "prod"})
    woken.triggers.cluster(Change(Key("c1"), old, new))
    assert (await woken.within(1.1) != set()) is wakes
