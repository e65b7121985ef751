"""ManagedServiceAccounts of the whole hub, as wire types: those of the clusters, and those that are fanned out over cluster sets."""

from msgspec import Raw, Struct

from msa.api.managedserviceaccount import ManagedServiceAccount, Spec, Status
from msa.api.meta import ObjectMeta


class PlacementRef(Struct, frozen=True, gc=False, rename="camel"):
    """A Placement in the same namespace."""

    name: str = ""


class Rollout(Struct, frozen=True, gc=False, rename="camel"):
    """How fast a change reaches the clusters.

    Attributes:
        max_concurrent: clusters that are changed and not ready yet; a number, or a percentage as in "25%".
    """

    max_concurrent: int | str = "25%"


class FanOutSpec(Spec, frozen=True, gc=False, rename="camel"):
    """What the user asks for; the parts of its own are ignored in a cluster's namespace.

    Attributes:
        placement_ref: which clusters of the bound sets; None means all of them.
    """

    placement_ref: PlacementRef | None = None
    rollout: Rollout = Rollout()


class FailingCluster(Struct, frozen=True, gc=False, rename="camel"):
    cluster: str
    reason: str
    message: str = ""


class FanOut(Struct, frozen=True, gc=False, rename="camel"):
    """How it fares on the clusters.

    Attributes:
        desired: clusters that it belongs on.
        updated: of them, those whose ManagedServiceAccount says what this one says.
        ready: of them, those with a good token.
        failed: of them, those that report a failure, or cannot be written.
        failing: the first of the failed, by name.
    """

    desired: int = 0
    updated: int = 0
    ready: int = 0
    failed: int = 0
    failing: tuple[FailingCluster, ...] = ()


class FanOutStatus(Status, frozen=True, gc=False, rename="camel", omit_defaults=True):
    fan_out: FanOut | None = None


class FleetIdentity(ManagedServiceAccount, frozen=True, gc=False, rename="camel"):
    """As it is kept.

    Attributes:
        abridged: the conditions are not word for word those on the server, so that they must not be written back.
    """

    spec: FanOutSpec = FanOutSpec()
    status: FanOutStatus = FanOutStatus()
    abridged: bool = False


class StoredFleetIdentity(Struct, frozen=True, gc=False, rename="camel"):
    """The same as it comes over the wire; the status is not read yet, since a tenant may have written anything into it."""

    metadata: ObjectMeta
    spec: FanOutSpec = FanOutSpec()
    status: Raw = Raw(b"{}")
