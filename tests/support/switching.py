"""A fleet of one cluster on the addon that ours replaces, its identities in use, and the way to ours and back with both managers alive."""

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from hack.charts import Release
from hack.clusters import Cluster
from hack.ocm.fleet import Fleet, Member
from hack.ocm.pods import PREDECESSOR
from hack.processes import Process, wait_until
from msa.api import names
from tests.support.manager import Replica

CHART: Final = Path(__file__).parents[2] / "hack/predecessor/chart"
_PATIENCE: Final = 90.0
_OK: Final = 200


@define
class Watched:
    """A `kubectl get --watch` in the background.

    Attributes:
        file: where its lines go.
    """

    cluster: Cluster
    file: Path
    arguments: tuple[str, ...]
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        command = [
            str(self.cluster.binaries["kubectl"]),
            f"--kubeconfig={self.cluster.kubeconfig}",
            *("get", "--watch", *self.arguments),
        ]
        with self.file.open("wb") as out:
            self._child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def stop(self) -> list[str]:
        """Ends it; what it has seen."""
        assert self._child is not None
        assert self._child.poll() is None, self.file.read_text()[-500:]
        self._child.terminate()
        self._child.wait(10.0)
        return self.file.read_text().splitlines()


@define
class Consumers:
    """Programs that use each token again and again, as fast as one thread can.

    Attributes:
        used: answers of the managed cluster.
        refused: of them, those that it refused, with the name of the token.
    """

    managed: Cluster
    tokens: dict[str, str]
    used: int = 0
    refused: list[str] = field(factory=list)
    _over: threading.Event = field(factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._use, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join(30.0)

    def _use(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.managed.ca_file))
        where = urllib.parse.urlsplit(self.managed.server).netloc
        while not self._over.is_set():
            for name, token in self.tokens.items():
                connection = http.client.HTTPSConnection(where, timeout=10, context=trust)
                connection.request("GET", "/api", headers={"Authorization": f"Bearer {token}"})
                status = connection.getresponse().status
                connection.close()
                if status != _OK:
                    self.refused.append(f"{name}: {status}")
                self.used += 1
            time.sleep(0.1)


@frozen
class Seen:
    """What one switch did.

    Attributes:
        deleted: ServiceAccounts that were deleted while it lasted.
        minted: identities whose token is another than before.
        available: every status that the addon's condition Available had.
        registered: the same of RegistrationApplied.
        events: reasons of the Events on identities.
    """

    deleted: list[str]
    minted: list[str]
    refused: list[str]
    used: int
    available: set[str]
    registered: set[str]
    events: set[str]


@define
class Switch:
    """One cluster of one fleet.

    Attributes:
        overlap: seconds for which both managers are alive.
    """

    fleet: Fleet
    member: Member
    overlap: float
    _ours: Replica | None = None

    @property
    def hub(self) -> Cluster:
        return self.fleet.hub

    @property
    def predecessor(self) -> Process:
        return Process("predecessor", self.hub.folder)

    def install(self, identities: int) -> None:
        """The predecessor, with so many identities that have a token."""
        Release(self.hub, CHART).install()
        self._start_predecessor()
        self.member.join()
        for number in range(identities):
            self._create(f"robot-{number}")
        wanted = [f"robot-{number}" for number in range(identities)]
        assert wait_until(lambda: set(wanted) <= set(self.tokens()), _PATIENCE, 0.5), self._logs()
        assert wait_until(
            lambda: self.fleet.condition(self.member.name, "Available") == "True", _PATIENCE, 0.5
        )

    def forth(self) -> Seen:
        """helm upgrade to ours."""
        return self._observed(self._forth)

    def back(self) -> Seen:
        """helm rollback to the predecessor."""
        return self._observed(self._back)

    def stop(self) -> None:
        self.member.stop()
        self.predecessor.stop()
        if self._ours is not None:
            self._ours.stop()

    def tokens(self) -> dict[str, str]:
        """By the identity's name."""
        found = json.loads(
            self.hub.kubectl(
                *("get", "secrets", "-n", self.member.name, "-l", f"{names.LABEL_MANAGED}=true", "-o", "json")
            )
        )
        return {
            item["metadata"]["name"]: b64decode(item["data"]["token"]).decode()
            for item in found["items"]
            if "token" in item.get("data", {})
        }

    def _forth(self) -> None:
        Release(self.hub).upgrade()
        self._ours = Replica(
            self.hub, "switching", ("--leader-elect", f"--agent-image-name={names.IMAGE}:ours")
        )
        self._ours.kubeconfig.unlink(missing_ok=True)  # helm made the ServiceAccount's rights anew
        self._ours.start()
        time.sleep(self.overlap)
        self.predecessor.stop()
        self._settled(":ours")
        assert wait_until(lambda: all(self._ready().values()), _PATIENCE, 0.5), (self._ready(), self._logs())

    def _back(self) -> None:
        Release(self.hub, CHART).rollback()
        self._start_predecessor()
        time.sleep(self.overlap)
        assert self._ours is not None
        self._ours.stop()
        self._settled(f":{PREDECESSOR}")

    def _settled(self, tag: str) -> None:
        """Its agent runs, and no other."""

        def runs() -> bool:
            pods = json.loads(
                self.member.managed.kubectl(
                    "get", "pods", "-A", "-l", f"addon-agent={names.ADDON}", "-o", "json"
                )
            )["items"]
            return (
                len(pods) == 1
                and _is_ready(pods[0])
                and pods[0]["spec"]["containers"][0]["image"].endswith(tag)
            )

        assert wait_until(runs, _PATIENCE, 0.5), self._logs()
        time.sleep(3.0)  # what would go wrong now goes wrong: garbage collection, a hasty agent

    def _observed(self, switch: Callable[[], None]) -> Seen:
        cluster, managed, folder = self.member.name, self.member.managed, self.hub.folder
        before = self.tokens()
        accounts = Watched(
            managed,
            folder / "accounts.watch",
            ("serviceaccounts", "-A", "-l", f"{names.LABEL_MANAGED}=true", "--output-watch-events"),
        )
        statuses = {
            kind: Watched(
                self.hub,
                folder / f"{kind}.watch",
                (
                    *("managedclusteraddon", names.ADDON, "-n", cluster),
                    f'-o=jsonpath={{.status.conditions[?(@.type=="{kind}")].status}}{{"\\n"}}',
                ),
            )
            for kind in ("Available", "RegistrationApplied")
        }
        consumers = Consumers(managed, before)
        consumers.start()
        for watch in (accounts, *statuses.values()):
            watch.start()
        try:
            switch()
        finally:
            consumers.stop()
            lines, said = accounts.stop(), {kind: set(watch.stop()) for kind, watch in statuses.items()}
        after = self.tokens()
        return Seen(
            deleted=[line for line in lines if line.startswith("DELETED")],
            minted=[name for name, token in before.items() if after.get(name) != token],
            refused=consumers.refused,
            used=consumers.used,
            available=said["Available"],
            registered=said["RegistrationApplied"],
            events=self._events(),
        )

    def _create(self, name: str) -> None:
        spec: dict[str, Any] = {"rotation": {}}
        metadata = {"name": name, "namespace": self.member.name}
        self.fleet.apply(
            {"apiVersion": f"{names.GROUP}/v1beta1", "kind": names.KIND, "metadata": metadata, "spec": spec}
        )

    def _ready(self) -> dict[str, bool]:
        found = json.loads(self.hub.kubectl("get", names.PLURAL, "-n", self.member.name, "-o", "json"))[
            "items"
        ]
        return {
            item["metadata"]["name"]: any(
                (said["type"], said["status"]) == ("Ready", "True")
                for said in item.get("status", {}).get("conditions", ())
            )
            for item in found
        }

    def _events(self) -> set[str]:
        found = json.loads(self.hub.kubectl("get", "events", "-n", self.member.name, "-o", "json"))["items"]
        return {item["reason"] for item in found if item["involvedObject"]["kind"] == names.KIND}

    def _start_predecessor(self) -> None:
        command = [
            *(sys.executable, "-m", "hack.predecessor", "manager"),
            f"--kubeconfig={self.hub.kubeconfig}",
            f"--agent-image-name={names.IMAGE}:{PREDECESSOR}",
        ]
        self.predecessor.start(command, die_with_parent=True)

    def _logs(self) -> str:
        """The ends of all programs' logs."""
        files = [*self.hub.folder.glob("*.log"), *self.member.managed.folder.glob("*.log")]
        chosen = [file for file in files if file.stem.startswith(("predecessor", "manager", "agent", "ocm"))]
        return "\n".join(f"== {file.name}\n{file.read_text()[-1500:]}" for file in chosen)


def _is_ready(pod: Any) -> bool:
    said = pod.get("status", {}).get("conditions", ())
    return any((item["type"], item["status"]) == ("Ready", "True") for item in said)
