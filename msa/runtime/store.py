"""The local copy of one resource: written by one informer, read by everybody, through different types over one map.

Objects are frozen, so readers share them. A full list is swapped in whole: nobody ever sees half of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from sys import intern
from typing import Generic, TypeVar

from attrs import define, field
from msgspec import Struct
from msgspec.structs import replace

from msa.runtime.events import KubeObject
from msa.runtime.result import Key

T = TypeVar("T", bound=KubeObject)
Index = Callable[[T], Iterable[str]]
"""The values under which an object is found."""


class Change(Struct, Generic[T], frozen=True):
    """One object came, changed or went.

    Attributes:
        old: the last known state, None for a new object.
        new: None for a deleted object.
        initial: it was there when the store was first filled.
        missed: that it went is inferred, nobody saw its deletion: it is not in a full list any more, or it can no longer be read.
            `old` may not be its very last state.
    """

    key: Key
    old: T | None
    new: T | None
    initial: bool = False
    missed: bool = False

    @property
    def latest(self) -> T:
        """The newest state there is."""
        latest = self.new if self.new is not None else self.old
        assert latest is not None, "a change has an old or a new state"  # noqa: S101 - the invariant, for the type checker
        return latest


def key_of(object_: KubeObject) -> Key:
    """`namespace/name`, or the name of what lives in no namespace; one text for all stores that have such an object."""
    metadata = object_.metadata
    return Key(intern(f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name))


def version_number(version: str) -> int:
    """A resourceVersion as a number; they may be compared within a resource (KEP-5504). 0 for what is no number."""
    return int(version) if version.isdecimal() else 0


@define
class _Content(Generic[T]):
    """What a store's reader and its writer share."""

    indexers: Mapping[str, Index[T]]
    objects: dict[Key, T] = field(factory=dict)
    indexes: dict[str, dict[str, dict[Key, T]]] = field(factory=dict)
    version: int = 0
    synced: bool = False
    rewound: bool = False


class Store(Generic[T]):
    """The reader's side."""

    def __init__(self, indexes: Mapping[str, Index[T]] | None = None) -> None:
        indexers = dict(indexes or {})
        self._content: _Content[T] = _Content(indexers, indexes={name: {} for name in indexers})

    def get(self, key: str) -> T | None:
        return self._content.objects.get(Key(key))

    def keys(self) -> Sequence[Key]:
        return tuple(self._content.objects)

    def values(self) -> Sequence[T]:
        return tuple(self._content.objects.values())

    def __len__(self) -> int:
        return len(self._content.objects)

    def by_index(self, index: str, value: str) -> Sequence[T]:
        """The objects that `index` files under `value`."""
        return tuple(self._content.indexes[index].get(value, {}).values())

    def count(self, index: str, value: str) -> int:
        """How many `by_index` would give."""
        return len(self._content.indexes[index].get(value, {}))

    @property
    def version(self) -> int:
        """The newest resourceVersion that this copy is known to include, bookmarks counted."""
        return self._content.version

    @property
    def rewound(self) -> bool:
        """Whether a full list was ever older than this copy: the server was restored, or is another one."""
        return self._content.rewound

    @property
    def synced(self) -> bool:
        """Whether it has ever been complete."""
        return self._content.synced


class StoreWriter(Generic[T]):
    """The informer's side."""

    def __init__(self, store: Store[T]) -> None:
        self._content = store._content  # noqa: SLF001 - the writer is the store's other half

    def put(self, object_: T) -> Change[T] | None:
        """Takes a new or changed object; None when what is stored is as new already (a duplicate, a replay).

        Nor does a replay bring back what has been deleted since.
        """
        content, version = self._content, version_number(object_.metadata.resource_version)
        if 0 < version <= content.version:
            return None
        key = key_of(object_)
        old = content.objects.get(key)
        if old is not None and version <= version_number(old.metadata.resource_version):
            return None
        content.objects[key] = object_
        if content.indexers:
            self._reindex(key, old, object_)
        return Change(key, old, object_)

    def remove(self, object_: T) -> Change[T] | None:
        """Takes a deletion, told with the object's last state; None when it is not stored, or is newer than the deletion."""
        key = key_of(object_)
        old = self._content.objects.get(key)
        if old is None or _newer(old, object_):
            return None
        return self._take(key)

    def drop(self, key: Key) -> Change[T] | None:
        """Takes out an object that can no longer be read; for all that is known it still exists."""
        change = self._take(key)
        return replace(change, missed=True) if change is not None else None

    def _take(self, key: Key) -> Change[T] | None:
        old = self._content.objects.pop(key, None)
        if old is None:
            return None
        self._reindex(key, old, None)
        return Change(key, old, None)

    def replace(self, objects: Iterable[T], version: str) -> list[Change[T]]:
        """Swaps in a full list and says what is different now, deletions that were missed included."""
        content, initial = self._content, not self._content.synced
        old, new = content.objects, {key_of(item): item for item in objects}
        known = max((version_number(item.metadata.resource_version) for item in old.values()), default=0)
        content.rewound |= version_number(version) < max(content.version, known)
        content.objects, content.version, content.synced = new, version_number(version), True
        gone = [Change(key, item, None, missed=True) for key, item in old.items() if key not in new]
        come = [
            Change(key, old.get(key), item, initial=initial)
            for key, item in new.items()
            if (before := old.get(key)) is None or not _same(before, item)
        ]
        for change in (*gone, *come):
            self._reindex(change.key, change.old, change.new)
        return [*gone, *come]

    def progress(self, version: str) -> None:
        """Everything up to this version is included."""
        if (number := version_number(version)) > self._content.version:
            self._content.version = number

    def _reindex(self, key: Key, old: T | None, new: T | None) -> None:
        for name, indexer in self._content.indexers.items():
            index = self._content.indexes[name]
            for value in indexer(old) if old is not None else ():
                index.get(value, {}).pop(key, None)
                if not index.get(value):
                    index.pop(value, None)
            for value in indexer(new) if new is not None else ():
                index.setdefault(value, {})[key] = new  # type: ignore[assignment]  # not None: there is a value


def _newer(one: KubeObject, other: KubeObject) -> bool:
    return version_number(one.metadata.resource_version) > version_number(other.metadata.resource_version)


def _same(one: KubeObject, other: KubeObject) -> bool:
    """By content too: a server that was restored, or another one, gives a version a second time."""
    return (
        one.metadata.resource_version == other.metadata.resource_version
        and one.metadata.uid == other.metadata.uid
        and one == other
    )
