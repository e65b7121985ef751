"""Writes to ManagedServiceAccounts on the hub: one request a method."""

from typing import Any, Protocol

from attrs import frozen

from msa.api.fleet_identity import FleetIdentity, StoredFleetIdentity
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.hub.ingest import whole_identity
from msa.hub.objects import Objects, Written, delete


class IdentityHub(Protocol):
    """Every method raises `ApiError`; those that change something fail with Conflict if it changed since it was read."""

    async def create(self, body: Body) -> str:
        """The new resourceVersion. Raises AlreadyExists where one of that name is there."""
        ...

    async def patch(self, stored: ObjectMeta, changes: Body) -> str:
        """Merges the changes into metadata and spec. The new resourceVersion."""
        ...

    async def whole(self, stored: ObjectMeta) -> FleetIdentity | None:
        """The one of that name, read now, with nothing cut; None where its status cannot be read. Raises NotFound."""
        ...

    async def patch_status(self, stored: ObjectMeta, changes: Body) -> str:
        """Merges the changes into the status. The new resourceVersion."""
        ...

    async def delete(self, stored: ObjectMeta) -> None:
        """Deletes exactly this one, by UID; it is no error if it is gone."""
        ...


@frozen
class IdentityWrites:
    """`IdentityHub` over the hub's API server."""

    identities: Objects

    async def create(self, body: Body) -> str:
        namespace = body["metadata"]["namespace"]
        written = await self.identities.within(namespace).create(body, into=Written)
        return written.metadata.resource_version

    async def patch(self, stored: ObjectMeta, changes: Body) -> str:
        return await self._patch(stored, changes, "")

    async def whole(self, stored: ObjectMeta) -> FleetIdentity | None:
        read = await self.identities.within(stored.namespace).get(stored.name, into=StoredFleetIdentity)
        return whole_identity(read)

    async def patch_status(self, stored: ObjectMeta, changes: Body) -> str:
        return await self._patch(stored, {"status": changes}, "status")

    async def delete(self, stored: ObjectMeta) -> None:
        await delete(self.identities, stored)

    async def _patch(self, stored: ObjectMeta, changes: Body, subresource: str) -> str:
        metadata: dict[str, Any] = changes.get("metadata", {})
        body = {**changes, "metadata": {**metadata, "resourceVersion": stored.resource_version}}
        resource = self.identities.within(stored.namespace)
        written = await resource.patch(stored.name, body, into=Written, subresource=subresource)
        return written.metadata.resource_version
