"""One node: its namespaces, its programs, and the control plane that it is joined to."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import yaml
from attrs import evolve, field, frozen

from hack import binaries, debian
from hack.clusters import Cluster
from hack.node import cgroups, config, needs
from hack.node.images import write_archive
from hack.node.network import ADDRESS, Link, attach, detach, remove_unused_bridge
from hack.processes import Process, wait_until

_PROGRAMS: Final = ("containerd", "kubelet", "kube-proxy", "kube-scheduler")
_SECONDS: Final = 60.0


class NodeError(Exception):
    """A node that cannot run here or would not start; the message is one line."""


@frozen
class Node:
    """The one node of a control plane; both have the same name.

    Attributes:
        cluster: as `joinable` made it.
    """

    cluster: Cluster
    programs: dict[str, Path] = field(factory=binaries.node, repr=False)

    @property
    def folder(self) -> Path:
        return self.cluster.folder / "node"

    @property
    def link(self) -> Link:
        return Link(int((self.folder / "number").read_text()))

    def up(self) -> None:
        """Starts control plane and node, or what of them does not run; returns when the node is Ready.

        Raises:
            NodeError: a program of it would not start.
        """
        if self._first.pid() is None or not (self.folder / "number").exists():
            self._make_namespaces()
        self.cluster.up()
        self._start(
            "containerd", f"--config={self._write('containerd.toml', config.containerd(self.folder))}"
        )
        self._wait("containerd", lambda: self._containerd("version").returncode == 0)
        self._load_pause()
        self._start_kubernetes()
        self._wait("kubelet", self._ready)

    def down(self) -> None:
        """Ends every process of node and control plane, and removes what they made; nothing to do is no error."""
        if self._first.pid() is not None and (self.folder / "number").exists():
            detach(self.link, self._end)
        else:
            self._end()
        cgroups.remove_unused(_cgroup_trees(), lambda link: link.exists)
        self.cluster.down()
        remove_unused_bridge()

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command in the node's namespaces, for as long as the node lives.

        Raises:
            NodeError: it does not.
        """
        if (pid := self._first.pid()) is None:
            raise NodeError(
                f"there is no node {self.cluster.name!r}: python -m hack.node up {self.cluster.name}"
            )
        spaces = f"/proc/{pid}/ns"
        return [
            "nsenter",
            f"--net={spaces}/net",
            f"--mount={spaces}/mnt",
            f"--pid={spaces}/pid_for_children",
            "--",
            *command,
        ]

    def load(self, archive: Path, name: str) -> None:
        """Gives the node an image.

        Args:
            archive: an OCI archive.
            name: whole, such as `localhost/msa:1`.

        Raises:
            NodeError: containerd does not take it.
        """
        done = self._containerd(
            "--namespace=k8s.io", "images", "import", "--local", f"--index-name={name}", str(archive)
        )
        if done.returncode != 0:
            raise NodeError(f"{archive} cannot be loaded: {done.stderr.strip()}")

    def _end(self) -> None:
        self._first.stop(number=signal.SIGKILL)
        for name in _PROGRAMS:
            self.cluster.process(name).stop(number=0)  # nsenter ends with its program, and reaps it

    @property
    def _first(self) -> Process:
        return self.cluster.process("node")

    def _make_namespaces(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._first.stop(number=signal.SIGKILL)
        ready, number = self.folder / "ready", self.folder / "number"
        for file in (ready, number):
            file.unlink(missing_ok=True)
        script = self._write("first.sh", config.first_process(self.folder, self.programs["pause"]))
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation=slave"]
        self._first.start([*apart, "sh", str(script)], die_with_parent=self.cluster.die_with_parent)
        self._wait("node", ready.exists)
        cgroups.remove_unused(_cgroup_trees(), lambda link: link.exists)
        link = attach(self._first.pid() or 0)
        subprocess.run(self.inside("sh", "-c", link.setup), check=True)
        cgroups.create(_cgroup_trees(), link)
        number.write_text(str(link.number))

    def _load_pause(self) -> None:
        archive = self.folder / "pause.tar"
        write_archive(archive, self.programs["pause"], binaries.machine())
        self.load(archive, config.PAUSE_IMAGE)

    def _start_kubernetes(self) -> None:
        name, link = self.cluster.name, self.link
        (self.folder / "cni").mkdir(exist_ok=True)
        self._write("cni/pods.conflist", json.dumps(config.cni(link)))
        kubelet = config.kubelet(self.cluster.folder, link, f"/{link.name}")
        self._start(
            "kubelet",
            f"--config={self._write('kubelet.yaml', yaml.safe_dump(kubelet))}",
            f"--kubeconfig={self.cluster.kubeconfig_for(f'system:node:{name}', ('system:nodes',))}",
            f"--hostname-override={name}",
            f"--node-ip={link.address}",
        )
        proxy = config.kube_proxy(self.cluster.kubeconfig_for("system:kube-proxy"), name, link)
        self._start("kube-proxy", f"--config={self._write('kube-proxy.yaml', yaml.safe_dump(proxy))}")
        scheduler = self.cluster.kubeconfig_for("system:kube-scheduler")
        self._start("kube-scheduler", f"--kubeconfig={scheduler}", "--leader-elect=false")

    def _start(self, name: str, *flags: str) -> None:
        process = self.cluster.process(name)
        if process.pid() is None:
            command = self.inside(str(self.programs[name]), *flags)
            process.start(command, die_with_parent=self.cluster.die_with_parent)

    def _write(self, name: str, content: str) -> Path:
        (self.folder / name).write_text(content)
        return self.folder / name

    def _wait(self, name: str, holds: Callable[[], bool]) -> None:
        process = self.cluster.process(name)
        if not wait_until(lambda: holds() or process.pid() is None, _SECONDS, 0.2) or process.pid() is None:
            last = process.log.read_text().strip().splitlines()[-3:]
            raise NodeError(f"{name} of {self.cluster.name} did not become ready: {' | '.join(last)}")

    def _containerd(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = self.inside(str(self.programs["ctr"]), f"--address={config.SOCKET}", *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def _ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return (
            self.cluster.kubectl("get", "node", self.cluster.name, "-o", f"jsonpath={path}", check=False)
            == "True"
        )


def joinable(cluster: Cluster) -> Cluster:
    """The same control plane, to which a node can be joined and which pods reach."""
    return evolve(
        cluster,
        address=ADDRESS,
        extra=(
            *cluster.extra,
            "--authorization-mode=Node",  # beside what it has
            f"--kubelet-client-certificate={cluster.folder / 'admin.crt'}",
            f"--kubelet-client-key={cluster.folder / 'admin.key'}",
            "--kubelet-preferred-address-types=InternalIP",
        ),
    )


@contextlib.contextmanager
def running_node(cluster: Cluster) -> Iterator[Node]:
    """This control plane, fresh, and its node for as long as the block lasts; what a killed run left is cleaned up first.

    Raises:
        NodeError: no node can run here (`needs.why_not` asks before).
    """
    prepare()
    node = Node(joinable(evolve(cluster, die_with_parent=True)))
    node.down()
    try:
        node.up()
        yield node
    finally:
        node.down()


def prepare() -> None:
    """Installs what a node needs and this machine lacks. Raises NodeError where none can run."""
    if reason := needs.why_not():
        raise NodeError(reason)
    try:
        debian.provide(**needs.PACKAGES)
    except debian.NotInstalled as error:
        raise NodeError(str(error)) from None


def _cgroup_trees() -> list[Path]:
    return cgroups.trees(Path("/proc/self/mounts").read_text())
