"""Fields that have no effect are told, once, and only while they have none."""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry

from msa.api import names
from msa.api.fleet_identity import FleetIdentity
from msa.hub.identity_fields import FieldsReconciler, FieldsTriggers, Judge
from msa.hub.identity_notices import Notices
from msa.policy.notices import Notice
from msa.runtime.backoff import Backoff
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key
from msa.runtime.store import Change, key_of
from tests.support.fanout_hub import ORIGIN, FanOutHub, binding, cluster, cluster_set, reconciler_of, settle

ONE = Key("c1/robot")
SYNC = {"labels": {names.LABEL_SYNC_TO_PROFILE: "true"}}


@define
class Told:
    notices: list[Notice] = field(factory=list)

    def ignored(self, identity: FleetIdentity, notice: Notice) -> None:
        self.notices.append(notice)


@pytest.fixture
async def hub(now: Callable[[], datetime]) -> FanOutHub:
    hub = FanOutHub(now)
    hub.synced()
    hub.put(cluster_set(), binding(), cluster("c1"))
    return hub


async def _look(
    hub: FanOutHub, told: Told, key: Key = ONE, *, copies: bool = False
) -> list[tuple[str, str, str]]:
    notices = Notices(hub.caches.identities, hub, Freshness(), hub.now)
    assert await FieldsReconciler(Judge(hub.caches, copies), notices, told)(key) == Done()
    return [(item.type, item.status, item.reason) for item in hub.get(key).status.conditions]


GATE = ("FieldsIgnored", "True", "ClusterProfileGateOff")
FAN_OUT = ("FieldsIgnored", "True", "NotFannedOut")


@pytest.mark.parametrize(
    ("content", "copies", "expected"),
    [
        ({"metadata": SYNC}, False, [GATE]),
        ({"metadata": SYNC}, True, []),
        ({"metadata": {"labels": {names.LABEL_SYNC_TO_PROFILE: "false"}}}, False, []),
        ({"spec": {"placementRef": {"name": "p"}}}, True, [FAN_OUT]),
        ({"spec": {"rollout": {"maxConcurrent": 1}}}, True, [FAN_OUT]),
        ({"metadata": SYNC, "spec": {"rollout": {"maxConcurrent": 1}}}, False, [FAN_OUT]),
        ({"spec": {"rotation": {"validity": "1h"}}}, False, []),
        ({"metadata": {"labels": {**SYNC["labels"], names.LABEL_ORIGIN_UID: "u"}}}, False, []),
    ],
    ids=str,
)
async def test_what_is_ignored_stands_in_a_condition(
    hub: FanOutHub, content: dict[str, Any], expected: list[Any], *, copies: bool
) -> None:
    hub.apply(ONE, **content)
    told = Told()
    for _ in range(2):
        assert await _look(hub, told, copies=copies) == expected
    assert len(told.notices) == len(expected)
    assert len(hub.writes) == len(expected), "nothing is written twice"


async def test_the_message_names_field_and_remedy(hub: FanOutHub) -> None:
    hub.apply(ONE, metadata=SYNC, spec={"placementRef": {"name": "p"}, "rollout": {"maxConcurrent": 1}})
    told = Told()
    await _look(hub, told)
    assert told.notices[0].message == (
        "spec.placementRef and spec.rollout have no effect in a managed cluster's namespace. Remove them, or create this object in a "
        "namespace that a ManagedClusterSet is bound to; label authentication.open-cluster-management.io/sync-to-clusterprofile has no "
        "effect: the feature gate ClusterProfile is off. Enable it with helm upgrade --reuse-values --set "
        "featureGates.clusterProfile=true, or remove the label"
    )


async def test_the_condition_goes_with_its_cause_and_those_of_others_stay(hub: FanOutHub) -> None:
    hub.apply(ONE, metadata=SYNC)
    hub.report("c1")
    before = hub.get(ONE).status.conditions
    told = Told()
    assert len(await _look(hub, told)) == len(before) + 1
    hub.apply(ONE, metadata={"labels": {names.LABEL_SYNC_TO_PROFILE: None}})
    await _look(hub, told)
    assert hub.get(ONE).status.conditions == before
    assert len(told.notices) == 1


async def test_what_the_agent_says_of_the_same_type_is_left_to_it(hub: FanOutHub) -> None:
    said = {"type": "FieldsIgnored", "status": "True", "reason": "EphemeralIdentityGateOff", "message": "ttl"}
    hub.apply(ONE, metadata=SYNC, status={"conditions": [said]})
    await _look(hub, Told())
    hub.apply(ONE, metadata={"labels": {names.LABEL_SYNC_TO_PROFILE: None}})
    await _look(hub, Told())
    assert hub.writes == []


async def test_on_an_origin_the_fan_out_keeps_the_condition(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, metadata=SYNC)
    reconcile, told = reconciler_of(hub), Told()
    await settle(hub, reconcile)
    await _look(hub, told, ORIGIN)
    hub.report("c1")
    await settle(hub, reconcile)
    assert GATE in await _look(hub, told, ORIGIN)
    assert len(told.notices) == 1


async def test_of_many_identities_only_those_are_looked_at_that_say_something_or_should(
    hub: FanOutHub,
) -> None:
    queue = WorkQueue("fields", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers = FieldsTriggers(Judge(hub.caches, copies=False), queue)
    hub.apply(ONE)
    hub.apply("c1/synced", metadata=SYNC)
    hub.apply(
        "c1/healed",
        status={"conditions": [{"type": "FieldsIgnored", "status": "True", "reason": "NotFannedOut"}]},
    )
    for key in (ONE, "c1/synced", "c1/healed"):
        triggers.identity(Change(Key(key), None, hub.get(key)))
    assert set(queue._dirty) == {"c1/synced", "c1/healed"}
    hub.apply("late/one", spec={"placementRef": {"name": "p"}})
    triggers.cluster(Change(key_of(cluster("late")), None, cluster("late")))
    hub.put(cluster("late"))
    triggers.cluster(Change(key_of(cluster("late")), None, cluster("late")))
    assert "late/one" in queue._dirty


async def test_a_cluster_that_takes_away_what_is_said_again_and_again_waits_behind_others(
    hub: FanOutHub,
) -> None:
    queue = WorkQueue("fields", Backoff(Random(1)), Metrics(CollectorRegistry()))
    triggers = FieldsTriggers(Judge(hub.caches, copies=False), queue)
    for number in range(700):
        hub.apply(f"c1/noisy-{number}", metadata=SYNC)
        triggers.identity(Change(Key(f"c1/noisy-{number}"), None, hub.get(f"c1/noisy-{number}")))
    hub.apply("c2/synced", metadata=SYNC)
    triggers.identity(Change(Key("c2/synced"), None, hub.get("c2/synced")))
    ready = queue.statistics().ready
    assert (ready[Lane.LIVE], ready[Lane.INITIAL]) == (501, 0)
    assert queue.statistics().delayed == 200


def _conditions_of_others() -> list[dict[str, Any]]:
    return [
        {"type": f"Backup{number}", "status": "True", "reason": "R", "message": f"{number}\n" + "m" * 3000}
        for number in range(40)
    ]


async def test_conditions_of_others_stay_word_for_word_though_the_copy_of_them_is_cut(hub: FanOutHub) -> None:
    others = _conditions_of_others()
    hub.apply(ONE, metadata=SYNC, status={"conditions": others})
    told = Told()
    for _ in range(3):
        await _look(hub, told)
    stored = hub.stored[ONE]["status"]["conditions"]
    assert [(item["type"], item["message"]) for item in stored[:-1]] == [
        (item["type"], item["message"]) for item in others
    ]
    assert stored[-1]["reason"] == "ClusterProfileGateOff"
    assert len(hub.writes) == len(told.notices) == 1


async def test_a_status_that_cannot_be_read_is_left_to_the_agent_and_written_by_no_loop(
    hub: FanOutHub,
) -> None:
    status = {"conditions": _conditions_of_others()[:1], "expirationTimestamp": "2026-13-77T00:00:00Z"}
    hub.apply(ONE, metadata=SYNC, status=status)
    for _ in range(3):
        await _look(hub, Told())
    assert hub.stored[ONE]["status"] == status
    assert hub.writes == []
