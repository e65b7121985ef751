"""From the chart to AVAILABLE: the manager with the chart's rights and a token of its ServiceAccount, and a real agent."""

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.clusters import running
from hack.ocm.fleet import Fleet, Member
from hack.processes import wait_until
from msa.api import names
from tests.support.manager import Membership, managing

_CLUSTER = "available"
_PATIENCE = 60.0
_AGENT_GROUP = f"system:open-cluster-management:cluster:{_CLUSTER}:addon:managed-serviceaccount"
_MANAGED_ROLE = "open-cluster-management:managed-serviceaccount:addon-agent"
_INSTALL = "open-cluster-management-agent-addon"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def member(ocm: Fleet, home: Path) -> Iterator[Member]:
    """Joined, and its addon available."""
    with (
        managing(ocm.hub, "availability", "--leader-elect", f"--agent-image-name={names.IMAGE}:v1"),
        running("available", home) as managed,
    ):
        member = Member(ocm, managed, _CLUSTER)
        member.join()
        try:
            assert wait_until(lambda: ocm.condition(_CLUSTER, "Available") == "True", _PATIENCE), (
                ocm.get("managedclusteraddon", names.ADDON, _CLUSTER),
                member.process.log.read_text()[-2000:],
            )
            yield member
        finally:
            member.stop()


@pytest.fixture
def cluster(ocm: Fleet, member: Member) -> Membership:
    return Membership(ocm, _CLUSTER)


def test_people_see_that_it_is_available(member: Member) -> None:
    lines = member.fleet.hub.kubectl("get", "managedclusteraddon", "-n", _CLUSTER).splitlines()
    head, row = (line.split() for line in lines)
    assert dict(zip(head, row, strict=False))["AVAILABLE"] == "True"


def test_the_addons_status_says_what_ocm_reads_there(cluster: Membership) -> None:
    status = cluster.get("managedclusteraddon")["status"]
    user = f"{_AGENT_GROUP}:agent:addon-agent"
    groups = [_AGENT_GROUP, "system:open-cluster-management:addon:managed-serviceaccount"]
    (registration,) = status["registrations"]
    assert registration["signerName"] == "kubernetes.io/kube-apiserver-client"
    assert registration["subject"] == {"user": user, "groups": groups}
    assert (status["namespace"], status["healthCheck"]) == (_INSTALL, {"mode": "Lease"})
    kind = {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
    assert status["supportedConfigs"] == [kind]
    reasons = {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}
    assert reasons["RegistrationApplied"] == ("True", "SetPermissionApplied")
    assert reasons["ManifestApplied"] == ("True", "AddonManifestApplied")


def test_the_hub_holds_what_the_contract_names(cluster: Membership) -> None:
    binding = cluster.get("rolebinding", "managed-serviceaccount-addon-agent")
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (
        "ClusterRole",
        "managed-serviceaccount-addon-agent",
    )
    user = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "User",
        "name": f"{_AGENT_GROUP}:agent:addon-agent",
    }
    assert binding["subjects"] == [user]
    work, addon = (
        cluster.get("manifestwork", "addon-managed-serviceaccount-deploy-0"),
        cluster.get("managedclusteraddon"),
    )
    assert work["metadata"]["labels"]["open-cluster-management.io/addon-name"] == "managed-serviceaccount"
    (owner,) = work["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ManagedClusterAddOn", "managed-serviceaccount")
    assert owner["uid"] == addon["metadata"]["uid"]


def _applied(member: Member, kind: str, name: str, namespace: str = _INSTALL) -> Any:
    return json.loads(member.managed.kubectl("get", kind, name, "-n", namespace, "-o", "json"))


def test_the_cluster_holds_what_the_contract_names(member: Member) -> None:
    for kind, name in (
        ("serviceaccount", "managed-serviceaccount"),
        ("role", _MANAGED_ROLE),
        ("rolebinding", _MANAGED_ROLE),
        ("clusterrole", _MANAGED_ROLE),
        ("clusterrolebinding", _MANAGED_ROLE),
        ("lease", "managed-serviceaccount"),
    ):
        assert _applied(member, kind, name)
    pod = _applied(member, "deployment", "managed-serviceaccount-addon-agent")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["name"], container["image"]) == ("addon-agent", f"{names.IMAGE}:v1")
    assert {f"--cluster-name={_CLUSTER}", "--kubeconfig=/etc/hub/kubeconfig"} <= set(container["args"])
    (mount,) = (item for item in container["volumeMounts"] if item["mountPath"] == "/etc/hub")
    volume = next(item for item in pod["volumes"] if item["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "managed-serviceaccount-hub-kubeconfig"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_an_identity_gets_its_token_on_the_hub(member: Member) -> None:
    body = {
        "apiVersion": f"{names.GROUP}/v1beta1",
        "kind": names.KIND,
        "metadata": {"name": "visitor", "namespace": _CLUSTER},
        "spec": {"rotation": {}},
    }
    member.fleet.apply(body)
    assert wait_until(lambda: member.fleet.get("secret", "visitor", _CLUSTER) is not None, _PATIENCE)
    stored = member.fleet.get("secret", "visitor", _CLUSTER)
    assert stored is not None
    assert set(stored["data"]) == {"token", "ca.crt"}
    assert b64decode(stored["data"]["ca.crt"]) == member.managed.ca_file.read_bytes()


def _ready(fleet: Fleet, name: str) -> tuple[str, str]:
    """Status and reason of an identity's condition Ready."""
    stored = fleet.get("msa", name, _CLUSTER) or {}
    conditions = stored.get("status", {}).get("conditions", ())
    return next(
        ((item["status"], item["reason"]) for item in conditions if item["type"] == "Ready"), ("", "")
    )


def _events(fleet: Fleet, name: str) -> set[str]:
    found = fleet.hub.kubectl(
        "get", "events", "-n", _CLUSTER, f"--field-selector=involvedObject.name={name}", "-o", "json"
    )
    return {item["reason"] for item in json.loads(found)["items"]}


def _identity(fleet: Fleet, name: str) -> None:
    metadata = {"name": name, "namespace": _CLUSTER}
    fleet.apply(
        {"apiVersion": f"{names.GROUP}/v1beta1", "kind": names.KIND, "metadata": metadata, "spec": {}}
    )
    assert wait_until(lambda: _ready(fleet, name) == ("True", "TokenFresh"), _PATIENCE), _ready(fleet, name)


def test_ready_is_unknown_while_the_agent_is_silent_and_true_again_when_it_is_back(
    cluster: Membership, member: Member
) -> None:
    fleet = member.fleet
    _identity(fleet, "waiting")
    member.stop()
    said = [
        {**item, "status": "False"} if item["type"] == "Available" else item for item in _conditions(cluster)
    ]
    cluster.patch(
        "managedclusteraddon", names.ADDON, {"status": {"conditions": said}}, "--subresource=status"
    )
    try:
        assert wait_until(lambda: _ready(fleet, "waiting") == ("Unknown", "AgentUnavailable"), _PATIENCE)
    finally:
        member.start()
    assert wait_until(lambda: _ready(fleet, "waiting") == ("True", "TokenFresh"), _PATIENCE), _conditions(
        cluster
    )
    assert wait_until(lambda: {"AgentUnavailable", "TokenFresh"} <= _events(fleet, "waiting"), 15.0)


def _conditions(cluster: Membership) -> list[Any]:
    found: list[Any] = cluster.get("managedclusteraddon")["status"]["conditions"]
    return found


def test_a_removed_addon_is_told_and_a_new_one_brings_new_tokens(
    member: Member,
) -> None:
    fleet, hub = member.fleet, member.fleet.hub
    _identity(fleet, "leaving")
    before = fleet.get("secret", "leaving", _CLUSTER)
    _strategy(fleet, "Manual")
    try:
        hub.kubectl("delete", "managedclusteraddon", names.ADDON, "-n", _CLUSTER, "--wait=false")
        assert wait_until(lambda: _ready(fleet, "leaving") == ("False", "AddonRemoved"), _PATIENCE)
        assert wait_until(lambda: "AddonRemoved" in _events(fleet, "leaving"), 15.0)
        assert wait_until(lambda: not _accounts(member), _PATIENCE), _accounts(member)
    finally:
        _strategy(fleet, "Placements")
    assert wait_until(lambda: _ready(fleet, "leaving") == ("True", "TokenFresh"), _PATIENCE)
    after = fleet.get("secret", "leaving", _CLUSTER)
    assert before is not None
    assert after is not None
    assert after["data"]["token"] != before["data"]["token"]


def test_conditions_of_others_are_kept_word_for_word_when_the_manager_adds_its_own(member: Member) -> None:
    fleet = member.fleet
    _identity(fleet, "backed-up")
    others = {"type": "BackedUp", "status": "True", "reason": "Done", "message": "a\n" + "m" * 3000}
    stored = [*_all_conditions(fleet, "backed-up"), {**others, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    on = ("msa", "backed-up", "-n", _CLUSTER)
    patch = json.dumps({"status": {"conditions": stored}})
    fleet.hub.kubectl("patch", *on, "--subresource=status", "--type=merge", "-p", patch)
    fleet.hub.kubectl("label", *on, f"{names.LABEL_SYNC_TO_PROFILE}=true")

    def said() -> dict[str, str]:
        return {item["type"]: item["message"] for item in _all_conditions(fleet, "backed-up")}

    assert wait_until(lambda: "FieldsIgnored" in said(), _PATIENCE), said()
    assert said()["BackedUp"] == others["message"]


def _all_conditions(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    found = fleet.get(names.PLURAL, name, _CLUSTER) or {}
    conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions", [])
    return conditions


def _strategy(fleet: Fleet, kind: str) -> None:
    """Whether OCM makes the addon on every cluster by itself."""
    operations = [{"op": "replace", "path": "/spec/installStrategy/type", "value": kind}]
    fleet.hub.kubectl(
        "patch", "clustermanagementaddon", names.ADDON, "--type=json", "-p", json.dumps(operations)
    )


def _accounts(member: Member) -> str:
    return member.managed.kubectl(
        "get", "serviceaccount", "-n", _INSTALL, "-l", f"{names.LABEL_MANAGED}=true", "-o", "name"
    )
