"""Who is told of what the addon manager did: Events for users, counters for dashboards, lines for the log."""

from typing import Protocol

from msa.api.addon import ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.meta import Condition
from msa.hub.ports import Kind
from msa.policy.doubts import Doubt


class Observer(Protocol):
    """Told by the reconcilers; never blocks, never fails."""

    def wrote(self, cluster: str, kind: Kind, *, new: bool) -> None:
        """Something of ours was made, or put right, in a cluster's namespace."""
        ...

    def deleted(self, cluster: str, kind: Kind) -> None: ...

    def withdrawn(self, cluster: str, why: str) -> None:
        """The agent is on its way out."""
        ...

    def condition(self, addon: ManagedClusterAddOn, condition: Condition) -> None:
        """A condition of the addon on a cluster is another now."""
        ...

    def approved(self, request: SigningRequest) -> None: ...

    def doubted(self, request: SigningRequest, doubt: Doubt, *, logged: bool) -> None:
        """A request is left undecided; `logged` where an earlier process has logged that."""
        ...
