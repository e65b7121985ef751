"""What the demo plays on: a hub and managed clusters with OCM's stand-ins, and the manager as its manifests want it to run."""

import fcntl
import json
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from hack.clusters import HOME, Cluster, running
from hack.demo_talk import HUB
from hack.ocm.fleet import Fleet, Manager, Member
from hack.processes import Process
from msa.api import names

_MANAGER: Final = "managed-serviceaccount-addon-manager"
_PLANE: Final = ("etcd", "apiserver", "controller-manager")
_LAST_LINES: Final = 5


class AnotherDemoError(Exception):
    """The clusters of this clone belong to another demo, and so do their logs."""


@contextmanager
def alone() -> Iterator[None]:
    """No other demo in this clone: its clusters have the same names. Raises AnotherDemoError."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AnotherDemoError(
                "another demo is running in this clone: stop it with Ctrl-C in its terminal"
            ) from None
        yield


@contextmanager
def hub_with_ocm() -> Iterator[Fleet]:
    """A hub that knows nothing of our addon."""
    with running(HUB) as hub:
        fleet = Fleet(hub)
        fleet.install_ocm()
        fleet.start()
        try:
            yield fleet
        finally:
            fleet.stop()


@contextmanager
def managed_cluster(fleet: Fleet, name: str) -> Iterator[Member]:
    """A control plane with OCM's own kinds, which joins when it is told to."""
    with running(f"demo-{name}") as managed:
        member = Member(fleet, managed, name)
        member.install()
        try:
            yield member
        finally:
            member.stop()


@contextmanager
def deployed_manager(hub: Cluster) -> Iterator[Manager]:
    """The Deployment's pod as a process: its arguments, and by a token the rights of its ServiceAccount."""
    deployment = json.loads(
        hub.kubectl("get", "deployment", "-n", names.HUB_NAMESPACE, _MANAGER, "-o", "json")
    )
    pod = deployment["spec"]["template"]["spec"]
    account = ["-n", names.HUB_NAMESPACE, pod["serviceAccountName"], "--duration=168h"]
    token = hub.kubectl("create", "token", *account).strip()
    kubeconfig = kubeconfig_with(hub, {"token": token}, "manager")
    manager = Manager(hub, kubeconfig, flags=tuple(pod["containers"][0]["args"][1:]))
    manager.start()
    try:
        yield manager
    finally:
        manager.stop()


def kubeconfig_with(cluster: Cluster, user: dict[str, Any], name: str) -> Path:
    """For whoever has these credentials and nothing else."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = user
    file = cluster.folder / f"{name}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
    return file


def token_of(hub: Cluster, cluster: str, name: str) -> str:
    """The token in a Secret, "" while there is none."""
    wanted = ["-n", cluster, name, "--ignore-not-found", "-o", "jsonpath={.data.token}"]
    return b64decode(hub.kubectl("get", "secret", *wanted)).decode()


def available(fleet: Fleet, cluster: str) -> bool:
    return fleet.condition(cluster, "Available") == "True"


def agents(member: Member) -> list[Process]:
    """The processes that stand for the pods of its agent, those included that have ended."""
    pattern = f"agent-{member.name}-*.pid"
    return [Process(file.stem, file.parent) for file in sorted(member.managed.folder.glob(pattern))]


def port_of(process: Process, flag: str) -> int:
    """The port in one of the flags that a process was started with."""
    words = Path(f"/proc/{process.pid()}/cmdline").read_text().split("\0")
    return int(next(word for word in words if word.startswith(f"{flag}=")).rpartition(":")[2])


def fetched(port: int, path: str) -> str:
    """What a program of ours serves over plain HTTP, "" while it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return ""


def last_words() -> str:
    """The ends of the logs of all programs that are not Kubernetes' own."""
    logs = [log for log in sorted(HOME.glob("demo-*/*.log")) if log.stem not in _PLANE]
    return "\n".join(
        "\n".join([f"--- {log.parent.name}/{log.name}", *log.read_text().splitlines()[-_LAST_LINES:]])
        for log in logs
    )
