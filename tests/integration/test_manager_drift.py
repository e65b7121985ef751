"""What somebody alters of what the manager made: put right within seconds, and then nobody writes any more."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.addon import ensure_namespace
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names, subjects
from tests.support.identities import REPAIR_SECONDS
from tests.support.manager import Membership, Replica, managing
from tests.support.manager_writes import WriteLog

_CLUSTER = "drift"
_QUIET_SECONDS = 2.0
_LABELS = "prometheusServiceMonitorLabels"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def manager(ocm: Fleet) -> Iterator[Replica]:
    with managing(ocm.hub, "drift", "--agent-image-name=example.com/msa:1") as replica:
        yield replica


@pytest.fixture
def cluster(ocm: Fleet, manager: Replica) -> Membership:
    cluster = Membership(ocm, _CLUSTER)
    cluster.accept()
    cluster.wait_installed()
    assert wait_until(lambda: cluster.condition("RegistrationApplied") != {}, REPAIR_SECONDS)
    return cluster


def _wanted(cluster: Membership) -> Any:
    """All that was decided of the three, without what the server adds."""
    return [
        {part: value for part, value in item.items() if part not in ("metadata", "status")}
        | {part: item["metadata"].get(part) for part in ("name", "labels", "annotations", "ownerReferences")}
        for item in cluster.made()
    ]


def _assert_quiet(cluster: Membership, log: WriteLog) -> None:
    """Nobody writes for some seconds: the manager nothing at all, others none of these objects."""
    before, count = cluster.versions(), log.count()
    assert not wait_until(lambda: log.count() != count, _QUIET_SECONDS, 0.1)
    assert cluster.versions() == before


_WORK, _RIGHTS = ("manifestwork", names.DEPLOY_WORK), names.AGENT_ROLE
_NOBODY: dict[str, Any] = {"metadata": {"labels": None, "ownerReferences": None}}
_OTHERS = [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "others"}]


@pytest.mark.parametrize(
    ("kind", "name", "changes"),
    [
        ("rolebinding", _RIGHTS, {"subjects": []}),
        ("rolebinding", _RIGHTS, {"subjects": _OTHERS}),
        ("rolebinding", _RIGHTS, _NOBODY),
        (*_WORK, {"spec": {"workload": {"manifests": []}}}),
        (*_WORK, {"spec": {"manifestConfigs": None}}),
        (*_WORK, {"spec": {"deleteOption": {"propagationPolicy": "Orphan", "selectivelyOrphans": None}}}),
        (*_WORK, {"metadata": {"annotations": None}}),
        (*_WORK, _NOBODY),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_what_somebody_altered_is_put_right_once(
    cluster: Membership, write_log: WriteLog, kind: str, name: str, changes: dict[str, Any]
) -> None:
    """A list that is emptied is stored as null, or left out: that, too, is not what was wanted."""
    wanted, log = _wanted(cluster), write_log.from_now()
    cluster.patch(kind, name, changes)
    assert wait_until(lambda: bool(_wanted(cluster) == wanted), REPAIR_SECONDS), _wanted(cluster)
    _assert_quiet(cluster, log)
    assert [write.what for write in log.writes(_CLUSTER)] == [f"patch {kind}s"]


@pytest.mark.parametrize("kind", ["rolebinding", "manifestwork"])
def test_what_somebody_deleted_is_made_anew_once(cluster: Membership, write_log: WriteLog, kind: str) -> None:
    wanted, log = _wanted(cluster), write_log.from_now()
    name = names.DEPLOY_WORK if kind == "manifestwork" else _RIGHTS
    cluster.fleet.hub.kubectl("delete", kind, name, "-n", _CLUSTER)
    assert wait_until(lambda: bool(_wanted(cluster) == wanted), REPAIR_SECONDS), _wanted(cluster)
    _assert_quiet(cluster, log)
    assert [write.what for write in log.writes(_CLUSTER)] == [f"create {kind}s"]


def test_a_rolebinding_of_another_role_is_made_anew_since_it_cannot_be_changed(
    ocm: Fleet, manager: Replica, write_log: WriteLog
) -> None:
    """It was there before the cluster, so that nobody else had made the right one first."""
    cluster, log = Membership(ocm, "bound"), write_log.from_now()
    ensure_namespace(ocm.hub, cluster.name)
    somebody = ("--clusterrole=view", f"--user={subjects.agent_user(cluster.name)}")
    ocm.hub.kubectl("create", "rolebinding", _RIGHTS, "-n", cluster.name, *somebody)
    cluster.accept()
    assert wait_until(lambda: cluster.get(*_WORK) != {}, REPAIR_SECONDS)
    assert cluster.get("rolebinding", _RIGHTS)["roleRef"]["name"] == _RIGHTS
    _assert_quiet(cluster, log)
    written = [write.what for write in log.writes(cluster.name) if write.resource == "rolebindings"]
    # The first creation is refused, for the name is taken: it shows that the manager may bind its role before it deletes the other.
    assert written == ["create rolebindings", "delete rolebindings", "create rolebindings"]


def test_a_status_that_somebody_emptied_is_written_again_once(
    cluster: Membership, write_log: WriteLog
) -> None:
    """OCM's own parts of it are left to OCM."""
    log = write_log.from_now()
    changes = {"status": {"registrations": None, "healthCheck": None, "supportedConfigs": None}}
    cluster.patch("managedclusteraddon", names.ADDON, changes, "--subresource=status")
    assert wait_until(lambda: len(log.writes(_CLUSTER)) > 0, REPAIR_SECONDS)
    _assert_quiet(cluster, log)
    status = cluster.get("managedclusteraddon")["status"]
    assert status["healthCheck"] == {"mode": "Lease"}
    assert status["registrations"][0]["subject"]["user"] == subjects.agent_user(_CLUSTER)
    assert [write.what for write in log.writes(_CLUSTER)] == ["patch managedclusteraddons/status"]


def _places(cluster: Membership) -> list[str]:
    """Where the addon is installed, by its status and by both ManifestWorks."""
    objects = [cluster.get("managedclusteraddon").get("status", {})]
    for name, kind in ((names.DEPLOY_WORK, "Deployment"), (names.IDENTITIES_WORK, "ConfigMap")):
        manifests = cluster.get("manifestwork", name)["spec"]["workload"]["manifests"]
        objects += [item["metadata"] for item in manifests if item["kind"] == kind]
    return [item.get("namespace", "") for item in objects]


def test_an_agent_stays_in_the_namespace_that_stood_in_a_lost_status_alone(
    ocm: Fleet, manager: Replica, write_log: WriteLog
) -> None:
    """As on a hub that was restored, where a backup has no status."""
    cluster = Membership(ocm, "restored")
    cluster.accept()
    cluster.wait_installed()
    elsewhere = ["elsewhere"] * 3
    moved = {"status": {"namespace": elsewhere[0]}}
    cluster.patch("managedclusteraddon", names.ADDON, moved, "--subresource=status")
    assert wait_until(lambda: _places(cluster) == elsewhere, REPAIR_SECONDS), _places(cluster)
    log = write_log.from_now()
    cluster.patch("managedclusteraddon", names.ADDON, {"status": None}, "--subresource=status")
    assert wait_until(lambda: bool(log.writes(cluster.name)), REPAIR_SECONDS)
    assert wait_until(lambda: _places(cluster) == elsewhere, REPAIR_SECONDS), _places(cluster)
    _assert_quiet(cluster, log)
    assert "patch manifestworks" not in [write.what for write in log.writes(cluster.name)]
    assert _places(cluster) == elsewhere


def test_what_others_add_to_the_three_is_left_there(cluster: Membership, write_log: WriteLog) -> None:
    log, extra = write_log.from_now(), {"metadata": {"labels": {"x": "y"}, "annotations": {"x": "y"}}}
    for kind, name in (("rolebinding", _RIGHTS), _WORK):
        cluster.patch(kind, name, extra)
    _assert_quiet(cluster, log)
    assert all(item["metadata"]["labels"]["x"] == "y" for item in cluster.made())
    assert log.writes(_CLUSTER) == []


@pytest.mark.parametrize(
    ("name", "labels"), [("none", {}), ("empty", {_LABELS: "{}"}), ("some", {_LABELS: '{"release":"x"}'})]
)
def test_with_prometheus_the_work_is_written_once(
    ocm: Fleet, manager: Replica, write_log: WriteLog, name: str, labels: dict[str, str]
) -> None:
    """The server drops what is empty from what it stores: to look for it again would be to write for ever."""
    cluster = Membership(ocm, f"monitored-{name}")
    cluster.accept()
    cluster.wait_installed()
    log, variables = write_log.from_now(), {"prometheusEnabled": "true"} | labels
    _configure(cluster, [{"name": key, "value": value} for key, value in variables.items()])
    assert wait_until(lambda: cluster.manifest("ServiceMonitor") != {}, REPAIR_SECONDS)
    _assert_quiet(cluster, log)
    written = [write.what for write in log.writes(cluster.name) if write.resource == "manifestworks"]
    assert written == ["patch manifestworks"]
    assert cluster.get(*_WORK)["metadata"]["generation"] == 2


def _configure(cluster: Membership, variables: list[dict[str, str]]) -> None:
    """By a configuration of that cluster's name."""
    group, name = "addon.open-cluster-management.io", {"name": cluster.name, "namespace": names.HUB_NAMESPACE}
    cluster.fleet.apply(
        {
            "apiVersion": f"{group}/v1alpha1",
            "kind": "AddOnDeploymentConfig",
            "metadata": name,
            "spec": {"customizedVariables": variables},
        }
    )
    referent = {"group": group, "resource": "addondeploymentconfigs", **name}
    cluster.patch("managedclusteraddon", names.ADDON, {"spec": {"configs": [referent]}})
