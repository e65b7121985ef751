"""The ServiceAccount of one identity as it should be: created, adopted, marked; or why there is none.

It is judged at every look, by what it is now: one that somebody else has come to own or to apply is not ours any more.
"""

import anyio
from attrs import frozen

from msa.agent.anchor import Anchor
from msa.agent.failures import Asking, asking, refuse
from msa.agent.observers import Observer
from msa.agent.ports import Managed
from msa.api.core import ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.policy.ownership import is_labelled, owns_account, refused_account, terminating_account
from msa.runtime.errors import AlreadyExists
from msa.runtime.freshness import Freshness
from msa.runtime.result import Key
from msa.runtime.store import Store


@frozen
class AccountKeeper:
    """Writes ServiceAccounts on the managed cluster.

    Attributes:
        accounts: the copy that will show what was written.
    """

    managed: Managed
    anchor: Anchor
    accounts: Store[ServiceAccount]
    freshness: Freshness
    observer: Observer

    async def settle(
        self, key: Key, identity: ManagedServiceAccount, stored: ServiceAccount | None
    ) -> ServiceAccount:
        """The account, or raises Stopped."""
        if stored is None:
            return await self._create(key, identity)
        _judge(identity, stored)
        if is_labelled(stored.metadata) and self.anchor.holds(stored):
            return stored
        return await self._mark(key, identity)

    async def _create(self, key: Key, identity: ManagedServiceAccount) -> ServiceAccount:
        with asking(Asking.ACCOUNT):
            try:
                created = await self.managed.create_account(identity)
            except AlreadyExists:
                return await self._mark(key, identity)
        _judge(identity, created)  # admission may have given it another owner
        return self._written(key, created)

    async def _mark(self, key: Key, identity: ManagedServiceAccount) -> ServiceAccount:
        """The account as it is on the server, with our label, our annotation and its two owners."""
        with asking(Asking.ACCOUNT):
            stored = await self.managed.read_account(identity.metadata.name)
            _judge(identity, stored)
            labelled = is_labelled(stored.metadata)
            if labelled and self.anchor.holds(stored):
                return self._written(key, stored)
            marked = await self.managed.mark_account(stored, identity)
        _judge(identity, marked)
        if not labelled and is_labelled(marked.metadata):
            self.observer.repaired(
                identity, "ServiceAccountRelabelled", "the ServiceAccount's label was missing; restored it"
            )
        return self._written(key, marked)

    def _written(self, key: Key, account: ServiceAccount) -> ServiceAccount:
        self.freshness.wrote(key, self.accounts, account.metadata.resource_version, anyio.current_time())
        return account


def _judge(identity: ManagedServiceAccount, stored: ServiceAccount) -> None:
    """Raises Stopped where it is not ours, or not for long."""
    if not owns_account(identity, stored):
        raise refuse(refused_account(stored))
    if stored.metadata.deletion_timestamp is not None:
        raise refuse(terminating_account(stored))
