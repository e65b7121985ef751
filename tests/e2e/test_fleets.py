"""What consumers on the hub get: one identity for a cluster set, credentials of ClusterProfiles, and programs that read tokens, all in pods."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from hack.addon import ensure_namespace
from hack.kubectl import Kubectl
from hack.processes import wait_until
from msa.api import names
from tests.e2e.site import PATIENCE, Site
from tests.support.chart_hub import apply, body
from tests.support.identities import account, create, get, identity, secret, token, wait_ready

_TEAM = "e2e-team"
_CONSUMERS = "e2e-consumers"
_API = f"{names.GROUP}/{names.STORAGE_VERSION}"
_PROFILES = "clusterprofiles.multicluster.x-k8s.io"
_PYTHON = "/opt/msa/bin/python"
_PROGRAM = """
import hashlib, sys, anyio
from msa.client import TokenSource

async def main(cluster, name):
    async with TokenSource() as source:
        credential = await source.get(cluster, name)
        print(hashlib.sha256(credential.token.reveal().encode()).hexdigest())

anyio.run(main, *sys.argv[1:])
"""


def _who_is(site: Site, bearer: str) -> str:
    answer = site.with_token(bearer).kubectl("auth", "whoami", "-o", "json")
    return str(json.loads(answer)["status"]["userInfo"]["username"])


@pytest.fixture
def team(installed: Site) -> Iterator[Site]:
    """A namespace that the set of all clusters is bound to."""
    ensure_namespace(installed.hub, _TEAM)
    group = "cluster.open-cluster-management.io/v1beta2"
    apply(
        installed.hub,
        body(group, "ManagedClusterSetBinding", "global", _TEAM, spec={"clusterSet": "global"}),
    )
    yield installed
    installed.hub.kubectl("delete", names.PLURAL, "--all", "-n", _TEAM, "--timeout=60s")
    installed.hub.kubectl("delete", "namespace", _TEAM)


def test_one_object_in_a_bound_namespace_gives_a_token_that_the_cluster_takes(team: Site) -> None:
    apply(team.hub, body(_API, names.KIND, "everywhere", _TEAM, spec={"rollout": {"maxConcurrent": "100%"}}))
    assert wait_until(lambda: token(team, "everywhere") != "", PATIENCE)
    assert _who_is(team, token(team, "everywhere")).endswith(":everywhere")

    def told() -> dict[str, Any]:
        origin = get(team.hub, names.PLURAL, _TEAM, "everywhere") or {}
        return dict(origin.get("status", {}).get("fanOut", {}))

    assert wait_until(lambda: told().get("ready", 0) >= 1, PATIENCE), told()
    team.hub.kubectl("delete", names.PLURAL, "everywhere", "-n", _TEAM, "--timeout=60s")
    assert identity(team, "everywhere") is None
    assert wait_until(lambda: account(team, "everywhere") is None, PATIENCE)


@pytest.fixture(scope="module")
def consumers(installed: Site) -> Iterator[Site]:
    """A namespace for programs that may read Secrets of it and of the cluster; and the hub's manager with the gate ClusterProfile."""
    hub, cluster = installed.hub, installed.cluster_name
    ensure_namespace(hub, _CONSUMERS)
    hub.kubectl(
        "label", "--overwrite", f"namespace/{_CONSUMERS}", "pod-security.kubernetes.io/enforce=restricted"
    )
    for namespace in (_CONSUMERS, cluster):
        apply(hub, *_may_read_secrets(namespace))
    gate = "--set=featureGates.clusterProfile=true"
    installed.release.upgrade(gate, *installed.chart_values())
    installed.wait_manager()
    yield installed
    for namespace in (_CONSUMERS, cluster):
        hub.kubectl("delete", "role,rolebinding", "e2e-consumer", "-n", namespace)
    hub.kubectl("delete", "namespace", _CONSUMERS)


def _may_read_secrets(namespace: str) -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]
    reference = {"apiGroup": group, "kind": "Role", "name": "e2e-consumer"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": _CONSUMERS}
    return [
        body(f"{group}/v1", "Role", "e2e-consumer", namespace, rules=rules),
        body(f"{group}/v1", "RoleBinding", "e2e-consumer", namespace, roleRef=reference, subjects=[subject]),
    ]


def _output(site: Site, name: str, command: list[str], **environment: str) -> str:
    """Of a program of the image that ran to its end in a pod on the hub."""
    container = {
        "name": "program",
        "image": site.image,
        "command": command,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    apply(
        site.hub,
        body("v1", "Pod", name, _CONSUMERS, spec={"restartPolicy": "Never", "containers": [container]}),
    )
    assert wait_until(lambda: _phase(site.hub, name) in ("Succeeded", "Failed"), PATIENCE, 0.5)
    printed = site.hub.kubectl("logs", name, "-n", _CONSUMERS)
    assert _phase(site.hub, name) == "Succeeded", printed
    return printed


def _phase(hub: Kubectl, pod: str) -> str:
    return hub.kubectl("get", "pod", pod, "-n", _CONSUMERS, "-o", "jsonpath={.status.phase}")


def test_a_credential_reaches_the_clusters_profile_and_the_plugin_hands_it_out(consumers: Site) -> None:
    if _PROFILES not in consumers.hub.kubectl("api-resources", "-o", "name"):
        pytest.skip("the hub serves no ClusterProfiles: switch on OCM's feature gate ClusterProfile")
    cluster = consumers.cluster_name
    profile = body(
        "multicluster.x-k8s.io/v1alpha1",
        "ClusterProfile",
        cluster,
        _CONSUMERS,
        spec={"clusterManager": {"name": "open-cluster-management"}},
    )
    profile["metadata"]["labels"] = {
        "x-k8s.io/cluster-manager": "open-cluster-management",
        "open-cluster-management.io/cluster-name": cluster,
    }
    spec = {"clusterSet": "global"}
    group = "cluster.open-cluster-management.io/v1beta2"
    apply(consumers.hub, body(group, "ManagedClusterSetBinding", "global", _CONSUMERS, spec=spec), profile)
    create(consumers, "shared")
    wait_ready(consumers, "shared")
    label = f"{names.LABEL_SYNC_TO_PROFILE}=true"
    consumers.hub.kubectl("label", names.PLURAL, "shared", "-n", cluster, label)
    copy = f"{cluster}-shared"
    assert wait_until(lambda: get(consumers.hub, "secret", _CONSUMERS, copy) is not None, PATIENCE)
    asked = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {"interactive": False, "cluster": {"config": {"clusterName": cluster}}},
    }
    printed = _output(
        consumers,
        "plugin",
        ["/cp-creds", "--managed-serviceaccount=shared"],
        KUBERNETES_EXEC_INFO=json.dumps(asked),
    )
    answer = json.loads(printed)["status"]
    assert answer["token"] == token(consumers, "shared")
    assert answer["expirationTimestamp"].endswith("Z")
    assert _who_is(consumers, answer["token"]).endswith(":shared")
    consumers.hub.kubectl("label", names.PLURAL, "shared", "-n", cluster, f"{names.LABEL_SYNC_TO_PROFILE}-")
    assert wait_until(lambda: get(consumers.hub, "secret", _CONSUMERS, copy) is None, PATIENCE)


def test_a_program_reads_a_token_with_the_library(consumers: Site) -> None:
    create(consumers, "read")
    wait_ready(consumers, "read")
    command = [_PYTHON, "-c", _PROGRAM, consumers.cluster_name, "read"]
    printed = _output(consumers, "reader", command)
    assert secret(consumers, "read") is not None
    assert printed.strip() == hashlib.sha256(token(consumers, "read").encode()).hexdigest()
