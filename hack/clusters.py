"""Real control planes (etcd, kube-apiserver, kube-controller-manager) as plain processes on loopback.

python -m hack.clusters up hub        start one, print its admin kubeconfig
python -m hack.clusters down hub      stop it and remove its state
python -m hack.clusters kubeconfig hub
python -m hack.clusters list
"""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import yaml
from attrs import field, frozen

from hack import binaries, kubectl
from hack.pki import Authority, create_signing_key
from hack.processes import Process, wait_until

HOME = Path(__file__).parents[1] / "build" / "clusters"
_READY_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
_PORTS = (15_000, 32_000)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class ClusterError(Exception):
    """A control plane that would not start; the message says where to look."""


@frozen
class Cluster:
    """One control plane and its folder of state.

    Attributes:
        folder: everything of it is in here.
        extra: more flags for kube-apiserver.
        address: where the API server listens, for pods too if it is not loopback; the machine must have it.
        die_with_parent: the kernel stops it when the process that started it ends.
    """

    name: str
    folder: Path
    extra: tuple[str, ...] = ()
    die_with_parent: bool = False
    address: str = LOOPBACK
    binaries: dict[str, Path] = field(
        factory=lambda: binaries.provide(binaries.Places.from_environment(os.environ)), repr=False
    )

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return self.folder / "admin.kubeconfig"

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self._port('apiserver')}"

    def up(self) -> None:
        """Starts it, or what of it does not run; returns when the API server is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.ca_file.exists():
            self._create_pki()
        if self.process("etcd").pid() is None:
            self._choose_ports()
            self._start_etcd()
        self.start_apiserver()
        self._start_controller_manager()

    def down(self) -> None:
        """Stops every process of it and removes its folder; nothing to do is no error."""
        for name in ("node", "controller-manager", "apiserver", "etcd"):
            self.process(name).stop(number=signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def process(self, name: str) -> Process:
        """etcd, apiserver, controller-manager or, of hack.node, node."""
        return Process(name, self.folder)

    def start_apiserver(self) -> None:
        process = self.process("apiserver")
        if process.pid() is None:
            self._run("apiserver", "kube-apiserver", *self._apiserver_flags())
        if (
            not wait_until(lambda: self._ready() or process.pid() is None, _READY_SECONDS, 0.1)
            or process.pid() is None
        ):
            last = process.log.read_text().strip().splitlines()[-3:]
            raise ClusterError(f"the API server of {self.name} did not become ready: {' | '.join(last)}")

    def stop_apiserver(self) -> None:
        self.process("apiserver").stop(number=signal.SIGKILL)

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = (), *, file: Path | None = None) -> Path:
        """Writes a kubeconfig whose holder is this user in these groups."""
        stem = user.replace(":", "-").replace("/", "-")
        Authority(self.folder).issue_client(stem, user, groups)
        return self._write_kubeconfig(file or self.folder / f"{stem}.kubeconfig", stem)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl prints as admin; with `check`, its failure is ours."""
        try:
            return kubectl.run(
                self.binaries["kubectl"], self.kubeconfig, *arguments, stdin=stdin, check=check
            )
        except kubectl.KubectlError as error:
            raise ClusterError(str(error)) from None

    def compact(self) -> None:
        """Drops etcd's history, so that older versions are answered with 410."""
        body = b'{"revision":"%d","physical":true}' % self._revision()
        self._etcd("/v3/kv/compaction", body)

    def replace_signing_key(self) -> None:
        """Makes the API server sign service account tokens with a new key and trust only that."""
        create_signing_key(self.folder)
        self.process("controller-manager").stop(number=signal.SIGKILL)
        self.stop_apiserver()
        self.start_apiserver()
        self._start_controller_manager()

    def _revision(self) -> int:
        answer = yaml.safe_load(self._etcd("/v3/kv/range", b'{"key":"AA=="}'))
        return int(answer["header"]["revision"])

    def _etcd(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port('etcd')}{path}", data=body)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own etcd
            content: bytes = answer.read()
            return content

    def _create_pki(self) -> None:
        authority = Authority.create(self.folder, self.name)
        hosts = (
            LOOPBACK,
            self.address,
            "10.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        )
        authority.issue_server("apiserver", hosts)
        authority.issue_client("admin", "admin", ("system:masters",))
        authority.issue_client("controller-manager", "system:kube-controller-manager", ())
        create_signing_key(self.folder)

    def _choose_ports(self) -> None:
        names = ("etcd", "etcd-peer", "apiserver", "controller-manager")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        (self.folder / "ports.yaml").write_text(yaml.safe_dump(ports))
        self._write_kubeconfig(self.kubeconfig, "admin")
        self._write_kubeconfig(self.folder / "controller-manager.kubeconfig", "controller-manager")

    def _port(self, name: str) -> int:
        return int(yaml.safe_load((self.folder / "ports.yaml").read_text())[name])

    def _write_kubeconfig(self, file: Path, stem: str) -> Path:
        def data(name: str) -> str:
            return b64encode((self.folder / name).read_bytes()).decode()

        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.name,
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": stem}}],
            "clusters": [
                {
                    "name": self.name,
                    "cluster": {"server": self.server, "certificate-authority-data": data("ca.crt")},
                }
            ],
            "users": [
                {
                    "name": stem,
                    "user": {
                        "client-certificate-data": data(f"{stem}.crt"),
                        "client-key-data": data(f"{stem}.key"),
                    },
                }
            ],
        }
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        return file

    def _run(self, name: str, binary: str, *flags: str) -> None:
        self.process(name).start([str(self.binaries[binary]), *flags], die_with_parent=self.die_with_parent)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{self._port(name)}" for name in ("etcd", "etcd-peer"))
        self._run(
            "etcd",
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--quota-backend-bytes=8589934592",
        )

    def _apiserver_flags(self) -> list[str]:
        folder = self.folder
        return [
            f"--etcd-servers=http://127.0.0.1:{self._port('etcd')}",
            f"--secure-port={self._port('apiserver')}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/16",
            # Nobody reaches a plane on loopback through a Service, and loopback is no endpoint.
            f"--endpoint-reconciler-type={'none' if self.address == LOOPBACK else 'lease'}",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
            *self.extra,
        ]

    def _start_controller_manager(self) -> None:
        if self.process("controller-manager").pid() is not None:
            return
        kubeconfig = self.folder / "controller-manager.kubeconfig"
        self._run(
            "controller-manager",
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--secure-port={self._port('controller-manager')}",
            "--bind-address=127.0.0.1",
            f"--service-account-private-key-file={self.folder / 'sa.key'}",
            f"--root-ca-file={self.ca_file}",
            f"--cluster-signing-cert-file={self.ca_file}",
            f"--cluster-signing-key-file={self.folder / 'ca.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        try:
            with urllib.request.urlopen(f"{self.server}/readyz", context=context, timeout=2) as answer:  # noqa: S310 - our own API server
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own word for fine
        except (OSError, urllib.error.URLError):
            return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the kernel gives to clients.

    A server that is restarted on a client's port may find it taken, even by a client that tried to reach it there and met itself.
    """
    chosen: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(chosen) < count:
            port = random.SystemRandom().randrange(*_PORTS)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                chosen.append(port)
    return chosen


@contextlib.contextmanager
def running(name: str, home: Path = HOME, *, extra: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A fresh control plane for as long as the block lasts; what a killed run left under this name is cleaned up first."""
    cluster = Cluster(name, home / name, extra=extra, die_with_parent=True)
    cluster.down()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def main(arguments: list[str]) -> int:
    if any(not _NAME.fullmatch(name) for name in arguments[1:]):
        raise ClusterError(
            f"{arguments[1]!r} is no name for a cluster: use lower-case letters, digits and dashes"
        )
    match arguments:
        case ["up", name]:
            cluster = Cluster(name, HOME / name)
            cluster.up()
            print(cluster.kubeconfig)
        case ["down", name]:
            Cluster(name, HOME / name, binaries={}).down()
        case ["kubeconfig", name]:
            if not (kubeconfig := Cluster(name, HOME / name, binaries={}).kubeconfig).exists():
                raise ClusterError(f"there is no cluster {name!r}: make cluster-up NAME={name}")
            print(kubeconfig)
        case ["list"]:
            for folder in sorted(HOME.glob("*/")):
                state = "up" if Process("apiserver", folder).pid() else "down"
                print(f"{folder.name}\t{state}\t{folder / 'admin.kubeconfig'}")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ClusterError, binaries.Unavailable) as error:
        sys.exit(f"clusters: {error}")
