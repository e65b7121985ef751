"""The lines of a watch, as types. `kube` decodes straight into them; the reflector folds them into a store."""

from typing import Generic, Protocol, TypeAlias, TypeVar

from msgspec import Struct, field


class Metadata(Protocol):
    """What the runtime needs to know of an object's metadata."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class KubeObject(Protocol):
    """Anything that a watch delivers."""

    @property
    def metadata(self) -> Metadata: ...


T = TypeVar("T", bound=KubeObject)

_YEAR_SECONDS = 366 * 86400

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends the initial events of a streaming list (KEP-3157)."""


class PartialMetadata(Struct, frozen=True, gc=False, rename="camel"):
    """The parts of metadata that tell which object it is, at which version."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class PartialObject(Struct, frozen=True, gc=False):
    """Any object, as far as its identity."""

    metadata: PartialMetadata


class BookmarkMetadata(Struct, frozen=True, gc=False, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class BookmarkObject(Struct, frozen=True, gc=False):
    metadata: BookmarkMetadata = BookmarkMetadata()


class StatusDetails(Struct, frozen=True, gc=False, rename="camel"):
    retry_after_seconds: int = 0


class Status(Struct, frozen=True, gc=False):
    """metav1.Status, as answer to a failed request and as object of an ERROR event."""

    code: int = 0
    reason: str = ""
    message: str = ""
    details: StatusDetails | None = None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, None where it does not."""
        seconds = self.details.retry_after_seconds if self.details else 0
        return float(min(seconds, _YEAR_SECONDS)) if seconds > 0 else None


class Added(Struct, Generic[T], frozen=True, tag_field="type", tag="ADDED"):
    object: T


class Modified(Struct, Generic[T], frozen=True, tag_field="type", tag="MODIFIED"):
    object: T


class Deleted(Struct, Generic[T], frozen=True, tag_field="type", tag="DELETED"):
    object: T


class Bookmark(Struct, frozen=True, tag_field="type", tag="BOOKMARK"):
    object: BookmarkObject = field(default_factory=BookmarkObject)

    @property
    def ends_initial_events(self) -> bool:
        return self.object.metadata.annotations.get(INITIAL_EVENTS_END) == "true"


class Failed(Struct, frozen=True, tag_field="type", tag="ERROR"):
    object: Status


class Unreadable(Struct, frozen=True):
    """An object came or changed, and is not what its type should be: only which one it is can be told.

    Attributes:
        problem: the field that is wrong, never its value.
    """

    object: PartialObject
    problem: str


WatchEvent: TypeAlias = Added[T] | Modified[T] | Deleted[T] | Bookmark | Failed | Unreadable
