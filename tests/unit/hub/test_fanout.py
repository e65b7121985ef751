"""One ManagedServiceAccount on many clusters, with a scripted hub: what is written, in which order, how often, and what is told."""

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import pytest
from msgspec.structs import replace

from msa.api import names
from msa.api.cluster import ClusterSpec
from msa.api.durations import rfc3339
from msa.hub.fanout import FanOutReconciler
from msa.policy.fanout import PATIENCE
from msa.runtime.errors import AlreadyExists, Fenced, Forbidden, Network, NotFound, ServerError
from msa.runtime.result import Done, Key, RequeueAfter
from tests.support.fanout_hub import (
    ORIGIN,
    TEAM,
    FanOutHub,
    binding,
    cluster,
    cluster_set,
    decision,
    reconciler_of,
    settle,
)
from tests.support.fleet import with_

CLUSTERS = ("c1", "c2", "c3")
UNBOUNDED = {"rollout": {"maxConcurrent": "100%"}}
FINALIZER = names.FAN_OUT_FINALIZER


@pytest.fixture
async def hub(now: Callable[[], datetime]) -> FanOutHub:
    """A set of three clusters, bound to a namespace with one ManagedServiceAccount."""
    hub = FanOutHub(now)
    hub.synced()
    hub.put(cluster_set(), binding(), *(cluster(name) for name in CLUSTERS))
    hub.apply(ORIGIN, spec=UNBOUNDED)
    return hub


async def _pass(seconds: float = 1.0) -> None:
    """Virtual time goes by."""
    await anyio.sleep(seconds)


async def test_each_cluster_gets_a_child_and_the_origin_says_how_many(hub: FanOutHub) -> None:
    await settle(hub, reconciler_of(hub))
    assert hub.writes == [
        f"patch {ORIGIN}",
        "create c1/robot",
        "create c2/robot",
        "create c3/robot",
        f"status {ORIGIN}",
    ]
    assert hub.get(ORIGIN).metadata.finalizers == (FINALIZER,)
    assert hub.counts() == (3, 3, 0, 0)
    assert (hub.said().status, hub.said().reason) == ("False", "RollingOut")
    assert hub.said().message == "3/3 clusters updated, 0/3 ready"


async def test_it_is_ready_when_every_cluster_has_a_good_token(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    for name in CLUSTERS:
        hub.report(name)
    await _pass()
    await settle(hub, reconcile)
    assert hub.counts() == (3, 3, 3, 0)
    said = [hub.said(kind) for kind in ("Ready", "AllServiceAccountsPresent", "AllTokensReported")]
    assert [(item.status, item.reason) for item in said] == [
        ("True", "AllClustersReady"),
        ("True", "AllServiceAccountsPresent"),
        ("True", "AllTokensReported"),
    ]
    assert [item[2:] for item in hub.observed if item[0] == "condition"] == [
        ("False", "RollingOut"),
        ("True", "AllClustersReady"),
    ]


async def test_nothing_is_written_while_nothing_changes_nor_by_a_manager_that_has_just_started(
    hub: FanOutHub,
) -> None:
    await settle(hub, reconciler_of(hub))
    hub.writes.clear()
    for reconcile in (reconciler_of(hub), reconciler_of(hub)):
        assert await reconcile(ORIGIN) == Done()
    assert hub.writes == []


async def test_status_is_written_at_most_once_a_second(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.writes.clear()
    hub.report("c1")
    await _pass(0.25)
    assert await reconcile(ORIGIN) == RequeueAfter(0.75)
    assert hub.writes == []
    hub.report("c2")
    await _pass(0.75)
    assert await reconcile(ORIGIN) == Done()
    assert hub.writes == [f"status {ORIGIN}"]
    assert hub.counts() == (3, 3, 2, 0)


async def test_what_is_wrong_on_a_cluster_is_named(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.report("c1")
    hub.report("c2", "False", "TokenRequestRefused")
    await _pass()
    await settle(hub, reconcile)
    assert hub.counts() == (3, 3, 1, 1)
    fan_out = hub.get(ORIGIN).status.fan_out
    assert fan_out is not None
    assert [(item.cluster, item.reason, item.message) for item in fan_out.failing] == [
        ("c2", "TokenRequestRefused", "TokenRequestRefused!")
    ]
    assert (hub.said().reason, hub.said().message) == (
        "ClustersFailing",
        "1/3 clusters failing (c2): TokenRequestRefused; see status.fanOut.failing",
    )
    assert hub.said("AllTokensReported").message == "1/3 clusters; missing on c2, c3"


async def test_at_most_twenty_failing_clusters_are_named(hub: FanOutHub) -> None:
    many = [f"d{number:02}" for number in range(25)]
    hub.put(*(cluster(name) for name in many))
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    for name in many:
        hub.report(name, "False", "Bad")
    await _pass()
    await settle(hub, reconcile)
    fan_out = hub.get(ORIGIN).status.fan_out
    assert fan_out is not None
    assert (fan_out.failed, [item.cluster for item in fan_out.failing]) == (25, many[:20])
    assert "25/28 clusters failing (d00, d01, d02 and 22 more): Bad" in hub.said().message


async def test_a_child_edited_by_hand_is_put_back(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.apply("c2/robot", spec={"rotation": {"validity": "10m"}, "ttlSecondsAfterCreation": 5})
    await _pass()
    await settle(hub, reconcile)
    spec = hub.get("c2/robot").spec
    assert (spec.rotation.validity, spec.ttl_seconds_after_creation) == ("8640h0m0s", None)
    assert hub.writes.count("patch c2/robot") == 1
    restored = [item for item in hub.observed if item[0] == "restored"]
    assert restored == [("restored", "c2", "robot", "spec.rotation", "spec.ttlSecondsAfterCreation")]
    assert ("fanned out", "robot", "0", "1") not in hub.observed


async def test_a_child_deleted_by_hand_is_made_again(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.remove("c2/robot")
    await settle(hub, reconcile)
    assert hub.children() == list(CLUSTERS)


async def test_a_cluster_that_joins_gets_a_child_and_one_that_leaves_loses_it(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.put(cluster("c4"), cluster("c1", "other"))
    await _pass()
    await settle(hub, reconcile)
    assert hub.children() == ["c2", "c3", "c4"]
    assert hub.counts()[0] == 3


@pytest.mark.parametrize(
    "unbind",
    [
        lambda hub: hub.take(binding()),
        lambda hub: hub.take(cluster_set()),
        lambda hub: hub.put(with_(binding(), deletion_timestamp=hub.now())),
    ],
    ids=["binding gone", "set gone", "binding going"],
)
async def test_without_the_binding_nothing_stays(hub: FanOutHub, unbind: Callable[[FanOutHub], None]) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    unbind(hub)
    await _pass()
    await settle(hub, reconcile)
    assert (hub.children(), hub.get(ORIGIN).metadata.finalizers) == ([], ())
    assert hub.get(ORIGIN).status.fan_out is None
    assert [(item.type, item.reason) for item in hub.get(ORIGIN).status.conditions] == [
        ("Ready", "NamespaceNotBound")
    ]


async def test_one_in_a_namespace_that_is_neither_says_so_once(hub: FanOutHub) -> None:
    hub.take(binding())
    for _ in range(2):
        await settle(hub, reconciler_of(hub))
    assert hub.writes == [f"status {ORIGIN}"]
    assert "clusteradm clusterset bind SET --namespace team" in hub.said().message


async def test_one_in_a_clusters_own_namespace_is_the_agents_alone(hub: FanOutHub) -> None:
    hub.put(cluster(TEAM))
    assert await reconciler_of(hub)(ORIGIN) == Done()
    assert hub.writes == []


async def test_a_namespace_that_becomes_a_clusters_is_left_to_its_agent(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.put(cluster(TEAM))
    await settle(hub, reconcile)
    assert (hub.children(), hub.get(ORIGIN).metadata.finalizers) == ([], ())
    assert hub.get(ORIGIN).status.fan_out is None
    assert [item.type for item in hub.get(ORIGIN).status.conditions] == ["Ready"]


async def test_with_the_origin_all_children_go_and_no_cluster_holds_it_up(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.apply("c1/robot", metadata={"finalizers": ["somebody/else"]})
    hub.apply(ORIGIN, metadata={"finalizers": [FINALIZER, "somebody/else"]})
    hub.remove(ORIGIN)
    await settle(hub, reconcile)
    assert hub.get(ORIGIN).metadata.finalizers == ("somebody/else",)
    assert hub.children() == ["c1"]
    assert hub.get("c1/robot").metadata.deletion_timestamp is not None
    assert hub.writes.count("delete c1/robot") == 1


async def test_the_origin_waits_until_each_child_could_be_deleted(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.remove(ORIGIN)
    hub.refuses["c2"] = Forbidden("not you")
    with pytest.raises(Forbidden):
        await reconcile(ORIGIN)
    assert hub.get(ORIGIN).metadata.finalizers == (FINALIZER,)
    hub.refuses.clear()
    await settle(hub, reconcile)
    assert (hub.children(), ORIGIN in hub.stored) == ([], False)


async def test_a_foreign_object_is_refused_told_and_taken_over_once_it_is_labelled(hub: FanOutHub) -> None:
    hub.apply("c2/robot", metadata={"labels": {"app": "mine"}}, spec={"audiences": ["x"]})
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    assert hub.get("c2/robot").spec.audiences == ("x",)
    assert hub.counts() == (3, 2, 0, 1)
    assert "ManagedServiceAccountConflict" in hub.said().message
    hub.apply("c2/robot", metadata={"labels": {names.LABEL_ORIGIN_NAMESPACE: TEAM}})
    await _pass()
    await settle(hub, reconcile)
    assert hub.get("c2/robot").spec.audiences == ()
    assert hub.stored[Key("c2/robot")]["metadata"]["labels"]["app"] == "mine"
    assert hub.counts() == (3, 3, 0, 0)


async def test_two_origins_of_one_name_do_not_fight(hub: FanOutHub) -> None:
    hub.put(binding(namespace="second"))
    hub.apply("second/robot", spec={"rotation": {"validity": "1h"}, **UNBOUNDED})
    first, second = reconciler_of(hub), reconciler_of(hub)
    await settle(hub, first)
    await settle(hub, second, Key("second/robot"))
    assert hub.get("c1/robot").spec.rotation.validity == "8640h0m0s"
    told = hub.get("second/robot").status.fan_out
    assert told is not None
    assert "belongs to ManagedServiceAccount team/robot" in told.failing[0].message


async def test_a_placement_picks_among_the_bound_clusters_and_no_others(hub: FanOutHub) -> None:
    hub.put(cluster("x1", "other"), decision("some", "c1", "x1"), decision("some", "c3", name="d2"))
    hub.apply(ORIGIN, spec={"placementRef": {"name": "some"}})
    await settle(hub, reconciler_of(hub))
    assert hub.children() == ["c1", "c3"]


async def test_a_wrong_name_of_a_placement_costs_no_token(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.apply(ORIGIN, spec={"placementRef": {"name": "typo"}})
    hub.put(cluster("c1", "other"))
    await _pass()
    await settle(hub, reconcile)
    assert hub.children() == ["c2", "c3"]
    assert (hub.said().status, hub.said().reason) == ("False", "PlacementNotDecided")
    assert "Placement team/typo" in hub.said().message


async def test_while_the_sets_cannot_be_read_all_stays_as_it_is(now: Callable[[], datetime]) -> None:
    before = FanOutHub(now)
    before.synced()
    before.put(cluster_set(), binding(), *(cluster(name) for name in CLUSTERS))
    before.apply(ORIGIN, spec=UNBOUNDED)
    await settle(before, reconciler_of(before))
    blind = FanOutHub(now)
    blind.put(*(cluster(name) for name in CLUSTERS))
    for key, body in before.stored.items():
        blind.stored[key] = body
        blind.apply(key)
    await settle(blind, reconciler_of(blind))
    assert blind.children() == list(CLUSTERS)
    assert (blind.said().status, blind.said().reason) == ("Unknown", "ClusterSetsUnknown")


async def test_a_rollout_goes_on_as_clusters_become_ready_and_past_those_that_do_not(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, spec={"rollout": {"maxConcurrent": 1}})
    reconcile = reconciler_of(hub)
    assert await settle(hub, reconcile) == RequeueAfter(PATIENCE.total_seconds())
    assert hub.children() == ["c1"]
    hub.report("c1")
    await _pass()
    await settle(hub, reconcile)
    assert hub.children() == ["c1", "c2"]
    hub.report("c2", "False", "Bad")
    await _pass(PATIENCE.total_seconds())
    await settle(hub, reconcile)
    assert hub.children() == ["c1", "c2", "c3"]


async def test_a_cluster_that_cannot_be_written_is_told_and_tried_again_while_others_go_on(
    hub: FanOutHub,
) -> None:
    hub.refuses["c2"] = NotFound("namespaces c2 not found")
    reconcile = reconciler_of(hub)
    result = await settle(hub, reconcile)
    assert isinstance(result, RequeueAfter)
    assert hub.children() == ["c1", "c3"]
    assert hub.counts() == (3, 2, 0, 1)
    told = hub.get(ORIGIN).status.fan_out
    assert told is not None
    assert (told.failing[0].cluster, told.failing[0].reason) == ("c2", "NotFound")
    hub.refuses.clear()
    await _pass(301)
    await settle(hub, reconcile)
    assert hub.counts() == (3, 3, 0, 0)


async def test_tries_of_a_cluster_that_refuses_come_at_ever_longer_times(hub: FanOutHub) -> None:
    hub.refuses["c2"] = ServerError("webhook failed", code=500)
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    tries, start = 0, anyio.current_time()
    while anyio.current_time() - start < 3600:
        result = await reconcile(ORIGIN)
        assert isinstance(result, RequeueAfter)
        tries += 1
        await anyio.sleep(max(result.seconds, 0.001))
    assert 12 < tries < 80


@pytest.mark.parametrize("error", [Network("gone"), Fenced("not the leader")])
async def test_a_hub_that_cannot_be_written_at_all_is_no_failure_of_clusters(
    hub: FanOutHub, error: Network | Fenced
) -> None:
    reconcile = reconciler_of(hub)
    await reconcile(ORIGIN)
    hub.refuses["c1"] = error
    with pytest.raises(type(error)):
        await reconcile(ORIGIN)
    assert hub.get(ORIGIN).status.fan_out is None


async def test_a_token_that_expires_unrenewed_is_told_at_that_moment(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    ends = hub.now().replace(microsecond=0) + timedelta(hours=1)
    for name in CLUSTERS:
        hub.report(name, expirationTimestamp=rfc3339(ends))
    await _pass()
    result = await settle(hub, reconcile)
    assert hub.said().status == "True"
    assert isinstance(result, RequeueAfter)
    await _pass(result.seconds)
    await settle(hub, reconcile)
    assert hub.now() - ends < timedelta(seconds=1)
    assert (hub.said().reason, hub.counts()) == ("ClustersFailing", (3, 3, 0, 3))


async def test_where_identities_have_an_end_it_takes_its_children_with_it(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, spec={"ttlSecondsAfterCreation": 60})
    reconcile = reconciler_of(hub, ephemeral=True)
    result = await settle(hub, reconcile)
    assert isinstance(result, RequeueAfter)
    assert 59 < result.seconds <= 60
    assert hub.get("c1/robot").spec.ttl_seconds_after_creation is None
    await _pass(result.seconds)
    await reconcile(ORIGIN)
    await settle(hub, reconcile)
    assert (hub.children(), ORIGIN in hub.stored) == ([], False)


async def test_an_end_means_nothing_without_the_feature_gate(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, spec={"ttlSecondsAfterCreation": 60})
    await _pass(120)
    await settle(hub, reconciler_of(hub))
    assert hub.children() == list(CLUSTERS)


async def test_children_without_an_origin_go_when_no_restore_can_explain_them(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.apply(ORIGIN, metadata={"finalizers": []})
    hub.remove(ORIGIN)
    assert await reconcile(ORIGIN) == RequeueAfter(600.0)
    assert hub.children() == list(CLUSTERS)
    await _pass(600)
    await settle(hub, reconcile)
    assert hub.children() == []


async def test_restored_children_are_taken_over_by_their_restored_origin(hub: FanOutHub) -> None:
    await settle(hub, reconciler_of(hub))
    old = hub.get(ORIGIN).metadata.uid
    hub.apply(ORIGIN, metadata={"finalizers": []})
    hub.remove(ORIGIN)
    hub.apply(ORIGIN, spec=UNBOUNDED)
    await settle(hub, reconciler_of(hub))
    assert hub.get(ORIGIN).metadata.uid != old
    assert hub.get("c1/robot").metadata.label(names.LABEL_ORIGIN_UID) == hub.get(ORIGIN).metadata.uid
    assert "delete c1/robot" not in hub.writes


async def _looks_within(seconds: float, hub: FanOutHub, reconcile: FanOutReconciler) -> int:
    """How often it looks by itself in that time."""
    looks, until = 0, anyio.current_time() + seconds
    while anyio.current_time() < until and looks < 500:
        result = await reconcile(ORIGIN)
        looks += 1
        await anyio.sleep(result.seconds if isinstance(result, RequeueAfter) else seconds)
    return looks


async def test_a_cluster_whose_turn_does_not_come_causes_no_looks(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, spec={"rollout": {"maxConcurrent": 1}})
    hub.refuses["c1"] = NotFound("no such namespace")
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    assert hub.children() == ["c2"]
    assert await _looks_within(60, hub, reconcile) < 20


async def test_a_foreign_object_that_came_in_between_causes_no_looks(hub: FanOutHub) -> None:
    """The create was answered with AlreadyExists before the cache showed it."""
    reconcile = reconciler_of(hub)
    await reconcile(ORIGIN)
    hub.refuses["c2"] = AlreadyExists("c2/robot")
    await reconcile(ORIGIN)
    hub.refuses.clear()
    hub.apply("c2/robot", spec={"audiences": ["mine"]})
    await _pass()
    await settle(hub, reconcile)
    assert await _looks_within(600, hub, reconcile) == 1
    assert hub.counts() == (3, 2, 0, 1)


async def test_whoever_may_only_ask_to_be_taken_in_takes_no_namespace_away(hub: FanOutHub) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    impostor = cluster(TEAM)
    hub.put(replace(impostor, spec=ClusterSpec(hub_accepts_client=False)))
    await _pass()
    await settle(hub, reconcile)
    assert hub.children() == list(CLUSTERS)


async def test_while_decisions_are_written_one_after_the_other_no_child_is_lost(hub: FanOutHub) -> None:
    """OCM makes each PlacementDecision empty, and fills it in afterwards."""
    hub.apply(ORIGIN, spec={"placementRef": {"name": "some"}})
    hub.put(decision("some", *CLUSTERS))
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.put(decision("some"))
    result = await settle(hub, reconcile)
    assert hub.children() == list(CLUSTERS)
    assert isinstance(result, RequeueAfter)
    assert result.seconds <= 30
    await _pass(10)
    hub.put(decision("some", "c1", "c2"))
    await settle(hub, reconcile)
    await _pass(20)
    await settle(hub, reconcile)
    assert hub.children() == ["c1", "c2"]


async def test_out_of_the_bound_sets_a_child_goes_at_once_though_a_placement_is_asked(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, spec={"placementRef": {"name": "some"}})
    hub.put(decision("some", *CLUSTERS))
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.put(cluster("c1", "other"))
    await _pass()
    await settle(hub, reconcile)
    assert hub.children() == ["c2", "c3"]


async def test_an_origin_is_never_somebodys_child(hub: FanOutHub) -> None:
    """A child's YAML, applied in the origin's namespace or in another that is bound."""
    hub.put(binding(namespace="second"))
    hub.apply("second/robot", spec=UNBOUNDED)
    labels = {names.LABEL_ORIGIN_NAMESPACE: TEAM, names.LABEL_ORIGIN_UID: "any"}
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    await settle(hub, reconciler_of(hub), Key("second/robot"))
    for key in (ORIGIN, "second/robot"):
        hub.apply(key, metadata={"labels": labels})
    await _pass()
    await settle(hub, reconcile)
    assert {ORIGIN, Key("second/robot")} <= hub.stored.keys()
    assert [write for write in hub.writes if write.startswith("delete")] == []


async def test_a_status_that_cannot_be_read_is_written_anew_once(hub: FanOutHub) -> None:
    hub.apply(ORIGIN, status={"expirationTimestamp": "0000-01-01T00:00:00Z"})
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    assert "expirationTimestamp" not in hub.stored[ORIGIN]["status"]
    before = len(hub.writes)
    await _pass()
    await settle(hub, reconcile)
    assert len(hub.writes) == before


async def test_what_could_not_be_read_is_looked_at_again_in_a_minute(now: Callable[[], datetime]) -> None:
    blind = FanOutHub(now)
    blind.apply(ORIGIN)
    assert await settle(blind, reconciler_of(blind)) == RequeueAfter(60.0)
    blind.synced()
    await _pass()
    await settle(blind, reconciler_of(blind))
    assert blind.said().reason == "NamespaceNotBound"


async def test_while_an_unbound_child_hangs_in_its_deletion_the_status_says_that_it_is_not_bound(
    hub: FanOutHub,
) -> None:
    reconcile = reconciler_of(hub)
    await settle(hub, reconcile)
    hub.apply("c1/robot", metadata={"finalizers": ["somebody/else"]})
    hub.take(binding())
    await _pass()
    await settle(hub, reconcile)
    assert (hub.children(), hub.said().reason) == (["c1"], "NamespaceNotBound")


async def test_one_with_a_childs_labels_in_a_namespace_that_is_neither_is_not_its_own_child(
    hub: FanOutHub,
) -> None:
    hub.take(binding())
    hub.apply(ORIGIN, metadata={"labels": {names.LABEL_ORIGIN_NAMESPACE: TEAM}})
    await settle(hub, reconciler_of(hub))
    assert hub.writes == [f"status {ORIGIN}"]


async def test_a_bound_set_that_does_not_exist_is_named(hub: FanOutHub) -> None:
    hub.take(cluster_set())
    await settle(hub, reconciler_of(hub))
    assert "bound to ManagedClusterSets that do not exist (edge)" in hub.said().message
