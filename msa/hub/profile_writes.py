"""`hub.profile_ports.ProfileHub` over the hub's API server: one request a method."""

from collections.abc import Sequence

from attrs import frozen

from msa.api.clusterprofile import ClusterProfile
from msa.api.core import Secret
from msa.api.meta import ObjectMeta
from msa.hub.bodies import Body
from msa.hub.objects import Objects, Written, delete
from msa.policy.profiles import Provider


@frozen
class ProfileWrites:
    secrets: Objects
    profiles: Objects

    async def read(self, namespace: str, name: str) -> Secret:
        return await self.secrets.within(namespace).get(name, into=Secret)

    async def create(self, body: Body) -> str:
        written = await self.secrets.within(body["metadata"]["namespace"]).create(body, into=Written)
        return written.metadata.resource_version

    async def rewrite(self, stored: ObjectMeta, body: Body) -> str:
        written = await self.secrets.within(stored.namespace).patch(stored.name, body, into=Written)
        return written.metadata.resource_version

    async def delete(self, stored: ObjectMeta) -> None:
        await delete(self.secrets, stored)

    async def publish(self, profile: ClusterProfile, providers: Sequence[Provider]) -> str:
        metadata = profile.metadata
        body = {
            "metadata": {"resourceVersion": metadata.resource_version},
            "status": {"accessProviders": list(providers) or None},
        }
        resource = self.profiles.within(metadata.namespace)
        written = await resource.patch(metadata.name, body, into=Written, subresource="status")
        return written.metadata.resource_version
