"""Who asked the API servers for what: their own audit logs, so that no request goes uncounted."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, frozen

from hack.addon import Addon

_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "users": ["system:apiserver", "system:kube-controller-manager"],
        },
        {"level": "None", "userGroups": ["system:serviceaccounts"]},
        # With the answers: they are all tokens that were ever issued.
        {
            "level": "RequestResponse",
            "resources": [{"group": "", "resources": ["serviceaccounts/token"]}],
        },
        {"level": "Metadata"},
    ],
}
_UPKEEP = ("leases", "/openid/v1/jwks", "/api/v1", "events")
"""What an agent asks for besides the work on identities."""


@frozen
class Request:
    """One request that was answered; of a watch, one whose answer has begun.

    Attributes:
        at: when it came.
        done: when the answer was complete.
        resource: with its subresource; the path of what is no resource.
        token: that was issued in answer, "" for none.
    """

    at: datetime
    done: datetime
    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    token: str

    @property
    def what(self) -> str:
        return f"{self.verb} {self.resource}"


@frozen
class AuditLog:
    """That of one API server, from an offset in bytes on."""

    file: Path
    start: int = 0

    def flags(self) -> tuple[str, ...]:
        """For kube-apiserver; writes the policy that they name."""
        policy = self.file.with_suffix(".policy")
        policy.write_text(yaml.safe_dump(_POLICY))
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self.file}")

    def requests(self) -> list[Request]:
        with self.file.open("rb") as log:
            log.seek(self.start)
            lines = log.read().rpartition(b"\n")[0].splitlines()  # without a line that is being written
        return [_request(entry) for line in lines if _counts(entry := json.loads(line))]

    def from_now(self) -> "AuditLog":
        return evolve(self, start=self.file.stat().st_size)


@frozen
class Audit:
    """Those of both API servers."""

    hub: AuditLog
    managed: AuditLog

    def from_now(self) -> "Audit":
        return Audit(self.hub.from_now(), self.managed.from_now())

    def requests(self, addon: Addon) -> list[Request]:
        """The agent's, in the order in which they came.

        On the managed cluster all agents are one user: what is in no namespace may be another's that runs at the same time.
        """
        hub = [request for request in self.hub.requests() if request.user == addon.user]
        managed = [
            request
            for request in self.managed.requests()
            if request.user == "msa-agent" and request.namespace in ("", addon.install_namespace)
        ]
        return sorted(hub + managed, key=lambda request: request.at)

    def work(self, addon: Addon, name: str = "") -> list[Request]:
        """The agent's requests for identities, or for the one of that name: no watches, no Lease, no Events, no key set."""
        return [
            request
            for request in self.requests(addon)
            if request.verb != "watch" and request.resource not in _UPKEEP and name in ("", request.name)
        ]


def _counts(entry: dict[str, Any]) -> bool:
    """A watch counts when it begins, anything else when it is done."""
    return bool(entry["stage"] == ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"))


def _request(entry: dict[str, Any]) -> Request:
    reference = entry.get("objectRef", {})
    answer = entry.get("responseObject", {})
    return Request(
        at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
        done=datetime.fromisoformat(entry["stageTimestamp"]),
        user=entry["user"]["username"],
        verb=entry["verb"],
        resource=_resource(reference) or entry["requestURI"].partition("?")[0],
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
        token=answer["status"]["token"] if answer.get("kind") == "TokenRequest" else "",
    )


def _resource(reference: dict[str, str]) -> str:
    """As in RBAC: secrets, serviceaccounts/token."""
    parts = (reference.get("resource", ""), reference.get("subresource", ""))
    return "/".join(filter(None, parts))
