"""Objects of the hub's API server as the writers here see them: what `kube.resources.Resource` offers, and tests script."""

from typing import Protocol, TypeVar

from msgspec import Struct

from msa.api.meta import ObjectMeta
from msa.runtime.errors import Conflict, NotFound

R = TypeVar("R")


class Objects(Protocol):
    """One resource, in all namespaces or in one."""

    def within(self, namespace: str) -> "Objects": ...

    async def get(self, name: str, *, into: type[R]) -> R: ...

    async def create(self, body: object, *, into: type[R]) -> R: ...

    async def patch(self, name: str, body: object, *, into: type[R], subresource: str = "") -> R:
        """Sends a JSON merge patch."""
        ...

    async def json_patch(self, name: str, operations: object, *, into: type[R]) -> R: ...

    async def delete(self, name: str, *, uid: str = "") -> None: ...


class Written(Struct, frozen=True):
    """All that is read of an answer to a write: a token in it is skipped over."""

    metadata: ObjectMeta


async def delete(objects: Objects, stored: ObjectMeta) -> bool:
    """Deletes exactly this one, by UID. False where it was gone already, which is no error."""
    try:
        await objects.within(stored.namespace).delete(stored.name, uid=stored.uid)
    except (NotFound, Conflict):
        return False  # a conflict means that this one is gone too, and another has its name
    return True
