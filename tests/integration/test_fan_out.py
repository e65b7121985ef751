"""One ManagedServiceAccount on all clusters of a set: the manager by the chart's rights, agents of three clusters, real API servers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from hack.addon import Addon, ensure_namespace
from hack.charts import Release
from hack.clusters import Cluster, ClusterError, free_ports, running
from hack.demo import as_holder
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support import identities
from tests.support.chart_hub import apply, body, get
from tests.support.manager import PATIENCE, Replica, managed_cluster, managing

GROUP = "cluster.open-cluster-management.io"
SET_LABEL = f"{GROUP}/clusterset"
MEMBERS = ("edge1", "edge2", "edge3")
API = f"{names.GROUP}/{names.STORAGE_VERSION}"
MSA = f"{names.PLURAL}.{names.GROUP}"

pytestmark = pytest.mark.timeout(300)


@frozen
class Edge:
    """Three clusters of the set `edge`, each with its agent, on one control plane; and a namespace that the set is bound to."""

    hub: Cluster
    agents: dict[str, Addon]
    manager: Replica
    namespace: str = "team"

    def create(self, name: str, **spec: Any) -> None:
        whole = {"rollout": {"maxConcurrent": "100%"}, **spec}
        apply(self.hub, body(API, names.KIND, name, self.namespace, spec=whole))

    def origin(self, name: str) -> Any:
        return get(self.hub, MSA, "-n", self.namespace, name)

    def condition(self, name: str, kind: str = "Ready") -> Any:
        conditions = self.origin(name).get("status", {}).get("conditions", ())
        return next((item for item in conditions if item["type"] == kind), {})

    def wait(self, name: str, reason: str) -> Any:
        """Until its condition Ready has this reason; its numbers then."""
        assert wait_until(lambda: self.condition(name).get("reason") == reason, PATIENCE, 0.1), self.origin(
            name
        )
        return self.origin(name)["status"].get("fanOut")

    def where(self, name: str) -> list[str]:
        """The clusters whose namespaces have one of that name."""
        found = json.loads(self.hub.kubectl("get", MSA, "-A", "-o", "json"))["items"]
        places = [item["metadata"]["namespace"] for item in found if item["metadata"]["name"] == name]
        return sorted(place for place in places if place != self.namespace)

    def wait_where(self, name: str, *clusters: str) -> None:
        assert wait_until(lambda: self.where(name) == sorted(clusters), PATIENCE, 0.1), self.where(name)

    def events(self, namespace: str, name: str) -> list[str]:
        """Reasons of those about one."""
        found = json.loads(self.hub.kubectl("get", "events", "-n", namespace, "-o", "json"))["items"]
        return [item["reason"] for item in found if item["involvedObject"]["name"] == name]

    def label(self, cluster: str, group: str) -> None:
        self.hub.kubectl("label", "--overwrite", "managedcluster", cluster, f"{SET_LABEL}={group}")

    def patch(self, namespace: str, name: str, changes: object) -> None:
        self.hub.kubectl("patch", MSA, "-n", namespace, name, "--type=merge", "-p", json.dumps(changes))


def _bind(hub: Cluster, namespace: str, group: str = "edge") -> None:
    ensure_namespace(hub, namespace)
    spec = {"clusterSet": group}
    apply(hub, body(f"{GROUP}/v1beta2", "ManagedClusterSetBinding", group, namespace, spec=spec))


@pytest.fixture(scope="module")
def edge(home: Path, managed: Cluster) -> Iterator[Edge]:
    with running("fan-out", home) as hub:
        Fleet(hub).install()
        Release(hub).install()
        selector = {"clusterSelector": {"selectorType": "ExclusiveClusterSetLabel"}}
        apply(hub, body(f"{GROUP}/v1beta2", "ManagedClusterSet", "edge", spec=selector))
        _bind(hub, "team")
        agents = {name: _agent(hub, managed, name) for name in MEMBERS}
        for name in MEMBERS:
            apply(hub, managed_cluster(name))
            hub.kubectl("label", "managedcluster", name, f"{SET_LABEL}=edge")
            _is_available(hub, name)
        # The agents run already: this manager deploys none.
        with managing(hub, "fan-out", "--deploy-mode=AddOnTemplate") as manager:
            yield Edge(hub, agents, manager)
        for agent in agents.values():
            agent.stop()


def _is_available(hub: Cluster, name: str) -> None:
    """The addon is on the cluster, and OCM finds its heartbeat."""
    apply(
        hub,
        body("addon.open-cluster-management.io/v1alpha1", "ManagedClusterAddOn", names.ADDON, name, spec={}),
    )
    said = {
        "type": "Available",
        "status": "True",
        "reason": "ManagedClusterAddOnLeaseUpdated",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    hub.kubectl(
        *("patch", "managedclusteraddon", "-n", name, names.ADDON, "--subresource=status"),
        *("--type=merge", "-p", json.dumps({"status": {"conditions": [said]}})),
    )


def _agent(hub: Cluster, managed: Cluster, name: str) -> Addon:
    health, metrics = free_ports(2)
    agent = Addon(hub, managed, name, f"{name}-install", health_port=health, metrics_port=metrics)
    agent.install()
    agent.start()
    return agent


@pytest.fixture(autouse=True)
def _as_before(edge: Edge) -> Iterator[None]:
    """Each test begins with the three clusters in the bound set, and nothing fanned out."""
    yield
    edge.hub.kubectl("delete", MSA, "--all", "-n", edge.namespace, "--timeout=20s")
    for name in MEMBERS:
        edge.hub.kubectl("delete", MSA, "--all", "-n", name)
        edge.label(name, "edge")
    _bind(edge.hub, edge.namespace)


def test_one_object_gives_a_working_token_in_every_clusters_namespace(edge: Edge) -> None:
    edge.create("robot", rotation={"validity": "1h"})
    counts = edge.wait("robot", "AllClustersReady")
    assert counts == {"desired": 3, "updated": 3, "ready": 3, "failed": 0, "failing": []}
    for kind in ("AllServiceAccountsPresent", "AllTokensReported"):
        assert edge.condition("robot", kind)["status"] == "True"
    for name, agent in edge.agents.items():
        child = get(edge.hub, MSA, "-n", name, "robot")
        assert child["spec"]["rotation"]["validity"] == "1h"
        assert child["metadata"]["labels"] == {
            names.LABEL_ORIGIN_NAMESPACE: "team",
            names.LABEL_ORIGIN_UID: edge.origin("robot")["metadata"]["uid"],
        }
        answer = as_holder(agent.managed, identities.token(agent, "robot"), "auth", "whoami", "-o", "json")
        who = json.loads(answer)["status"]["userInfo"]["username"]
        assert who == f"system:serviceaccount:{name}-install:robot"


def test_a_change_reaches_every_cluster(edge: Edge) -> None:
    edge.create("robot", rotation={"validity": "1h"})
    edge.wait("robot", "AllClustersReady")
    before = {name: identities.token(agent, "robot") for name, agent in edge.agents.items()}
    edge.patch(
        "team", "robot", {"spec": {"rotation": {"validity": "2h"}, "audiences": ["https://a.example"]}}
    )
    for name, agent in edge.agents.items():
        identities.wait_new_token(agent, "robot", before[name])
    edge.wait("robot", "AllClustersReady")
    assert get(edge.hub, MSA, "-n", "edge2", "robot")["spec"]["audiences"] == ["https://a.example"]


def test_a_cluster_that_joins_the_set_gets_one_and_one_that_leaves_loses_it(edge: Edge) -> None:
    edge.label("edge3", "other")
    edge.create("robot")
    edge.wait_where("robot", "edge1", "edge2")
    edge.label("edge3", "edge")
    edge.wait_where("robot", *MEMBERS)
    edge.label("edge1", "other")
    edge.wait_where("robot", "edge2", "edge3")
    agent = edge.agents["edge1"]
    assert wait_until(lambda: identities.account(agent, "robot") is None, PATIENCE)


def test_without_the_binding_all_go_and_the_object_says_why(edge: Edge) -> None:
    edge.create("robot")
    edge.wait_where("robot", *MEMBERS)
    edge.hub.kubectl("delete", "managedclustersetbinding", "edge", "-n", "team")
    edge.wait_where("robot")
    edge.wait("robot", "NamespaceNotBound")
    assert edge.origin("robot")["metadata"].get("finalizers", []) == []
    _bind(edge.hub, "team")
    edge.wait_where("robot", *MEMBERS)


def test_in_a_namespace_that_is_neither_a_condition_says_so(edge: Edge) -> None:
    ensure_namespace(edge.hub, "nowhere")
    apply(edge.hub, body(API, names.KIND, "lost", "nowhere"))

    def told() -> str:
        conditions = get(edge.hub, MSA, "-n", "nowhere", "lost").get("status", {}).get("conditions", ())
        return next((item["message"] for item in conditions if item["reason"] == "NamespaceNotBound"), "")

    assert wait_until(lambda: "clusteradm clusterset bind" in told(), PATIENCE, 0.1)
    assert edge.where("lost") == ["nowhere"]


def test_what_is_edited_or_deleted_by_hand_is_put_back(edge: Edge) -> None:
    edge.create("robot", rotation={"validity": "1h"})
    edge.wait("robot", "AllClustersReady")
    edge.patch("edge1", "robot", {"spec": {"rotation": {"validity": "3h"}, "ttlSecondsAfterCreation": 9999}})

    def spec() -> Any:
        return get(edge.hub, MSA, "-n", "edge1", "robot")["spec"]

    assert wait_until(lambda: spec() == {"rotation": {"enabled": True, "validity": "1h"}}, PATIENCE, 0.1), (
        spec()
    )
    assert wait_until(lambda: "EditReverted" in edge.events("edge1", "robot"), PATIENCE, 0.1)
    edge.hub.kubectl("label", MSA, "-n", "edge2", "robot", f"{names.LABEL_ORIGIN_NAMESPACE}-")

    def origin() -> str:
        labels = get(edge.hub, MSA, "-n", "edge2", "robot")["metadata"]["labels"]
        return str(labels.get(names.LABEL_ORIGIN_NAMESPACE))

    assert wait_until(lambda: origin() == "team", PATIENCE, 0.1)
    edge.hub.kubectl("delete", MSA, "-n", "edge3", "robot")
    edge.wait_where("robot", *MEMBERS)


def test_a_foreign_one_is_refused_named_and_taken_over_when_somebody_labels_it(edge: Edge) -> None:
    apply(edge.hub, body(API, names.KIND, "robot", "edge2", spec={"audiences": ["mine"]}))
    edge.create("robot")
    counts = edge.wait("robot", "ClustersFailing")
    assert [(item["cluster"], item["reason"]) for item in counts["failing"]] == [
        ("edge2", "ManagedServiceAccountConflict")
    ]
    remedy = counts["failing"][0]["message"].rpartition("kubectl ")[2]
    assert get(edge.hub, MSA, "-n", "edge2", "robot")["spec"]["audiences"] == ["mine"]
    edge.hub.kubectl(*remedy.split())
    edge.wait("robot", "AllClustersReady")
    assert "audiences" not in get(edge.hub, MSA, "-n", "edge2", "robot")["spec"]


def test_deletion_takes_all_away_and_no_dead_cluster_holds_it_up(edge: Edge) -> None:
    edge.create("robot")
    edge.wait("robot", "AllClustersReady")
    dead = edge.agents["edge2"]
    dead.stop()
    try:
        edge.hub.kubectl("delete", MSA, "-n", "team", "robot", "--timeout=10s")
        edge.wait_where("robot")
        alive = edge.agents["edge1"]
        assert wait_until(lambda: identities.account(alive, "robot") is None, PATIENCE)
        assert identities.account(dead, "robot") is not None
    finally:
        dead.start()
    # It did not see the deletion, so it waits a minute and asks the hub once more.
    assert wait_until(lambda: identities.account(dead, "robot") is None, 100.0)


def test_a_placement_picks_the_clusters(edge: Edge) -> None:
    edge.create("robot", placementRef={"name": "some"})
    edge.wait("robot", "PlacementNotDecided")
    decision = body(f"{GROUP}/v1beta1", "PlacementDecision", "some-decision-1", "team")
    decision["metadata"]["labels"] = {f"{GROUP}/placement": "some"}
    apply(edge.hub, decision)
    status = {"status": {"decisions": [{"clusterName": name, "reason": ""} for name in ("edge1", "edge3")]}}
    edge.hub.kubectl(
        *("patch", "placementdecision", "-n", "team", "some-decision-1", "--subresource=status"),
        *("--type=merge", "-p", json.dumps(status)),
    )
    edge.wait_where("robot", "edge1", "edge3")


def test_a_rollout_waits_for_clusters_that_are_not_ready(edge: Edge) -> None:
    dead = edge.agents["edge1"]
    dead.stop()
    try:
        edge.create("robot", rollout={"maxConcurrent": 1})
        edge.wait_where("robot", "edge1")
        edge.wait("robot", "RollingOut")

        def counts() -> list[int]:
            told = edge.origin("robot")["status"]["fanOut"]
            return [told[name] for name in ("desired", "updated", "ready")]

        assert wait_until(lambda: counts() == [3, 1, 0], PATIENCE, 0.1), counts()
        assert edge.where("robot") == ["edge1"]
    finally:
        dead.start()
    edge.wait("robot", "AllClustersReady")


@pytest.mark.parametrize("most", ["0%", "101%", "half", 0])
def test_a_rollout_that_makes_no_sense_is_refused_by_the_api_server(edge: Edge, most: int | str) -> None:
    with pytest.raises(ClusterError, match=r"spec\.rollout\.maxConcurrent"):
        edge.create("robot", rollout={"maxConcurrent": most})


def test_a_manager_that_starts_anew_writes_nothing_and_goes_on(edge: Edge) -> None:
    edge.create("robot")
    edge.wait("robot", "AllClustersReady")

    def versions() -> list[str]:
        found = json.loads(edge.hub.kubectl("get", MSA, "-A", "-o", "json"))["items"]
        return [item["metadata"]["resourceVersion"] for item in found]

    before = versions()
    edge.manager.stop()
    edge.hub.kubectl("delete", MSA, "-n", "edge3", "robot")
    edge.manager.start()
    edge.manager.wait_ready()
    edge.wait_where("robot", *MEMBERS)
    edge.wait("robot", "AllClustersReady")
    assert (
        len(set(before) & set(versions())) >= len(before) - 2
    )  # all but the one that was deleted, and the status


def test_what_has_no_effect_is_told_while_it_has_none_and_the_agent_keeps_the_condition(edge: Edge) -> None:
    labels = {"labels": {names.LABEL_SYNC_TO_PROFILE: "true"}}
    apply(edge.hub, body(API, names.KIND, "alone", "edge1", spec={"rollout": {"maxConcurrent": 1}}))
    edge.patch("edge1", "alone", {"metadata": labels})

    def told() -> dict[str, str]:
        conditions = get(edge.hub, MSA, "-n", "edge1", "alone").get("status", {}).get("conditions", ())
        return {item["type"]: item["message"] for item in conditions}

    assert wait_until(lambda: "Ready" in told() and "FieldsIgnored" in told(), PATIENCE, 0.1), told()
    assert "spec.rollout has no effect" in told()["FieldsIgnored"]
    assert wait_until(lambda: names.LABEL_SYNC_TO_PROFILE in told()["FieldsIgnored"], PATIENCE, 0.1), told()
    assert "FieldsIgnored" in edge.events("edge1", "alone")
    edge.patch("edge1", "alone", {"spec": {"rotation": {"validity": "2h"}}})
    changes = {"metadata": {"labels": {names.LABEL_SYNC_TO_PROFILE: None}}, "spec": {"rollout": None}}
    edge.patch("edge1", "alone", changes)
    assert wait_until(lambda: "FieldsIgnored" not in told(), PATIENCE, 0.1), told()
    assert "Ready" in told()


def test_what_a_manager_did_not_see_go_waits_a_minute_and_is_checked(edge: Edge) -> None:
    edge.create("robot")
    edge.wait("robot", "AllClustersReady")
    edge.manager.stop()
    edge.hub.kubectl("delete", "managedclustersetbinding", "edge", "-n", "team")
    edge.manager.start()
    edge.manager.wait_ready()
    edge.wait("robot", "NamespaceNotBound")
    assert not wait_until(lambda: edge.where("robot") != sorted(MEMBERS), 45.0, 1.0)
    assert wait_until(lambda: edge.where("robot") == [], 45.0, 0.5), edge.where("robot")
