"""The addon's manager as its pod runs it: replicas with the token of the chart's ServiceAccount, and nobody else's rights."""

import contextlib
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import define, field, frozen
from prometheus_client.parser import text_string_to_metric_families

from hack.clusters import Cluster, free_ports
from hack.ocm.fleet import Fleet
from hack.processes import wait_until
from msa.api import names
from tests.integration.leaks import leaks

ACCOUNT: Final = f"system:serviceaccount:{names.HUB_NAMESPACE}:managed-serviceaccount"
PATIENCE: Final = 30.0
MADE: Final = (
    ("rolebinding", names.AGENT_ROLE),
    ("manifestwork", names.DEPLOY_WORK),
)
"""What the manager makes in each cluster's namespace."""


@define
class Replica:
    """One process of the manager, our own child, so that its exit code can be seen.

    Attributes:
        flags: more of them for `msa manager`.
        kubeconfig: made where it is not there, with a token of its own: by its id the audit log tells replicas apart.
    """

    hub: Cluster
    name: str
    flags: tuple[str, ...] = ()
    kubeconfig: Path = field()
    ports: tuple[int, ...] = field(factory=lambda: tuple(free_ports(2)))
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """All of it goes there, as its pod's does."""
        return self.hub.folder / f"manager-{self.name}.log"

    @kubeconfig.default
    def _own(self) -> Path:
        return self.hub.folder / f"manager-{self.name}.kubeconfig"

    def command(self) -> list[str]:
        health, metrics = self.ports
        return [
            *(sys.executable, "-m", "msa", "manager", f"--kubeconfig={self.kubeconfig}"),
            f"--namespace={names.HUB_NAMESPACE}",
            f"--health-probe-bind-address=127.0.0.1:{health}",
            f"--metrics-bind-address=127.0.0.1:{metrics}",
            *self.flags,
        ]

    def start(self) -> None:
        if not self.kubeconfig.exists():
            self.kubeconfig.touch(mode=0o600)
            self.kubeconfig.write_text(_with_token(self.hub))
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(self.command(), stdout=log, stderr=log)

    def send(self, number: int) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        assert self._child is not None
        return self._child.wait(seconds)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Asked to, and made to where it does not; one that has ended is no error."""
        if self._child is None:
            return
        self.send(signal.SIGTERM)
        try:
            self.wait(15.0)
        finally:
            self.kill()

    def ready(self) -> bool:
        return self._ask(self.ports[0], "readyz") is not None

    def alive(self) -> bool:
        return self._ask(self.ports[0], "livez") is not None

    def wait_ready(self) -> None:
        assert wait_until(self.ready, PATIENCE), self.log.read_text()[-2000:]

    def value(self, series: str, **labels: str) -> float:
        """Of a series with these labels, 0 where it is not there."""
        families = text_string_to_metric_families(self._ask(self.ports[1], "metrics") or "")
        samples = [sample for family in families for sample in family.samples]
        return sum(
            sample.value
            for sample in samples
            if sample.name == series and labels.items() <= sample.labels.items()
        )

    def said(self, event: str) -> bool:
        """Whether that is in its log."""
        return f'"event":"{event}"' in self.log.read_text()

    def _ask(self, port: int, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
                text: str = answer.read().decode()
                return text
        except (OSError, urllib.error.URLError):
            return None


@contextlib.contextmanager
def managing(hub: Cluster, name: str, *flags: str) -> Iterator[Replica]:
    """A replica that is ready; in the end it was refused nothing, and has neither crashed nor logged a token."""
    replica = Replica(hub, name, flags)
    replica.start()
    try:
        replica.wait_ready()
        yield replica
    finally:
        replica.stop()
    assert_clean(replica)


def assert_clean(replica: Replica) -> None:
    log = replica.log.read_text()
    assert "is forbidden" not in log, log
    assert '"level":"critical"' not in log, log
    assert leaks(replica.log, ()) == []


def _with_token(hub: Cluster) -> str:
    token = hub.kubectl("create", "token", "managed-serviceaccount", "-n", names.HUB_NAMESPACE).strip()
    config = yaml.safe_load(hub.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    return yaml.safe_dump(config)


def managed_cluster(
    name: str, *, accepted: bool = True, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": "cluster.open-cluster-management.io/v1",
        "kind": "ManagedCluster",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"hubAcceptsClient": accepted},
    }


@frozen
class Membership:
    """A cluster on the hub's side alone: what the manager makes for it and says of it; nobody applies that."""

    fleet: Fleet
    name: str

    def accept(self, *, accepted: bool = True, annotations: dict[str, str] | None = None) -> None:
        """Takes it in, or not; returns at once."""
        self.fleet.apply(managed_cluster(self.name, accepted=accepted, annotations=annotations))

    def get(self, kind: str, name: str = names.ADDON) -> Any:
        """An object in its namespace, {} where there is none."""
        return self.fleet.get(kind, name, self.name) or {}

    def made(self) -> list[Any]:
        """What the manager has made of `MADE`."""
        return [found for kind, name in MADE if (found := self.get(kind, name))]

    def wait_installed(self) -> None:
        assert wait_until(lambda: len(self.made()) == len(MADE), PATIENCE), self.made()

    def wait_withdrawn(self) -> None:
        assert wait_until(lambda: not self.made(), PATIENCE), self.made()

    def manifest(self, kind: str, name: str = "") -> Any:
        """An object that the cluster is to apply, {} where there is none."""
        work = self.get("manifestwork", names.DEPLOY_WORK)
        manifests = work["spec"]["workload"]["manifests"] if work else []
        found = [
            item for item in manifests if item["kind"] == kind and name in ("", item["metadata"]["name"])
        ]
        return found[0] if found else {}

    def image(self) -> str:
        """Of the agent."""
        deployment = self.manifest("Deployment")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else ""

    def condition(self, kind: str) -> Any:
        """A condition of the addon, {} where there is none."""
        conditions = self.get("managedclusteraddon").get("status", {}).get("conditions", ())
        return next((item for item in conditions if item["type"] == kind), {})

    def patch(self, kind: str, name: str, changes: object, *flags: str) -> None:
        command = ["patch", kind, name, "-n", self.name, "--type=merge", "-p", json.dumps(changes)]
        self.fleet.hub.kubectl(*command, *flags)

    def versions(self) -> list[str]:
        """Of what the manager writes, its status of the addon included: equal for as long as nobody writes."""
        objects = [*self.made(), self.get("managedclusteraddon")]
        return [item["metadata"]["resourceVersion"] for item in objects]
