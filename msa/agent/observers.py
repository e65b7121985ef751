"""Who is told of what the agent did: Events for users, counters for dashboards."""

from datetime import datetime
from typing import Protocol

from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.policy.status import Trouble


class Observer(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def issued(self, identity: ManagedServiceAccount, reason: str, message: str, seconds: float) -> None:
        """A token was issued, in so many seconds, and written."""
        ...

    def repaired(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        """Something of ours that was altered is as it should be again."""
        ...

    def adopted(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        """What another agent wrote is kept by this one from now on; nothing was wrong."""
        ...

    def limited(self, identity: ManagedServiceAccount, type_: str, message: str) -> None:
        """From now on the identity gets less than its spec asks for; the type of the condition that says so."""
        ...

    def refused(self, identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        """Nothing was done, since it is not ours to do; `quietly` where the last look said the same."""
        ...

    def failed(self, identity: ManagedServiceAccount, trouble: Trouble, *, quietly: bool) -> None:
        """An attempt failed; `quietly` where the one before did, of the same cause, or where the next one, in a moment, may succeed."""
        ...

    def held(self, missing: int, total: int, until: datetime) -> None:
        """So many of so many ServiceAccounts would be deleted for what is only inferred: none is, until that time."""
        ...
