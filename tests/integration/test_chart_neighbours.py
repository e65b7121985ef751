"""The chart where others have made, or also make, the objects that it renders: other addons' charts, OCM, GitOps, the Go addon's chart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.addon import ensure_namespace
from hack.charts import BASES, Release, render
from hack.clusters import Cluster
from hack.generate import CRD
from hack.kubectl import Kubectl
from msa.api import names
from msa.hub import render as hub_render
from tests.support.chart_hub import apply, bare_hub, body, forget, get

_DEPLOYMENT = ("deployment", "managed-serviceaccount-addon-manager", "-n", names.HUB_NAMESPACE)
_BINDING = ("managedclustersetbinding", "global", "-n", names.HUB_NAMESPACE)
_PLACEMENT = ("placement", "global", "-n", names.HUB_NAMESPACE)
_SELECTOR = {"open-cluster-management.io/addon": names.ADDON}
_TARGETED = "open-cluster-management-managed-serviceaccount"
_ADDON_API = "addon.open-cluster-management.io/v1alpha1"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    with bare_hub("neighbours", home) as cluster:
        yield cluster


@pytest.fixture
def release(plane: Cluster) -> Iterator[Release]:
    """Not installed yet; nothing of it is left after the test."""
    release = Release(plane)
    yield release
    if release.exists():
        release.uninstall()
    forget(plane)


def _chart(folder: Path, name: str, *objects: dict[str, Any]) -> Path:
    """A chart of these objects."""
    (folder / "templates").mkdir(parents=True)
    (folder / "templates/all.yaml").write_text(yaml.safe_dump_all(objects))
    chart = {"apiVersion": "v2", "name": name, "version": "0.10.0"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    return folder


@pytest.fixture
def neighbour(plane: Cluster, tmp_path: Path) -> Iterator[Release]:
    """Another addon's chart, with the binding that ours has, too."""
    binding = body("cluster.open-cluster-management.io/v1beta2", "ManagedClusterSetBinding", "global")
    chart = _chart(tmp_path / "neighbour", "cluster-proxy", binding | {"spec": {"clusterSet": "global"}})
    neighbour = Release(plane, chart, "cluster-proxy")
    yield neighbour
    if neighbour.exists():
        neighbour.uninstall()


def _there(hub: Kubectl, *what: str) -> bool:
    return bool(hub.kubectl("get", *what, "--ignore-not-found", "-o", "name").strip())


def test_beside_another_addons_chart_its_binding_is_used_and_stays_when_ours_is_uninstalled(
    release: Release, neighbour: Release
) -> None:
    neighbour.install()
    before = get(release.hub, *_BINDING)
    notes = release.install()
    assert (
        "ManagedClusterSetBinding global in open-cluster-management-addon belongs to cluster-proxy" in notes
    )
    assert _there(release.hub, *_PLACEMENT)
    release.upgrade()
    release.uninstall()
    assert get(release.hub, *_BINDING) == before


def test_where_the_neighbour_was_uninstalled_the_next_upgrade_brings_a_binding(
    release: Release, neighbour: Release
) -> None:
    neighbour.install()
    release.install()
    neighbour.uninstall()
    release.upgrade()
    assert get(release.hub, *_BINDING)["metadata"]["annotations"]["meta.helm.sh/release-name"] == names.ADDON


def test_to_uninstall_leaves_what_other_addons_placements_may_need_and_to_install_again_takes_it_back(
    release: Release,
) -> None:
    release.install()
    before = [get(release.hub, *what)["metadata"]["uid"] for what in (_BINDING, _PLACEMENT)]
    release.uninstall()
    assert [get(release.hub, *what)["metadata"]["uid"] for what in (_BINDING, _PLACEMENT)] == before
    release.install()
    assert [get(release.hub, *what)["metadata"]["uid"] for what in (_BINDING, _PLACEMENT)] == before


def _made_by_ocm(hub: Kubectl, cluster: str) -> Any:
    ensure_namespace(hub, cluster)
    apply(hub, body(_ADDON_API, "ManagedClusterAddOn", names.ADDON, cluster, spec={}))
    return _addon(hub, cluster)


def _addon(hub: Kubectl, cluster: str) -> Any:
    return get(hub, "managedclusteraddon", names.ADDON, "-n", cluster)


def test_from_all_clusters_to_one_the_addons_that_ocm_made_stay_as_they_are(release: Release) -> None:
    release.install()
    before = [_made_by_ocm(release.hub, cluster) for cluster in ("c1", "c2")]
    notes = release.upgrade("--set=agentInstallAll=false,targetCluster=c1")
    assert [_addon(release.hub, cluster) for cluster in ("c1", "c2")] == before
    assert (
        get(release.hub, "clustermanagementaddon", names.ADDON)["spec"]["installStrategy"]["type"] == "Manual"
    )
    assert "kubectl delete managedclusteraddon managed-serviceaccount -n CLUSTER" in notes


def test_without_its_placement_ocm_would_take_the_addon_off_so_that_stays_when_it_is_not_used(
    release: Release,
) -> None:
    release.install()
    release.upgrade("--set=agentInstallAll=false")
    assert _there(release.hub, *_PLACEMENT)
    assert _there(release.hub, *_BINDING)
    release.upgrade("--set=agentInstallAll=true")


def test_the_addon_of_a_target_cluster_stays_when_another_is_the_target_or_all_are(release: Release) -> None:
    for cluster in ("c1", "c2"):
        ensure_namespace(release.hub, cluster)
    release.install("--set=agentInstallAll=false,targetCluster=c1")
    before = _addon(release.hub, "c1")["metadata"]["uid"]
    for flags in ("agentInstallAll=false,targetCluster=c2", "agentInstallAll=true", "targetCluster=c1"):
        release.upgrade(f"--set={flags}")
        assert _addon(release.hub, "c1")["metadata"]["uid"] == before


@pytest.fixture
def go_chart(tmp_path: Path) -> Path:
    """As the Go addon's chart renders it for one target cluster, by the contract."""
    pod = {
        "metadata": {"labels": _SELECTOR},
        "spec": {
            "serviceAccountName": names.ADDON,
            "containers": [{"name": "manager", "image": "go", "env": [{"name": "A", "value": "b"}]}],
        },
    }
    deployment = {"replicas": 1, "selector": {"matchLabels": _SELECTOR}, "template": pod}
    target = {"installNamespace": _TARGETED}
    chart = _chart(
        tmp_path / "go",
        names.ADDON,
        body("v1", "ServiceAccount", names.ADDON, names.HUB_NAMESPACE),
        body("apps/v1", "Deployment", _DEPLOYMENT[1], names.HUB_NAMESPACE, spec=deployment),
        body(_ADDON_API, "ClusterManagementAddOn", names.ADDON, spec={}),
        body(_ADDON_API, "ManagedClusterAddOn", names.ADDON, "c1", spec=target),
    )
    (chart / "crds").mkdir()
    (chart / "crds/crd.yaml").write_text(CRD.read_text())
    return chart


_TARGET = "--set=agentInstallAll=false,targetCluster=c1"


def test_from_the_go_addons_chart_and_back_the_deployment_and_the_addon_stay_the_same_objects(
    release: Release, go_chart: Path
) -> None:
    ensure_namespace(release.hub, "c1")
    go = Release(release.hub, go_chart)
    go.install()
    before = _uids(release.hub)
    for chart, flags in ((release, (_TARGET,)), (go, ()), (release, (_TARGET,))):
        chart.upgrade(*flags)
        assert _uids(release.hub) == before
        assert _addon(release.hub, "c1")["spec"]["installNamespace"] == _TARGETED
    assert get(release.hub, *_DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("flags", ["agentInstallAll=false,targetCluster=c2", "agentInstallAll=true"])
def test_from_the_go_addons_chart_straight_to_other_clusters_its_target_cluster_keeps_the_addon(
    release: Release, go_chart: Path, flags: str
) -> None:
    """helm deletes what a release no longer has, and the Go addon's chart has no mark that would keep it."""
    for cluster in ("c1", "c2"):
        ensure_namespace(release.hub, cluster)
    Release(release.hub, go_chart).install()
    before = _addon(release.hub, "c1")
    for _ in range(2):  # the second one finds a release of ours
        release.upgrade(f"--set={flags}")
        after = _addon(release.hub, "c1")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["spec"] == before["spec"]


def _uids(hub: Kubectl) -> list[str]:
    return [item["metadata"]["uid"] for item in (get(hub, *_DEPLOYMENT), _addon(hub, "c1"))]


def test_a_fresh_install_of_ours_can_be_upgraded_to_the_go_addons_chart(
    release: Release, go_chart: Path
) -> None:
    ensure_namespace(release.hub, "c1")
    release.install(_TARGET)
    before = _uids(release.hub)
    Release(release.hub, go_chart).upgrade()
    assert _uids(release.hub) == before
    assert get(release.hub, *_DEPLOYMENT)["spec"]["strategy"]["type"] == "RollingUpdate"


def test_a_target_clusters_agent_keeps_the_namespace_that_its_addon_has(release: Release) -> None:
    ensure_namespace(release.hub, "c1")
    release.install(_TARGET)
    patch = json.dumps({"spec": {"installNamespace": "elsewhere"}})
    release.hub.kubectl("patch", "managedclusteraddon", names.ADDON, "-n", "c1", "--type=merge", "-p", patch)
    release.upgrade(_TARGET)
    assert _addon(release.hub, "c1")["spec"]["installNamespace"] == "elsewhere"


def _applied(hub: Kubectl, text: str, manager: str) -> str:
    return hub.kubectl(
        "apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=text, check=False
    )


@pytest.mark.parametrize("mode", list(BASES))
def test_two_managers_apply_the_same_manifests_without_a_conflict(plane: Cluster, mode: str) -> None:
    """Atomic fields with defaults would be such conflicts."""
    ensure_namespace(plane, names.HUB_NAMESPACE)
    apply(plane, yaml.safe_load(CRD.read_text()))
    text = render(f"--set=hubDeployMode={mode},replicas=2,featureGates.clusterProfile=true")
    try:
        for manager in ("a", "b"):
            said = _applied(plane, text, manager)
            assert "conflict" not in said
            assert "rror" not in said
    finally:
        plane.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)


_VALUES = {
    "CLUSTER_NAME": "c1",
    "INSTALL_NAMESPACE": "agents",
    "AGENT_IMAGE": "i:v1",
    "EPHEMERAL_IDENTITY": "true",
}


def test_two_managers_apply_the_agents_manifests_without_a_conflict(plane: Cluster) -> None:
    text = yaml.safe_dump_all(hub_render.agent_objects(_VALUES))
    try:
        for manager in ("a", "b"):
            said = _applied(plane, text, manager)
            assert "conflict" not in said
            assert "rror" not in said
    finally:
        plane.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)


def test_the_agents_pod_may_run_where_pods_are_restricted(plane: Cluster) -> None:
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(plane, {**body("v1", "Namespace", "strict"), "metadata": {"name": "strict", "labels": enforced}})
    apply(plane, body("v1", "ServiceAccount", names.ADDON, "strict"))
    objects = hub_render.agent_objects(_VALUES | {"INSTALL_NAMESPACE": "strict"})
    pods = [item["spec"]["template"] for item in objects if item["kind"] in ("Deployment", "Job")]
    for number, template in enumerate(pods):
        pod = body("v1", "Pod", f"agent-{number}", "strict", spec=template["spec"])
        plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
