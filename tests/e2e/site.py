"""Where the tests run: a hub, one of its managed clusters with real nodes, and the image in reach of both; known by environment variables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, frozen

from hack.charts import Release
from hack.kubectl import Kubeconfig
from hack.processes import wait_until
from msa.api import names
from tests.support.identities import get

VARIABLES = {
    "MSA_E2E_HUB": "kubeconfig of the hub's administrator",
    "MSA_E2E_MANAGED": "kubeconfig of the managed cluster's administrator; it may be the same cluster",
    "MSA_E2E_CLUSTER": "the managed cluster's name on the hub",
    "MSA_E2E_IMAGE": "name:tag of the image, which nodes of both have or can pull",
    "MSA_E2E_MIRROR": "another name of the repository that it is in, from which the managed cluster can pull it, too",
}
PATIENCE = 120.0
"""Seconds for pods to come up and go, and for what OCM does at its leisure."""

MANAGER = "managed-serviceaccount-addon-manager"


@frozen
class Site:
    """Both clusters, and what is installed there. Satisfies `tests.support.identities.Pair`."""

    hub: Kubeconfig
    managed: Kubeconfig
    cluster_name: str
    image: str
    mirror: str
    install_namespace: str = names.DEFAULT_INSTALL_NAMESPACE

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Site":
        """Raises ValueError that names what is missing."""
        missing = [f"{name} ({meaning})" for name, meaning in VARIABLES.items() if not environment.get(name)]
        if missing:
            raise ValueError(f"`make e2e` sets all of these, or set them yourself: {', '.join(missing)}")
        hub, managed, cluster, image, mirror = (environment[name] for name in VARIABLES)
        return cls(Kubeconfig(Path(hub)), Kubeconfig(Path(managed)), cluster, image, mirror)

    @property
    def release(self) -> Release:
        return Release(self.hub)

    def chart_values(self) -> tuple[str, ...]:
        """The image, as a user whose registry is not the public one says it."""
        repository, _, tag = self.image.rpartition(":")
        return (f"--set=image={repository}", f"--set-string=tag={tag}")

    def with_token(self, token: str) -> Kubeconfig:
        """The managed cluster as the token's bearer sees it."""
        config = yaml.safe_load(self.managed.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        file = self.managed.kubeconfig.with_suffix(".bearer")
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return evolve(self.managed, kubeconfig=file)

    def condition(self, type_: str) -> str:
        """The addon's condition, "" for none."""
        addon = get(self.hub, "managedclusteraddon", self.cluster_name, names.ADDON) or {}
        found = addon.get("status", {}).get("conditions", [])
        return next((item["status"] for item in found if item["type"] == type_), "")

    def agent(self) -> dict[str, Any] | None:
        """Its Deployment."""
        return get(self.managed, "deployment", self.install_namespace, names.AGENT_DEPLOYMENT)

    def agent_pods(self) -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        return _pods(self.managed, self.install_namespace, f"addon-agent={names.ADDON}")

    def manager_pods(self) -> list[dict[str, Any]]:
        return _pods(self.hub, names.HUB_NAMESPACE, f"open-cluster-management.io/addon={names.ADDON}")

    def wait_agent(self) -> None:
        """Until all its pods are as its Deployment says."""
        self._roll_out(self.managed, self.install_namespace, names.AGENT_DEPLOYMENT)

    def wait_manager(self) -> None:
        self._roll_out(self.hub, names.HUB_NAMESPACE, MANAGER)

    def wait_available(self) -> None:
        assert wait_until(lambda: self.condition("Available") == "True", PATIENCE, 0.5), get(
            self.hub, "managedclusteraddon", self.cluster_name, names.ADDON
        )

    def _roll_out(self, cluster: Kubeconfig, namespace: str, name: str) -> None:
        assert wait_until(lambda: get(cluster, "deployment", namespace, name) is not None, PATIENCE, 0.5)
        said = cluster.kubectl(
            *("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=55s"), check=False
        )
        assert "successfully rolled out" in said, said + cluster.kubectl("get", "pods", "-n", namespace)


def _pods(cluster: Kubeconfig, namespace: str, labels: str) -> list[dict[str, Any]]:
    found = json.loads(cluster.kubectl("get", "pods", "-n", namespace, f"--selector={labels}", "-o", "json"))
    return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]
