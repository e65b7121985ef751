"""Objects of the hub's API server as the writers here see them: what `kube.resources.Resource` offers, and tests script."""

from typing import Any, Protocol, TypeVar

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


async def create(objects: Objects, body: dict[str, Any]) -> str:
    """The new resourceVersion. Raises AlreadyExists where one of that name is there."""
    written = await objects.within(body["metadata"]["namespace"]).create(body, into=Written)
    return written.metadata.resource_version


async def rewrite(objects: Objects, stored: ObjectMeta, body: dict[str, Any]) -> str:
    """Makes the stored object as the body says; foreign labels, annotations and finalizers stay. The new resourceVersion."""
    resource = objects.within(stored.namespace)
    written = await resource.json_patch(stored.name, _replacing(stored, body), into=Written)
    return written.metadata.resource_version


async def delete(objects: Objects, stored: ObjectMeta) -> bool:
    """Deletes exactly this one, by UID. False where it was gone already, which is no error."""
    try:
        await objects.within(stored.namespace).delete(stored.name, uid=stored.uid)
    except (NotFound, Conflict):
        return False  # a conflict means that this one is gone too, and another has its name
    return True


def _replacing(stored: ObjectMeta, body: dict[str, Any]) -> list[dict[str, Any]]:
    """A JSON patch that puts our parts in whole: of lists and maps in them nothing of before is left, as a merge patch would leave it.

    Labels and annotations are put in one by one, since we do not know those of others. To put in the version that was read makes the
    server answer with Conflict where that is not the newest.
    """
    metadata = body["metadata"]
    parts = {
        "/metadata/resourceVersion": stored.resource_version,
        **_marks("labels", stored.labels, metadata.get("labels", {})),
        **_marks("annotations", stored.annotations, metadata.get("annotations", {})),
        "/metadata/ownerReferences": metadata["ownerReferences"],
        **{f"/{name}": part for name, part in body.items() if name not in ("apiVersion", "kind", "metadata")},
    }
    return [{"op": "add", "path": path, "value": value} for path, value in parts.items()]


def _marks(name: str, stored: dict[str, str] | None, ours: dict[str, str]) -> dict[str, Any]:
    if stored is None:
        return {f"/metadata/{name}": ours} if ours else {}
    return {
        f"/metadata/{name}/{key.replace('~', '~0').replace('/', '~1')}": value for key, value in ours.items()
    }
