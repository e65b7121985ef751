"""What an API server serves."""

from msgspec import Struct

from msa.kube.decoding import decode
from msa.kube.transport import Transport
from msa.runtime.errors import NotFound


class _Resource(Struct, frozen=True):
    name: str


class _Resources(Struct, frozen=True):
    resources: tuple[_Resource, ...] = ()


async def served(transport: Transport, group: str, version: str) -> frozenset[str]:
    """The resources of one version of an API group, by their plural names; none where it is not served.

    Raises:
        ApiError: the server does not say.
    """
    try:
        answer = await transport.send("GET", f"/apis/{group}/{version}")
    except NotFound:
        return frozenset()
    return frozenset(resource.name for resource in decode(answer, _Resources).resources)
