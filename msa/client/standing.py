"""What the condition Ready of a ManagedServiceAccount says of its token: that it can be used no more, although its Secret is there."""

import msgspec
from attrs import frozen

from msa.api.managedserviceaccount import Status, StoredIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.policy.readiness import ended


@frozen(eq=False)
class Standing:
    """What is kept of a ManagedServiceAccount.

    Attributes:
        ended: the condition that says so; None while the token may be used.
    """

    metadata: ObjectMeta
    ended: Condition | None


def read(stored: StoredIdentity) -> Standing:
    """Of a status that cannot be read nothing is known."""
    status = status_of(stored)
    return Standing(stored.metadata, ended(status.conditions) if status is not None else None)


def status_of(stored: StoredIdentity) -> Status | None:
    """None where it cannot be read."""
    try:
        return msgspec.json.decode(stored.status, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
