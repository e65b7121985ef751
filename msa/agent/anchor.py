"""What the identities' ServiceAccounts go with: an object that is there for as long as the addon is on the cluster (docs/adr/0005).

When the addon is taken off a cluster, its agent cannot be relied on to clean up: it is being deleted itself. So each ServiceAccount
has an ownerReference to this ConfigMap, which is deployed and removed together with the agent, and the garbage collector of the
cluster does the rest.
"""

from attrs import define
from msgspec import Struct

from msa.api import names
from msa.api.core import ServiceAccount
from msa.api.meta import ObjectMeta, OwnerReference
from msa.runtime.store import Store


class ConfigMap(Struct, frozen=True, gc=False):
    """core/v1 ConfigMap, as far as which one it is."""

    metadata: ObjectMeta


@define
class Anchor:
    """The ConfigMap as it is now.

    Attributes:
        store: the copy of it.
        namespace: where it is.
    """

    store: Store[ConfigMap]
    namespace: str
    _seen: bool = False

    @property
    def uid(self) -> str:
        """Its UID, "" where there is none: the agent was deployed by hand."""
        found = self.store.get(f"{self.namespace}/{names.ANCHOR}")
        if found is None or found.metadata.deletion_timestamp is not None:
            return ""
        self._seen = True
        return found.metadata.uid

    @property
    def reference(self) -> OwnerReference | None:
        """For what shall go with it; None where there is none."""
        uid = self.uid
        return OwnerReference("v1", "ConfigMap", names.ANCHOR, uid) if uid else None

    def holds(self, account: ServiceAccount) -> bool:
        """Whether a ServiceAccount goes with it; true where there is none to go with."""
        uid = self.uid
        return not uid or any(owner.uid == uid for owner in account.metadata.owner_references)

    @property
    def lifted(self) -> bool:
        """It was there and is not any more: the addon is being removed, and whatever is made now would stay behind."""
        return not self.uid and self._seen
