"""What the manager wrote on a hub, by the API server's own audit log, and by which replica."""

from pathlib import Path
from typing import Final

from attrs import frozen

from tests.support.audit_log import Answered, AuditLog, answered
from tests.support.manager import ACCOUNT

_CREDENTIAL: Final = "authentication.kubernetes.io/credential-id"
_RULES: Final = (
    {"level": "Metadata", "users": [ACCOUNT], "verbs": ["create", "update", "patch", "delete"]},
    {"level": "None"},
)


@frozen
class Write(Answered):
    """One of them.

    Attributes:
        credential: the id of the token that it came with.
    """

    credential: str

    @property
    def succeeded(self) -> bool:
        return self.code < 300


@frozen
class WriteLog:
    """All of them, from some moment on."""

    log: AuditLog

    @classmethod
    def at(cls, file: Path) -> "WriteLog":
        return cls(AuditLog(file, _RULES))

    def from_now(self) -> "WriteLog":
        return WriteLog(self.log.from_now())

    def writes(self, *namespaces: str) -> list[Write]:
        """All, or those in these namespaces; Leases are not among them: candidates write them before they lead."""
        found = [
            Write(**answered(entry), credential=entry["user"].get("extra", {}).get(_CREDENTIAL, [""])[0])
            for entry in self.log.entries()
        ]
        return [
            write
            for write in found
            if write.resource != "leases" and (not namespaces or write.namespace in namespaces)
        ]

    def count(self) -> int:
        """How many requests there were, quickly."""
        return len(self.log.lines())
