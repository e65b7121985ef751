"""What an API server answered, by its own audit log, so that no request goes uncounted."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml
from attrs import evolve, frozen

_RULE = Mapping[str, Any]


@frozen
class Answered:
    """One request.

    Attributes:
        at: when it came.
        done: when its stage of the log was reached.
        resource: with its subresource, as in RBAC; the path of what is no resource.
    """

    at: datetime
    done: datetime
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}"


@frozen
class AuditLog:
    """Read from an offset in bytes on.

    Attributes:
        rules: of the audit policy, which say what is logged at all.
    """

    file: Path
    rules: Sequence[_RULE]
    start: int = 0

    def flags(self) -> tuple[str, ...]:
        """For kube-apiserver; writes the policy that they name."""
        policy = self.file.with_suffix(".policy")
        content = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [*self.rules],
        }
        policy.write_text(yaml.safe_dump(content))
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self.file}")

    def from_now(self) -> Self:
        return evolve(self, start=self.file.stat().st_size)

    def lines(self) -> list[bytes]:
        with self.file.open("rb") as log:
            log.seek(self.start)
            return log.read().rpartition(b"\n")[0].splitlines()  # without a line that is being written

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


def answered(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of `Answered`."""
    reference = entry.get("objectRef", {})
    resource = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
    return {
        "at": datetime.fromisoformat(entry["requestReceivedTimestamp"]),
        "done": datetime.fromisoformat(entry["stageTimestamp"]),
        "verb": entry["verb"],
        "resource": resource or entry["requestURI"].partition("?")[0],
        "namespace": reference.get("namespace", ""),
        "name": reference.get("name", ""),
        "code": entry.get("responseStatus", {}).get("code", 0),
    }
