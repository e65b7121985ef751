"""Conditions as OCM's own parts write them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from hack.ocm.api import Body


def condition(kind: str, status: str, reason: str, message: str = "", generation: int = 0) -> Body:
    made: Body = {"type": kind, "status": status, "reason": reason, "message": message}
    return made | ({"observedGeneration": generation} if generation else {})


def merged(stored: Sequence[Body], said: Iterable[Body]) -> list[Body]:
    """The stored ones with what is said now; a time moves only with its status."""
    by_type = {item["type"]: item for item in stored}
    for item in said:
        before = by_type.get(item["type"], {})
        stands = before.get("status") == item["status"]
        moved = before["lastTransitionTime"] if stands else datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        by_type[item["type"]] = item | {"lastTransitionTime": moved}
    return list(by_type.values())


def stands(conditions: Sequence[Body], kind: str, status: str = "True") -> bool:
    return any((item["type"], item["status"]) == (kind, status) for item in conditions)
