"""A plain `helm uninstall` tells the truth: it ends when each ManagedServiceAccount reports that the addon was removed."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.charts import Release, render
from hack.clusters import running
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.support.chart_hub import apply, body, forget, get
from tests.support.switching import CHART as PREDECESSOR

_PATIENCE = 60.0
_LEAVE = f"{names.ADDON}-leave"
_ONE = "agentInstallAll=false"
_WAYS = ("", "hubDeployMode=AddOnTemplate", _ONE, f"{_ONE},targetCluster=c1")
_ADDON_API = "addon.open-cluster-management.io/v1alpha1"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[Fleet]:
    """A hub that runs the manager's pods, and an accepted cluster without an agent: what that would report, tests write."""
    with running("uninstall", home) as hub:
        fleet = Fleet(hub)
        fleet.install_ocm()
        fleet.start(manager_pods=True)
        fleet.accept("c1")
        yield fleet
        fleet.stop()


@pytest.fixture
def release(fleet: Fleet) -> Iterator[Release]:
    release = Release(fleet.hub)
    yield release
    if release.exists():
        release.uninstall("--no-hooks")
    forget(fleet.hub)


def _install(fleet: Fleet, release: Release, *flags: str) -> None:
    """With one identity whose token is good."""
    release.install(*(f"--set={flag}" for flag in flags if flag))
    if _ONE in flags:
        apply(fleet.hub, body(_ADDON_API, "ManagedClusterAddOn", names.ADDON, "c1", spec={}))
    deployment = ("deployment/managed-serviceaccount-addon-manager", "-n", names.HUB_NAMESPACE)
    fleet.hub.kubectl("wait", *deployment, "--for=condition=Available", "--timeout=60s")
    assert wait_until(lambda: fleet.get("managedclusteraddon", names.ADDON, "c1") is not None, _PATIENCE)
    _say(fleet, "managedclusteraddon", names.ADDON, Available="Heartbeat")
    apply(fleet.hub, body(f"{names.GROUP}/v1beta1", names.KIND, "robot", "c1", spec={}))
    _say(fleet, "msa", "robot", TokenReported="TokenReported", Ready="TokenFresh")
    assert _ready(fleet) == ("True", "TokenFresh")


def _say(fleet: Fleet, kind: str, name: str, **conditions: str) -> None:
    """As the cluster would, True with these reasons."""
    said = [
        {
            "type": type_,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for type_, reason in conditions.items()
    ]
    patch = json.dumps({"status": {"conditions": said}})
    fleet.hub.kubectl("patch", kind, name, "-n", "c1", "--subresource=status", "--type=merge", "-p", patch)


def _ready(fleet: Fleet) -> tuple[str, str]:
    found = get(fleet.hub, "msa", "robot", "-n", "c1")["status"]["conditions"]
    return next((item["status"], item["reason"]) for item in found if item["type"] == "Ready")


def _left_of_hook(fleet: Fleet) -> str:
    kinds = "jobs,pods,serviceaccounts,networkpolicies,clusterroles,clusterrolebindings"
    lines = fleet.hub.kubectl("get", kinds, "-n", names.HUB_NAMESPACE, "-o", "name").splitlines()
    return " ".join(line for line in lines if "leave" in line)


def _events(fleet: Fleet) -> set[str]:
    """The reasons of the Events on the identity."""
    uid = get(fleet.hub, "msa", "robot", "-n", "c1")["metadata"]["uid"]
    found = get(fleet.hub, "events", "-n", "c1")["items"]
    return {item["reason"] for item in found if item["involvedObject"]["uid"] == uid}


@pytest.mark.parametrize("flags", _WAYS)
def test_an_uninstall_ends_with_ready_false_addon_removed_and_its_event(
    fleet: Fleet, release: Release, flags: str
) -> None:
    _install(fleet, release, flags)
    release.uninstall()
    assert _ready(fleet) == ("False", "AddonRemoved")
    assert "AddonRemoved" in _events(fleet)
    assert get(fleet.hub, "managedclusteraddon", "-A")["items"] == []
    assert _left_of_hook(fleet) == ""


def test_without_a_manager_an_uninstall_takes_no_longer_than_its_bound_and_does_not_fail(
    fleet: Fleet, release: Release
) -> None:
    _install(fleet, release, "", "leave.timeoutSeconds=3")
    deployment = ("deployment", "managed-serviceaccount-addon-manager", "-n", names.HUB_NAMESPACE)
    fleet.hub.kubectl("scale", *deployment, "--replicas=0")
    pods = ("-n", names.HUB_NAMESPACE, "-l", f"open-cluster-management.io/addon={names.ADDON}")
    assert wait_until(lambda: get(fleet.hub, "pods", *pods)["items"] == [], _PATIENCE)
    start = time.monotonic()
    release.uninstall()
    assert time.monotonic() - start < 30.0
    assert not release.exists()
    assert _ready(fleet) == ("True", "TokenFresh"), "nobody was there to say otherwise"


def test_neither_an_upgrade_nor_a_rollback_runs_it_and_another_charts_release_has_none_of_it(
    fleet: Fleet, release: Release
) -> None:
    Release(fleet.hub, PREDECESSOR).install()
    before = get(fleet.hub, "clustermanagementaddon", names.ADDON)["metadata"]["uid"]
    release.upgrade()
    assert "pre-delete" in release.hooks()
    release.rollback()
    assert get(fleet.hub, "clustermanagementaddon", names.ADDON)["metadata"]["uid"] == before
    assert "pre-delete" not in release.hooks()


def test_hooks_that_were_applied_as_ordinary_objects_delete_nothing(fleet: Fleet, release: Release) -> None:
    _install(fleet, release)
    before = get(fleet.hub, "clustermanagementaddon", names.ADDON)["metadata"]["uid"]
    text = render("--set=leave.when=Always", hooks=True)
    fleet.hub.kubectl("apply", "-f", "-", stdin=text)
    fleet.hub.kubectl(
        "wait", f"job/{_LEAVE}", "-n", names.HUB_NAMESPACE, "--for=condition=Complete", "--timeout=60s"
    )
    assert get(fleet.hub, "clustermanagementaddon", names.ADDON)["metadata"]["uid"] == before
    assert _ready(fleet) == ("True", "TokenFresh")
    release.uninstall()
    assert _left_of_hook(fleet) == ""


def test_on_a_hub_without_nodes_helm_waits_for_no_pod(fleet: Fleet, release: Release) -> None:
    node: dict[str, Any] = get(fleet.hub, "node", "stand-in")
    fleet.hub.kubectl("delete", "node", "stand-in")
    try:
        release.install()
        assert "pre-delete" not in release.hooks()
    finally:
        apply(fleet.hub, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node["metadata"]["name"]}})
