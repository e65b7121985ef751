"""What the reconcilers for ClusterProfiles ask of the hub, and whom they tell. `hub.profile_writes` sends it, tests script it."""

from collections.abc import Sequence
from typing import Protocol

from msa.api.clusterprofile import ClusterProfile
from msa.api.core import Secret
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.policy.profiles import Provider, Rejection


class ProfileHub(Protocol):
    """Every method raises `ApiError`; those that change something fail with Conflict if it changed since it was read."""

    async def read(self, namespace: str, name: str) -> Secret:
        """A Secret with its content: to be handed on at once, and never kept."""
        ...

    async def create(self, body: Body) -> str:
        """Makes a Secret; the new resourceVersion. Raises AlreadyExists where one of that name is there."""
        ...

    async def rewrite(self, stored: ObjectMeta, body: Body) -> str:
        """Merges the body into the stored Secret: foreign labels and annotations stay. The new resourceVersion."""
        ...

    async def delete(self, stored: ObjectMeta) -> None:
        """Deletes exactly this Secret, by UID; one that is gone already is no error."""
        ...

    async def publish(self, profile: ClusterProfile, providers: Sequence[Provider]) -> str:
        """Writes the profile's `status.accessProviders`; the new resourceVersion."""
        ...


class ProfileObserver(Protocol):
    """Told by the reconcilers; never blocks, never fails."""

    def wrote(self, copy: str, *, new: bool) -> None:
        """A copy was made, or follows its source again; by `namespace/name`."""
        ...

    def deleted(self, copy: str) -> None: ...

    def held(self, profile: ClusterProfile) -> None:
        """What the profile has would be taken away with most of all, and nobody saw why."""
        ...

    def holding(self, kind: str, count: int) -> None:
        """Of so many profiles or copies, what a profile has is held now: `copy` or `access`."""
        ...

    def refused(self, identity: FleetIdentity, rejection: Rejection, *, repeated: bool) -> None:
        """A copy is not made; `repeated` where that was told before."""
        ...

    def published(self, profile: str, *, withdrawn: bool) -> None:
        """A profile says how to reach its cluster, or no longer says it."""
        ...
