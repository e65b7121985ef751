"""The metadata that every Kubernetes object carries: the parts we read, as wire types."""

from datetime import datetime

from msgspec import Struct


class OwnerReference(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Struct, frozen=True, gc=False, rename="camel"):
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


class Condition(Struct, frozen=True, gc=False, rename="camel"):
    """metav1.Condition. Written out in full: an empty message is required, not left out."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    observed_generation: int = 0
