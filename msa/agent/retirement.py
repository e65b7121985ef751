"""What becomes of a ServiceAccount whose ManagedServiceAccount is not there any more: it is deleted, and with it every token.

At once where the deletion was seen. Where it is only inferred, after a start or a full list, the hub may have been restored empty or
be another one: see `policy.removal`.
"""

from collections.abc import Callable
from datetime import timedelta

import anyio
from attrs import define, field

from msa.agent.failures import REFUSED_SECONDS
from msa.agent.observers import Observer
from msa.agent.ports import Hub, Managed
from msa.api.core import ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.policy.ownership import may_delete
from msa.policy.removal import HOLD_SECONDS, Absence, Confirm, Hold, Wait, removal
from msa.runtime.absences import Absences, Recent
from msa.runtime.ports import Now
from msa.runtime.result import Done, Key, RequeueAfter, Result
from msa.runtime.store import Store


@define
class Retirement:
    """Deletes ServiceAccounts.

    Attributes:
        identities: to count how many there are.
        replaced: whether the hub was found to be another one, or restored, since this agent runs.
        held: those whose deletion is held.
        released: deletions inferred up to this moment, on the monotonic clock, are meant.
        _recent: accounts that were deleted lately by inference alone.
    """

    hub: Hub
    managed: Managed
    identities: Store[ManagedServiceAccount]
    absences: Absences
    observer: Observer
    now: Now
    replaced: Callable[[], bool]
    held: set[Key] = field(factory=set)
    released: float = -1.0
    _recent: Recent[str] = field(factory=lambda: Recent(HOLD_SECONDS), init=False)

    async def __call__(self, key: Key, account: ServiceAccount | None, *, seen: bool) -> Result:
        """Takes one more look at an account without an identity.

        Args:
            key: the identity's name.
            account: None where there is none.
            seen: the identity is being deleted.
        """
        if account is None or not may_delete(account):
            self.forget(key)
            return Done()
        if account.metadata.deletion_timestamp is not None:
            return Done()  # its finalizers are others'
        if seen or self.absences.seen(key) is not None:
            return await self._delete(key, account)
        if account.metadata.uid in self._recent.items(anyio.current_time()):
            return Done()  # deleted already: its own event is under way
        absence = self._absence(key)
        match removal(absence):
            case Wait(seconds=seconds):
                return RequeueAfter(seconds)
            case Hold(seconds=seconds):
                self._hold(key, absence, seconds)
                return RequeueAfter(seconds)
            case Confirm():
                return await self._delete_missing(key, account, absence)

    def forget(self, key: Key) -> None:
        """Nothing is to be deleted for that name."""
        self.absences.forget(key)
        self.held.discard(key)

    def release(self, until: float) -> tuple[Key, ...]:
        """Deletions inferred up to `until` are meant; the keys that were held."""
        self.released = until
        return tuple(self.held)

    def _absence(self, key: Key) -> Absence:
        now = anyio.current_time()
        since, missing = self.absences.since(key, now), self.absences.inferred
        return Absence(
            now - since,
            missing,
            missing + len(self.identities),
            released=since <= self.released,
            deleted=len(self._recent.items(now)),
            replaced=self.replaced(),
        )

    def _hold(self, key: Key, absence: Absence, seconds: float) -> None:
        first = not self.held
        self.held.add(key)
        if first:
            until = self.now() + timedelta(seconds=seconds)
            self.observer.held(absence.missing + absence.deleted, absence.total + absence.deleted, until)

    async def _delete_missing(self, key: Key, account: ServiceAccount, absence: Absence) -> Result:
        result = await self._delete(key, account)
        if result == Done():
            self.absences.forget(key)
            if not absence.released:
                self._recent.add(account.metadata.uid, anyio.current_time())
        return result

    async def _delete(self, key: Key, account: ServiceAccount) -> Result:
        if await self.hub.identity_lives(key):
            return RequeueAfter(REFUSED_SECONDS)  # it cannot be read: the informer logs that
        await self.managed.delete_account(account)
        self.held.discard(key)
        return Done()
