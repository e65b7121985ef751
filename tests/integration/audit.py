"""Who asked the two API servers for what."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from hack.addon import Addon
from tests.support.audit_log import Answered, AuditLog, answered

_RULES: Final = (
    {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager"]},
    {"level": "None", "userGroups": ["system:serviceaccounts"]},
    # With the answers: they are all tokens that were ever issued.
    {"level": "RequestResponse", "resources": [{"group": "", "resources": ["serviceaccounts/token"]}]},
    {"level": "Metadata"},
)
_UPKEEP = ("leases", "/openid/v1/jwks", "/api/v1", "events")
"""What an agent asks for besides the work on identities."""


@frozen
class Request(Answered):
    """One request that was answered; of a watch, one whose answer has begun.

    Attributes:
        token: that was issued in answer, "" for none.
    """

    user: str
    token: str


@frozen
class Audit:
    """Those of both API servers."""

    hub: AuditLog
    managed: AuditLog

    @classmethod
    def in_folder(cls, home: Path) -> "Audit":
        return cls(AuditLog(home / "hub.audit", _RULES), AuditLog(home / "managed.audit", _RULES))

    def from_now(self) -> "Audit":
        return Audit(self.hub.from_now(), self.managed.from_now())

    def tokens(self) -> set[str]:
        """All that the managed cluster issued."""
        return {request.token for request in _requests(self.managed)} - {""}

    def on_hub(self) -> list[Request]:
        """Everybody's."""
        return _requests(self.hub)

    def requests(self, addon: Addon) -> list[Request]:
        """The agent's, in the order in which they came.

        On the managed cluster all agents are one user: what is in no namespace may be another's that runs at the same time.
        """
        hub = [request for request in self.on_hub() if request.user == addon.user]
        managed = [
            request
            for request in _requests(self.managed)
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


def _requests(log: AuditLog) -> list[Request]:
    return [
        Request(**answered(entry), user=entry["user"]["username"], token=_issued(entry))
        for entry in log.entries()
        if _counts(entry)
    ]


def _counts(entry: Mapping[str, Any]) -> bool:
    """A watch counts when it begins, anything else when it is done."""
    return bool(entry["stage"] == ("ResponseStarted" if entry["verb"] == "watch" else "ResponseComplete"))


def _issued(entry: Mapping[str, Any]) -> str:
    answer = entry.get("responseObject", {})
    return str(answer["status"]["token"]) if answer.get("kind") == "TokenRequest" else ""
