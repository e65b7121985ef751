"""Who is told of what the agent did: Events for users, counters for dashboards."""

from typing import Protocol

from msa.api.managedserviceaccount import ManagedServiceAccount


class Observer(Protocol):
    """Told by the reconciler; never blocks, never fails."""

    def issued(self, identity: ManagedServiceAccount, reason: str, message: str, seconds: float) -> None:
        """A token was issued and written, in so many seconds."""
        ...

    def repaired(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        """Something of ours that was altered is as it should be again."""
        ...

    def refused(self, identity: ManagedServiceAccount, reason: str, message: str) -> None:
        """Nothing was done, since it is not ours to do."""
        ...

    def failed(self, identity: ManagedServiceAccount, reason: str, message: str) -> None: ...
