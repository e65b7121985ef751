"""The agent as it runs for real, on local control planes: its rights and no more, as a process of its own.

Used by the demo, the tests and the bench. On real clusters the addon manager does this.
"""

import json
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from attrs import frozen

from hack.clusters import Cluster
from hack.kubectl import Kubectl
from hack.processes import Process, wait_until
from msa.api import names
from msa.hub import render

MANIFESTS = Path(__file__).parents[1] / "manifests"
_AGENT_RULES = MANIFESTS / "charts/managed-serviceaccount/files/agent-hub-role.yaml"
_MANAGED_ROLE = "open-cluster-management:managed-serviceaccount:addon-agent"


@frozen
class Addon:
    """One agent between two control planes.

    Attributes:
        cluster_name: the managed cluster's name, and its namespace on the hub.
        install_namespace: on the managed cluster.
        flags: more of them for `msa agent`.
        health_port: of /readyz on loopback; 0 for none.
        metrics_port: of /metrics on loopback; 0 for none.
        replica: tells several agents of one cluster apart.
    """

    hub: Cluster
    managed: Cluster
    cluster_name: str = "cluster1"
    install_namespace: str = names.DEFAULT_INSTALL_NAMESPACE
    flags: tuple[str, ...] = ()
    health_port: int = 0
    metrics_port: int = 0
    replica: str = "one"

    @property
    def process(self) -> Process:
        return Process(f"agent-{self.cluster_name}-{self.replica}", self.managed.folder)

    @property
    def user(self) -> str:
        """Who the agent is on the hub: the addon's default identity (contract section 6)."""
        return f"system:open-cluster-management:cluster:{self.cluster_name}:addon:{names.ADDON}:agent:addon-agent"

    @property
    def hub_kubeconfig(self) -> Path:
        return self.managed.folder / f"hub-{self.cluster_name}.kubeconfig"

    def install(self) -> None:
        """CRD, namespaces and rights; what is there stays."""
        install_crd(self.hub)
        ensure_namespace(self.hub, self.cluster_name)
        ensure_namespace(self.managed, self.install_namespace)
        _apply(self.hub, [_hub_role(self.cluster_name)])
        _apply(self.managed, self._managed_roles())
        _bind(self.hub, self.cluster_name, f"role={names.AGENT_ROLE}", self.user, names.AGENT_ROLE)
        _bind(self.managed, self.install_namespace, f"role={_MANAGED_ROLE}", "msa-agent", _MANAGED_ROLE)
        _bind(self.managed, "", f"clusterrole={_MANAGED_ROLE}", "msa-agent", _MANAGED_ROLE)
        self.hub.kubeconfig_for(
            self.user, (f"system:open-cluster-management:addon:{names.ADDON}",), file=self.hub_kubeconfig
        )
        self.managed.kubeconfig_for("msa-agent")

    def _managed_roles(self) -> list[render.Manifest]:
        """Of what is deployed with an agent only its rights."""
        values = {"INSTALL_NAMESPACE": self.install_namespace, "CLUSTER_NAME": self.cluster_name}
        objects = render.agent_objects({**values, "AGENT_IMAGE": "none", "EPHEMERAL_IDENTITY": "true"})
        return [item for item in objects if item["kind"] in ("Role", "ClusterRole")]

    def start(self, *, wait: bool = True) -> None:
        """Starts the agent; with `wait` returns once its caches are synced."""
        self.process.start(self.command(), die_with_parent=self.managed.die_with_parent)
        if wait and not wait_until(self.ready, 30):
            raise RuntimeError(f"the agent is not ready: {self.process.log.read_text()[-2000:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.stop(number=number)

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "msa", "agent"),
            f"--cluster-name={self.cluster_name}",
            f"--kubeconfig={self.hub_kubeconfig}",
            f"--spoke-kubeconfig={self.managed.folder / 'msa-agent.kubeconfig'}",
            f"--namespace={self.install_namespace}",
            f"--metrics-bind-address=127.0.0.1:{self.metrics_port}"
            if self.metrics_port
            else "--metrics-bind-address=0",
            f"--health-probe-bind-address=127.0.0.1:{self.health_port}"
            if self.health_port
            else "--health-probe-bind-address=0",
            "--lease-health-check=true",
            *self.flags,
        ]

    def ready(self) -> bool:
        return self._well("/readyz")

    def alive(self) -> bool:
        return self._well("/livez")

    def _well(self, path: str) -> bool:
        try:
            return self._get(self.health_port, path).startswith("ok")
        except (OSError, urllib.error.URLError):
            return False

    def metrics(self) -> str:
        return self._get(self.metrics_port, "/metrics")

    def _get(self, port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


def install_crd(hub: Cluster) -> None:
    hub.kubectl("apply", "--server-side", "-f", str(MANIFESTS / "crd/bases"))
    hub.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{names.PLURAL}.{names.GROUP}")


def ensure_namespace(cluster: Kubectl, name: str) -> None:
    _apply(cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])


def agent_rules(*, ephemeral: bool) -> list[render.Manifest]:
    """What the chart lets an agent do in its cluster's namespace on the hub, with or without the gate EphemeralIdentity."""
    stored = yaml.safe_load(_AGENT_RULES.read_text())
    return [*stored["rules"], *(stored["ephemeral"] if ephemeral else ())]


def _hub_role(namespace: str) -> render.Manifest:
    """The agent's rights on the hub, those with EphemeralIdentity included."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": names.AGENT_ROLE, "namespace": namespace},
        "rules": agent_rules(ephemeral=True),
    }


def _apply(cluster: Kubectl, objects: list[render.Manifest]) -> None:
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    )


def _bind(cluster: Cluster, namespace: str, role: str, user: str, name: str) -> None:
    kind = ["rolebinding", name, "-n", namespace] if namespace else ["clusterrolebinding", name]
    manifest = cluster.kubectl(
        "create", *kind, f"--{role}", f"--user={user}", "--dry-run=client", "-o", "yaml"
    )
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
