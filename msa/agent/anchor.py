"""What the identities' ServiceAccounts hang on: two objects that are there for as long as the addon is on the cluster (docs/adr/0011).

When the addon is taken off a cluster, its agent cannot be relied on to clean up: it is being deleted itself. So each ServiceAccount has
two ownerReferences, and the garbage collector of the cluster deletes it when *both* owners are gone: the agent's own ServiceAccount, which
one ManifestWork carries, and a ConfigMap, which another one carries. The disappearance of either alone deletes nothing.
"""

from attrs import define, field
from msgspec import Struct

from msa.api.core import ServiceAccount
from msa.api.meta import ObjectMeta, OwnerReference
from msa.policy.ownership import OWNERS
from msa.runtime.store import Store


class ConfigMap(Struct, frozen=True, gc=False):
    """core/v1 ConfigMap, as far as which one it is."""

    metadata: ObjectMeta


@define
class Anchor:
    """The two owners as they are now, and as they were last seen.

    Attributes:
        config_maps: the copy of the ConfigMap.
        accounts: the copy of the ServiceAccounts, the agent's own among them.
        namespace: where they are.
    """

    config_maps: Store[ConfigMap]
    accounts: Store[ServiceAccount]
    namespace: str
    _known: dict[str, OwnerReference] = field(factory=dict)
    _learnt: bool = False

    @property
    def uids(self) -> tuple[str, ...]:
        """Of the owners that are there now: none, one or two."""
        return tuple(reference.uid for reference in self._look())

    @property
    def owners(self) -> tuple[OwnerReference, ...]:
        """For a ServiceAccount or a Lease: both owners or none, never one.

        Once both were seen, by this agent or one before it, it is both, as they were last seen: an account that is created while one of them is missing shares the fate of
        the others, and is not left behind if the addon is on its way out.
        """
        self._look()
        return tuple(self._known.values()) if self._complete else ()

    def holds(self, account: ServiceAccount) -> bool:
        """Whether a ServiceAccount has all the owners that it should have; true as long as they are not both there."""
        uids = self.uids
        had = {owner.uid for owner in account.metadata.owner_references}
        return len(uids) < len(OWNERS) or had.issuperset(uids)

    @property
    def lifted(self) -> bool:
        """Both were there and neither is: the addon is being removed, and whatever is created now would stay behind."""
        return not self._look() and self._complete

    @property
    def _complete(self) -> bool:
        return len(self._known) == len(OWNERS)

    def _look(self) -> list[OwnerReference]:
        """The owners that are there now, remembered."""
        self._learn()
        found = []
        for kind, name in OWNERS:
            store: Store[ConfigMap] | Store[ServiceAccount] = (
                self.config_maps if kind == "ConfigMap" else self.accounts
            )
            stored = store.get(f"{self.namespace}/{name}")
            if stored is not None and stored.metadata.deletion_timestamp is None:
                found.append(OwnerReference("v1", kind, name, stored.metadata.uid))
        self._known.update({reference.kind: reference for reference in found})
        return found

    def _learn(self) -> None:
        """Once: an agent that starts while an owner is missing sees what it was on the accounts that hang on it."""
        if self._learnt or not self.accounts.synced:
            return
        self._learnt = True
        for account in self.accounts.values():
            for owner in account.metadata.owner_references:
                if (owner.kind, owner.name) in OWNERS:
                    self._known.setdefault(
                        owner.kind, OwnerReference("v1", owner.kind, owner.name, owner.uid)
                    )
