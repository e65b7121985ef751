"""What the addon manager asks of the hub. `hub.writes` sends it, tests script it."""

from enum import Enum
from typing import Protocol

from msa.api.addon import ClusterManagementAddOn, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body


class Kind(Enum):
    """What the manager makes in a cluster's namespace."""

    ROLE_BINDING = "RoleBinding"
    WORK = "ManifestWork"


class Hub(Protocol):
    """Every method raises `ApiError`; those that change something fail with Conflict if it changed since it was read."""

    async def create(self, kind: Kind, body: Body) -> str:
        """The new resourceVersion. Raises AlreadyExists where one of that name is there."""
        ...

    async def rewrite(self, kind: Kind, stored: ObjectMeta, body: Body) -> str:
        """Makes the stored object as the body says; foreign labels, annotations and finalizers stay. The new resourceVersion."""
        ...

    async def delete(self, kind: Kind, stored: ObjectMeta) -> bool:
        """Deletes exactly this one, by UID. False where it was gone already, which is no error."""
        ...

    async def whole_addon(self, addon: ManagedClusterAddOn) -> ManagedClusterAddOn | None:
        """The same, read now, with nothing cut; None where it is gone."""
        ...

    async def patch_addon_status(self, addon: ManagedClusterAddOn, changes: Body) -> str:
        """The new resourceVersion."""
        ...

    async def patch_fleet_status(self, fleet: ClusterManagementAddOn, changes: Body) -> str:
        """The new resourceVersion."""
        ...

    async def approve(self, request: SigningRequest) -> None:
        """Approves exactly this request, as it was read."""
        ...
