"""Programs that use identities: one with the client library, and kubectl with the credential plugin."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from hack.addon import MANIFESTS
from hack.clusters import Cluster
from hack.demo_stage import token_of
from hack.demo_talk import DemoError, relative, run, run_as, say, title, typed, waiting
from hack.ocm.fleet import Member
from msa.api import addon, clusterprofile, names

_ROOT: Final = MANIFESTS.parent
_NAMESPACE: Final = "argocd"
_IDENTITY: Final = "synced"
_ROBOTS: Final = f"{names.LABEL_ORIGIN_NAMESPACE}=robots"


def consume(hub: Cluster, member: Member) -> None:
    """Raises DemoError where a program does not get through."""
    title("A program on the hub asks every cluster for its version, with the client library")
    _ask_the_fleet(hub)
    title("kubectl calls a managed cluster with the plugin cp-creds: no token in its kubeconfig")
    say(
        f"the credential is copied to the ClusterProfile of {member.name} in namespace {_NAMESPACE}, which a set is bound to"
    )
    _profile(hub, member.name)
    run(hub, "apply", "-n", member.name, "-f", str(MANIFESTS / f"samples/{_IDENTITY}.yaml"))
    copy = f"{member.name}-{_IDENTITY}"
    waiting("there is a copy", lambda: token_of(hub, _NAMESPACE, copy) != "", 20)
    run(hub, "get", "secret", "-n", _NAMESPACE, copy)
    if _IDENTITY not in run_as(member.managed, _kubeconfig(hub, member), "auth", "whoami"):
        raise DemoError(f"{member.name} should know {_IDENTITY}")


def _ask_the_fleet(hub: Cluster) -> None:
    program = "examples/fleet.py"
    done = subprocess.run(
        [sys.executable, program, _ROBOTS],
        env={"KUBECONFIG": str(hub.kubeconfig)},
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    typed(f"python {program} {_ROBOTS}", done.stderr)
    if done.returncode != 0 or "does not tell" in done.stderr or " runs v" not in done.stderr:
        raise DemoError("every cluster should have told its version")


def _profile(hub: Cluster, cluster: str) -> None:
    """What OCM does on a hub with ClusterProfiles: one in each namespace that a set with the cluster is bound to."""
    binding = {"name": "global", "namespace": _NAMESPACE}
    labels = {addon.LABEL_CLUSTER: cluster, clusterprofile.LABEL_MANAGER: clusterprofile.MANAGER}
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        {
            "apiVersion": "cluster.open-cluster-management.io/v1beta2",
            "kind": "ManagedClusterSetBinding",
            "metadata": binding,
            "spec": {"clusterSet": "global"},
        },
        {
            "apiVersion": f"{clusterprofile.GROUP}/v1alpha1",
            "kind": clusterprofile.KIND,
            "metadata": {"name": cluster, "namespace": _NAMESPACE, "labels": labels},
            "spec": {"displayName": cluster, "clusterManager": {"name": clusterprofile.MANAGER}},
        },
    ]
    hub.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    run(hub, "get", "managedclustersetbindings,clusterprofiles", "-n", _NAMESPACE)


def _kubeconfig(hub: Cluster, member: Member) -> Path:
    """Of a consumer: where the cluster is, and which plugin knows how to come in."""
    config = yaml.safe_load(member.managed.kubeconfig.read_text())
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"clusterName": member.name}}
    config["clusters"][0]["cluster"]["extensions"] = [extension]
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(Path(sys.executable).with_name("cp-creds")),
            "args": [f"--managed-serviceaccount={_IDENTITY}"],
            "provideClusterInfo": True,
            "interactiveMode": "Never",
            "env": [
                {"name": "KUBECONFIG", "value": str(hub.kubeconfig)},
                {"name": "NAMESPACE", "value": _NAMESPACE},
            ],
        }
    }
    file = member.managed.folder / "cp-creds.kubeconfig"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    typed(f"grep -A13 exec: {relative(file)}", yaml.safe_dump(config["users"][0]["user"], sort_keys=False))
    return file
