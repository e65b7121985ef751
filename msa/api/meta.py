"""The metadata that every Kubernetes object carries: the parts we read, as wire types."""

from datetime import datetime
from functools import lru_cache
from typing import get_type_hints

from msgspec import Raw, Struct
from msgspec.structs import force_setattr

from msa.api.durations import clamped


class Timed(Struct, frozen=True, gc=False):
    """The base of every wire type that has times: other clusters and tenants write them, and API servers store any.

    Each time is in UTC and `durations.clamped`, so that comparing, adding and printing it cannot fail.
    """

    def __post_init__(self) -> None:
        for name in _times(type(self)):
            moment = getattr(self, name)
            if moment is not None and (sound := clamped(moment)) is not moment:
                force_setattr(self, name, sound)


@lru_cache(maxsize=64)
def _times(kind: type[Timed]) -> tuple[str, ...]:
    """The fields of a type that hold times."""
    hints = get_type_hints(kind)
    return tuple(name for name in kind.__struct_fields__ if hints[name] in (datetime, datetime | None))


class OwnerReference(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Timed, frozen=True, gc=False, rename="camel"):
    """metav1.ObjectMeta without managedFields, which is never materialised."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    def label(self, key: str) -> str:
        """The label's value, empty where it is not set."""
        return self.labels.get(key, "") if self.labels else ""

    def annotation(self, key: str) -> str:
        """The annotation's value, empty where it is not set."""
        return self.annotations.get(key, "") if self.annotations else ""


class FieldsEntry(Struct, frozen=True, gc=False, rename={"fields": "fieldsV1"}):
    """One entry of metadata.managedFields: who wrote which fields, and how. Decoded by those alone who ask for it.

    Attributes:
        operation: Apply for server-side apply, Update for any other write.
        time: RFC 3339.
        fields: a tree of field names.
    """

    manager: str = ""
    operation: str = ""
    time: str = ""
    fields: Raw = Raw(b"{}")


class Condition(Timed, frozen=True, gc=False, rename="camel"):
    """metav1.Condition. Written out in full: an empty message is required, not left out."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    observed_generation: int = 0
