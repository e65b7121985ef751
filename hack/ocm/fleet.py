"""A fleet for demos and tests: a hub with OCM's parts and our addon's manager, and clusters that join and leave it."""

import json
import signal
import sys
from base64 import b64encode
from pathlib import Path
from typing import Final

from attrs import field, frozen

from hack.addon import agent_rules, ensure_namespace, install_crd
from hack.clusters import Cluster, free_ports
from hack.ocm import kinds
from hack.ocm.api import Body
from hack.processes import Process, wait_until
from msa.api import names

_HERE: Final = Path(__file__).parent
_CRDS: Final = _HERE / "crds"
_BOTH_VERSIONS: Final = ("managedclusteraddons", "clustermanagementaddons")
_PATIENCE: Final = 30.0


@frozen
class Fleet:
    """OCM on a hub.

    Attributes:
        version: of OCM's addon API: v1alpha1 alone, or v1beta1.
    """

    hub: Cluster
    version: str = "v1alpha1"

    @property
    def process(self) -> Process:
        return Process("ocm-hub", self.hub.folder)

    def install(self) -> None:
        """OCM's CRDs and rights, and ours; without the addon itself."""
        self.install_ocm()
        install_crd(self.hub)

    def install_ocm(self) -> None:
        """OCM's alone, with the namespace that addons' managers live in."""
        files = [file for file in sorted(_CRDS.glob("*.yaml")) if not self._replaced(file)]
        if self.version == "v1beta1":
            files += sorted((_CRDS / "v1beta1").glob("*.yaml"))
        _establish(self.hub, files)
        for file in ("rbac.yaml", "global.yaml"):
            self.hub.kubectl("apply", f"--filename={_HERE / file}")
        ensure_namespace(self.hub, names.HUB_NAMESPACE)

    def _replaced(self, file: Path) -> bool:
        return self.version == "v1beta1" and file.stem in _BOTH_VERSIONS

    def start(self, *, manager_pods: bool = False) -> None:
        """Starts OCM's parts.

        Args:
            manager_pods: whether the addon manager's pods are run, too, as a kubelet would; the hub has a node then, as the chart sees it.
        """
        if manager_pods:
            self.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "stand-in"}})
        groups = ("system:serviceaccounts", "system:serviceaccounts:open-cluster-management-hub")
        addon_manager = self.hub.kubeconfig_for(kinds.ADDON_MANAGER, groups)
        command = [
            *(sys.executable, "-m", "hack.ocm", "hub"),
            f"--kubeconfig={self.hub.kubeconfig}",
            f"--addon-manager-kubeconfig={addon_manager}",
            *([f"--folder={self.hub.folder}"] if manager_pods else []),
        ]
        self.process.start(command, die_with_parent=self.hub.die_with_parent)

    def stop(self) -> None:
        self.process.stop()

    def add_addon(self) -> None:
        """The ClusterManagementAddOn and the agents' ClusterRole, as the chart makes them."""
        kind: Body = {"group": "addon.open-cluster-management.io", "resource": "addondeploymentconfigs"}
        placement = {"name": "global", "namespace": names.HUB_NAMESPACE, "rolloutStrategy": {"type": "All"}}
        spec: Body = {"installStrategy": {"type": "Placements", "placements": [placement]}}
        if self.version == "v1alpha1":
            spec["supportedConfigs"] = [kind]
        self.apply(
            {
                "apiVersion": f"addon.open-cluster-management.io/{self.version}",
                "kind": "ClusterManagementAddOn",
                "metadata": {"name": names.ADDON},
                "spec": spec,
            }
        )
        self.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": names.AGENT_ROLE},
                "rules": agent_rules(ephemeral=True),
            }
        )

    def apply(self, body: Body) -> None:
        self.hub.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def accept(self, cluster: str, managed: Cluster | None = None) -> None:
        """Takes a cluster in; returns when its own agents have their rights.

        Args:
            cluster: its name.
            managed: its control plane, whose address OCM tells in the ManagedCluster; None leaves that out.
        """
        spec: Body = {"hubAcceptsClient": True}
        if managed is not None:
            bundle = b64encode(managed.ca_file.read_bytes()).decode()
            spec["managedClusterClientConfigs"] = [{"url": managed.server, "caBundle": bundle}]
        self.apply(
            {
                "apiVersion": "cluster.open-cluster-management.io/v1",
                "kind": "ManagedCluster",
                "metadata": {"name": cluster},
                "spec": spec,
            }
        )
        binding = f"open-cluster-management:managedcluster:{cluster}:work"
        if not wait_until(lambda: self.get("rolebinding", binding, cluster) is not None, _PATIENCE):
            raise RuntimeError(f"{cluster} was not admitted: {self.process.log}")

    def remove(self, cluster: str) -> None:
        """Begins to detach a cluster; it is gone when nothing of it is left."""
        self.hub.kubectl("delete", "managedcluster", cluster, "--wait=false")

    def get(self, kind: str, name: str, namespace: str = "") -> Body | None:
        """An object of the hub; None where there is none."""
        within = ["-n", namespace] if namespace else []
        text = self.hub.kubectl("get", kind, name, *within, "-o", "json", "--ignore-not-found")
        found: Body | None = json.loads(text) if text.strip() else None
        return found

    def condition(self, cluster: str, kind: str) -> str:
        """The status of a condition of the addon on that cluster, "" for none."""
        addon = self.get("managedclusteraddon", names.ADDON, cluster)
        found = (addon or {}).get("status", {}).get("conditions", ())
        return next((item["status"] for item in found if item["type"] == kind), "")


@frozen
class Manager:
    """The addon's manager on the hub.

    Attributes:
        kubeconfig: whose rights it has.
        image: of the agents; nothing is pulled.
    """

    hub: Cluster
    kubeconfig: Path
    flags: tuple[str, ...] = ()
    image: str = f"{names.IMAGE}:demo"
    ports: tuple[int, ...] = field(factory=lambda: tuple(free_ports(2)))

    @property
    def process(self) -> Process:
        return Process("manager", self.hub.folder)

    def start(self) -> None:
        health, metrics = self.ports
        command = [
            *(sys.executable, "-m", "msa", "manager"),
            f"--kubeconfig={self.kubeconfig}",
            f"--agent-image-name={self.image}",
            f"--namespace={names.HUB_NAMESPACE}",
            f"--health-probe-bind-address=127.0.0.1:{health}",
            f"--metrics-bind-address=127.0.0.1:{metrics}",
            *self.flags,
        ]
        self.process.start(command, die_with_parent=self.hub.die_with_parent)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.stop(number=number)


@frozen
class Member:
    """A managed cluster of a fleet.

    Attributes:
        managed: its control plane; another cluster's agent may not live there too, for the names in it are fixed.
        agent: the name of its registration agent.
        flags: more, for `python -m hack.ocm cluster`.
    """

    fleet: Fleet
    managed: Cluster
    name: str
    agent: str = "agent1"
    flags: tuple[str, ...] = ()

    @property
    def process(self) -> Process:
        return Process(f"ocm-{self.name}", self.managed.folder)

    @property
    def user(self) -> str:
        """Who its agents are on the hub."""
        return f"system:open-cluster-management:{self.name}:{self.agent}"

    def install(self) -> None:
        """OCM's own kind on it."""
        _establish(self.managed, sorted((_CRDS / "managed").glob("*.yaml")))

    def join(self) -> None:
        """Accepted by the hub, and its agents started."""
        self.install()
        self.fleet.accept(self.name, self.managed)
        self.start()

    def start(self) -> None:
        groups = (
            f"system:open-cluster-management:{self.name}",
            "system:open-cluster-management:managed-clusters",
        )
        kubeconfig = self.fleet.hub.kubeconfig_for(self.user, groups)
        command = [
            *(sys.executable, "-m", "hack.ocm", "cluster", self.name),
            f"--hub-kubeconfig={kubeconfig}",
            f"--kubeconfig={self.managed.kubeconfig}",
            f"--folder={self.managed.folder}",
            *self.flags,
        ]
        self.process.start(command, die_with_parent=self.managed.die_with_parent)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Its agents, and with them the addon's pods."""
        self.process.stop(20.0, number=number)


def _establish(cluster: Cluster, files: list[Path]) -> None:
    chosen = [f"--filename={file}" for file in files]
    cluster.kubectl("apply", "--server-side", *chosen)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *chosen)
