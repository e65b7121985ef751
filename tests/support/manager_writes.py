"""What the manager wrote on a hub, by the API server's own audit log, and by which replica."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import evolve, frozen

from tests.support.manager import ACCOUNT

_CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"
_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [ACCOUNT], "verbs": ["create", "update", "patch", "delete"]},
        {"level": "None"},
    ],
}


@frozen
class Write:
    """One that was answered.

    Attributes:
        at: when it came.
        done: when it was answered.
        credential: the id of the token that it came with.
        resource: with its subresource.
    """

    at: datetime
    done: datetime
    credential: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}"

    @property
    def succeeded(self) -> bool:
        return self.code < 300


@frozen
class WriteLog:
    """From an offset in bytes on."""

    file: Path
    start: int = 0

    def flags(self) -> tuple[str, ...]:
        """For kube-apiserver; writes the policy that they name."""
        policy = self.file.with_suffix(".policy")
        policy.write_text(yaml.safe_dump(_POLICY))
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self.file}")

    def from_now(self) -> "WriteLog":
        return evolve(self, start=self.file.stat().st_size)

    def writes(self, *namespaces: str) -> list[Write]:
        """All, or those in these namespaces; Leases are not among them: candidates write them before they lead."""
        found = [_write(json.loads(line)) for line in self._lines()]
        return [
            write
            for write in found
            if write.resource != "leases" and (not namespaces or write.namespace in namespaces)
        ]

    def count(self) -> int:
        """How many requests there were, quickly."""
        return len(self._lines())

    def _lines(self) -> list[bytes]:
        with self.file.open("rb") as log:
            log.seek(self.start)
            return log.read().rpartition(b"\n")[0].splitlines()  # without a line that is being written


def _write(entry: dict[str, Any]) -> Write:
    reference = entry["objectRef"]
    parts = (reference["resource"], reference.get("subresource", ""))
    return Write(
        at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
        done=datetime.fromisoformat(entry["stageTimestamp"]),
        credential=entry["user"].get("extra", {}).get(_CREDENTIAL, [""])[0],
        verb=entry["verb"],
        resource="/".join(filter(None, parts)),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=entry["responseStatus"]["code"],
    )
