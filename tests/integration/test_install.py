"""The chart on a real API server: installed as users install it, run with its own rights, upgraded and taken away."""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.addon import ensure_namespace
from hack.charts import Release
from hack.clusters import Cluster
from hack.processes import Process, wait_until
from msa.api import names
from tests.support import signing_requests
from tests.support.chart_hub import apply, bare_hub, body, forget, get

_MANAGER = f"system:serviceaccount:{names.HUB_NAMESPACE}:managed-serviceaccount"
_CRD = f"crd/{names.PLURAL}.{names.GROUP}"
_DEPLOYMENT = "deployment/managed-serviceaccount-addon-manager"
_AGENT = "system:open-cluster-management:cluster:{}:addon:managed-serviceaccount"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def plane(home: Path) -> Iterator[Cluster]:
    """A hub with OCM's kinds and nothing of ours."""
    with bare_hub("install", home, "--feature-gates=WatchList=false") as cluster:
        yield cluster


@pytest.fixture
def release(plane: Cluster) -> Iterator[Release]:
    """Not installed yet; nothing of it is left after the test."""
    release = Release(plane)
    yield release
    release.uninstall()
    forget(plane)


def test_the_users_command_installs_the_objects_of_the_contract(release: Release) -> None:
    notes = release.install()
    hub = release.hub
    assert "WARNING" not in notes
    assert get(hub, _CRD)["status"]["acceptedNames"]["kind"] == "ManagedServiceAccount"
    addon = get(hub, "clustermanagementaddon", "managed-serviceaccount")
    assert addon["spec"]["installStrategy"]["placements"][0]["namespace"] == names.HUB_NAMESPACE
    for kind in ("managedclustersetbinding", "placement"):
        assert get(hub, kind, "global", "-n", names.HUB_NAMESPACE)
    for kind, name in [
        ("serviceaccount", "managed-serviceaccount"),
        ("deployment", "managed-serviceaccount-addon-manager"),
        ("service", "managed-serviceaccount-addon-manager-metrics"),
    ]:
        assert get(hub, kind, name, "-n", names.HUB_NAMESPACE)


def test_one_target_cluster_gets_an_addon_of_its_own(release: Release) -> None:
    ensure_namespace(release.hub, "only")
    release.install("--set=agentInstallAll=false,targetCluster=only")
    assert get(release.hub, "managedclusteraddon", "managed-serviceaccount", "-n", "only")
    assert get(release.hub, "placement", "-n", names.HUB_NAMESPACE)["items"] == []


def test_the_managers_pod_may_run_where_pods_are_restricted(release: Release) -> None:
    release.install("--set=replicas=2")
    template = get(release.hub, _DEPLOYMENT, "-n", names.HUB_NAMESPACE)["spec"]["template"]
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(
        release.hub,
        {**body("v1", "Namespace", "strict"), "metadata": {"name": "strict", "labels": enforced}},
    )
    apply(release.hub, body("v1", "ServiceAccount", "managed-serviceaccount", "strict"))
    pod = body("v1", "Pod", "manager", "strict", spec=template["spec"])
    release.hub.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def _manager(hub: Cluster, replica: str = "one") -> Process:
    """The manager with the identity that its pod would have."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{names.HUB_NAMESPACE}")
    kubeconfig = hub.kubeconfig_for(_MANAGER, groups)
    process = Process(f"manager-{replica}", hub.folder)
    process.log.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-m", "msa", "manager", "--leader-elect", f"--kubeconfig={kubeconfig}"),
        *("--metrics-bind-address=0", "--health-probe-bind-address=0", f"--namespace={names.HUB_NAMESPACE}"),
        *("--agent-image-pull-secret=pull", "--feature-gates=EphemeralIdentity=true"),
    ]
    process.start(command, die_with_parent=True)
    return process


def _accept(hub: Cluster, cluster: str) -> None:
    """What OCM makes for a cluster that joins."""
    ensure_namespace(hub, cluster)
    fleet = get(hub, "clustermanagementaddon", "managed-serviceaccount")
    owner = {
        "apiVersion": "addon.open-cluster-management.io/v1alpha1",
        "kind": "ClusterManagementAddOn",
        "name": "managed-serviceaccount",
        "uid": fleet["metadata"]["uid"],
    }
    addon = body(
        "addon.open-cluster-management.io/v1alpha1", "ManagedClusterAddOn", names.ADDON, cluster, spec={}
    )
    addon["metadata"]["ownerReferences"] = [owner]
    managed = body("cluster.open-cluster-management.io/v1", "ManagedCluster", cluster)
    apply(hub, {**managed, "spec": {"hubAcceptsClient": True}}, addon)


def _request_certificate(hub: Cluster, cluster: str) -> None:
    """As the cluster's registration agent does it."""
    agents = f"system:open-cluster-management:{cluster}"
    hub.kubectl(
        "create",
        "clusterrole",
        "csr",
        "--verb=create",
        "--resource=certificatesigningrequests.certificates.k8s.io",
    )
    hub.kubectl("create", "clusterrolebinding", "csr", "--clusterrole=csr", f"--group={agents}")
    organisations = [_AGENT.format(cluster), "system:open-cluster-management:addon:managed-serviceaccount"]
    pem = signing_requests.pem(f"{_AGENT.format(cluster)}:agent:addon-agent", organisations)
    request = body("certificates.k8s.io/v1", "CertificateSigningRequest", f"addon-{cluster}-{names.ADDON}-x")
    request["metadata"]["labels"] = {
        "open-cluster-management.io/cluster-name": cluster,
        "open-cluster-management.io/addon-name": names.ADDON,
    }
    request["spec"] = {
        "request": b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["digital signature", "key encipherment", "client auth"],
    }
    who = [f"--as={agents}:registration", f"--as-group={agents}", "--as-group=system:authenticated"]
    hub.kubectl("create", *who, "-f", "-", stdin=json.dumps(request))


@pytest.fixture
def manager(plane: Cluster, release: Release) -> Iterator[Process]:
    """The manager with what the chart grants it, and a cluster that has joined; it is never refused anything."""
    release.install("--set=agentImagePullSecret=pull,featureGates.ephemeralIdentity=true")
    apply(plane, body("v1", "Secret", "pull", names.HUB_NAMESPACE))
    process = _manager(plane)
    _accept(plane, "cluster1")
    yield process
    process.stop()
    assert "is forbidden: User" not in process.log.read_text()


def test_the_manager_can_do_all_its_work_with_the_charts_rights(plane: Cluster, manager: Process) -> None:
    _request_certificate(plane, "cluster1")
    assert wait_until(lambda: _stands(plane), 30), manager.log.read_text()
    assert wait_until(lambda: "Approved" in plane.kubectl("get", "csr", "--no-headers"), 10)
    assert wait_until(lambda: "RegistrationApplied" in plane.kubectl(*_ADDON, "-o", "yaml"), 10)
    _drift(plane)
    assert wait_until(lambda: _stands(plane), 30), manager.log.read_text()
    _default_config(plane)
    assert wait_until(lambda: "specHash" in plane.kubectl(*_FLEET, "-o", "yaml"), 10)
    # Not deleted: then the garbage collector might be the first to do what the manager should.
    refused = json.dumps({"spec": {"hubAcceptsClient": False}})
    plane.kubectl("patch", "managedcluster", "cluster1", "--type=merge", "-p", refused)
    assert wait_until(lambda: not any(plane.kubectl("get", *kind) for kind in _MADE), 30)


def test_one_replica_follows_the_other_with_the_charts_rights(plane: Cluster, manager: Process) -> None:
    second = _manager(plane, "two")
    try:
        assert wait_until(lambda: '"ready"' in second.log.read_text(), 30)
        assert wait_until(lambda: '"leading"' in manager.log.read_text(), 10)
        manager.stop()
        assert wait_until(lambda: '"leading"' in second.log.read_text(), 10)
        lease = ("lease", names.MANAGER_LEADER_LEASE, "-n", names.HUB_NAMESPACE)
        renewed = get(plane, *lease)["spec"]["renewTime"]
        assert wait_until(lambda: bool(get(plane, *lease)["spec"]["renewTime"] != renewed), 10)
    finally:
        second.stop()
    assert "is forbidden: User" not in second.log.read_text()


_ADDON = ("get", "managedclusteraddon", names.ADDON, "-n", "cluster1")
_FLEET = ("get", "clustermanagementaddon", names.ADDON)
_MADE = [
    (kind, name, "-n", "cluster1", "--ignore-not-found", "-o", "yaml")
    for kind, name in (
        ("manifestwork", names.DEPLOY_WORK),
        ("rolebinding", names.AGENT_ROLE),
    )
]


def _stands(hub: Cluster) -> bool:
    """Whether the work is there in full, and the RoleBinding."""
    work, binding = (hub.kubectl("get", *kind) for kind in _MADE)
    return "kind: Deployment" in work and "agent:addon-agent" in binding


def _drift(hub: Cluster) -> None:
    """Somebody alters both."""
    changes = {
        "manifestwork": {"spec": {"workload": {"manifests": []}}},
        "rolebinding": {"subjects": []},
    }
    for kind, name, *_ in _MADE:
        hub.kubectl("patch", kind, name, "-n", "cluster1", "--type=merge", "-p", json.dumps(changes[kind]))


def _default_config(hub: Cluster) -> None:
    """As OCM's addon manager tells of it: the hash is for us to fill in."""
    api = "addon.open-cluster-management.io/v1alpha1"
    apply(hub, body(api, "AddOnDeploymentConfig", "default", "default", spec={}))
    reference = {
        "group": "addon.open-cluster-management.io",
        "resource": "addondeploymentconfigs",
        "desiredConfig": {"name": "default", "namespace": "default"},
    }
    status = json.dumps({"status": {"defaultconfigReferences": [reference]}})
    hub.kubectl("patch", *_FLEET[1:], "--subresource=status", "--type=merge", "-p", status)


@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("update", "managedserviceaccounts.authentication.open-cluster-management.io"),
        ("get", "clusterprofiles.multicluster.x-k8s.io"),
        ("patch", "managedclusteraddons.addon.open-cluster-management.io/another --subresource=status"),
        ("delete", "manifestworks.work.open-cluster-management.io/another"),
        ("delete", "rolebindings.rbac.authorization.k8s.io/another"),
        ("create", "roles.rbac.authorization.k8s.io"),
        ("list", "roles.rbac.authorization.k8s.io"),
        ("get", "secrets"),
        ("list", "secrets"),
        ("escalate", "roles.rbac.authorization.k8s.io"),
        ("bind", "clusterroles.rbac.authorization.k8s.io/cluster-admin"),
        ("update", "secrets"),
        ("approve", "signers.certificates.k8s.io/kubernetes.io/kube-apiserver-client-kubelet"),
        ("create", "pods"),
        ("impersonate", "users"),
    ],
)
def test_the_manager_may_not_do_what_is_not_its_work(installed: Cluster, verb: str, what: str) -> None:
    answer = installed.kubectl("auth", "can-i", verb, *what.split(), "-A", f"--as={_MANAGER}", check=False)
    assert answer.splitlines()[-1] == "no" or answer.startswith("no\n")


def _binding(role: str, **changes: Any) -> dict[str, Any]:
    binding = body("rbac.authorization.k8s.io/v1", "RoleBinding", names.AGENT_ROLE, "default")
    group = "rbac.authorization.k8s.io"
    agent = {"kind": "User", "apiGroup": group, "name": f"{_AGENT.format('default')}:agent:addon-agent"}
    reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
    return binding | {"roleRef": reference, "subjects": [agent]} | changes


@pytest.mark.parametrize(
    "role", ["edit", "cluster-admin", "open-cluster-management:managed-serviceaccount:addon-manager"]
)
def test_the_manager_binds_no_role_but_the_agents(installed: Cluster, role: str) -> None:
    said = _create(installed, _binding(role))
    assert (
        "attempting to grant RBAC permissions not currently held" in said
        or "may not bind" in said
        or "binds the ClusterRole" in said
    )


def _create(hub: Cluster, wanted: dict[str, Any]) -> str:
    command = ["create", f"--as={_MANAGER}", "--dry-run=server", "-f", "-"]
    return hub.kubectl(*command, stdin=json.dumps(wanted), check=False)


def test_the_manager_binds_the_agents_role_without_having_its_rights(installed: Cluster) -> None:
    assert "created" in _create(installed, _binding(names.AGENT_ROLE))


@pytest.fixture(scope="module")
def installed(plane: Cluster) -> Iterator[Cluster]:
    """The chart with its defaults, for tests that only look."""
    release = Release(plane)
    release.install()
    yield plane
    release.uninstall()
