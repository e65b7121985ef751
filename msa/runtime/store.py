"""The local copy of one resource: written by one informer, read by everybody, through different types over one map.

Objects are frozen, so readers share them. A full list is swapped in whole: nobody ever sees half of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from sys import intern
from typing import Generic, TypeVar

from msgspec import Struct

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
        missed: it went while nobody was watching; `old` may not be its very last state.
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


class Store(Generic[T]):
    """The reader's side."""

    def __init__(self, indexes: Mapping[str, Index[T]] | None = None) -> None:
        self._objects: dict[Key, T] = {}
        self._indexers = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[Key, T]]] = {name: {} for name in self._indexers}
        self._version = 0
        self._synced = False

    def get(self, key: str) -> T | None:
        return self._objects.get(Key(key))

    def keys(self) -> Sequence[Key]:
        return tuple(self._objects)

    def values(self) -> Sequence[T]:
        return tuple(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def by_index(self, index: str, value: str) -> Sequence[T]:
        """The objects that `index` files under `value`."""
        return tuple(self._indexes[index].get(value, {}).values())

    @property
    def version(self) -> int:
        """The newest resourceVersion that this copy is known to include, bookmarks counted."""
        return self._version

    @property
    def synced(self) -> bool:
        """Whether it has ever been complete."""
        return self._synced


class StoreWriter(Generic[T]):
    """The informer's side."""

    def __init__(self, store: Store[T]) -> None:
        self._store = store

    def put(self, object_: T) -> Change[T] | None:
        """Takes a new or changed object; None when what is stored is as new already (a duplicate, a replay)."""
        key = key_of(object_)
        old = self._store._objects.get(key)  # noqa: SLF001 - the writer is the store's other half
        if old is not None and not _newer(object_, old):
            return None
        self._store._objects[key] = object_  # noqa: SLF001 - as above
        self._reindex(key, old, object_)
        return Change(key, old, object_)

    def remove(self, object_: T) -> Change[T] | None:
        """Takes a deletion, told with the object's last state; None when it is not stored, or is newer than the deletion."""
        key = key_of(object_)
        old = self._store._objects.get(key)  # noqa: SLF001 - as above
        if old is None or _newer(old, object_):
            return None
        return self.drop(key)

    def drop(self, key: Key) -> Change[T] | None:
        """Takes an object out, whatever its version."""
        old = self._store._objects.pop(key, None)  # noqa: SLF001 - as above
        if old is None:
            return None
        self._reindex(key, old, None)
        return Change(key, old, None)

    def replace(self, objects: Iterable[T], version: str) -> list[Change[T]]:
        """Swaps in a full list and says what is different now, deletions that were missed included."""
        store, initial = self._store, not self._store._synced  # noqa: SLF001 - as above
        old, new = store._objects, {key_of(item): item for item in objects}  # noqa: SLF001 - as above
        store._objects = new  # noqa: SLF001 - as above
        store._version = version_number(version)  # noqa: SLF001 - as above
        store._synced = True  # noqa: SLF001 - as above
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
        store = self._store
        store._version = max(store._version, version_number(version))  # noqa: SLF001 - as above

    def _reindex(self, key: Key, old: T | None, new: T | None) -> None:
        for name, indexer in self._store._indexers.items():  # noqa: SLF001 - as above
            index = self._store._indexes[name]  # noqa: SLF001 - as above
            for value in indexer(old) if old is not None else ():
                index.get(value, {}).pop(key, None)
                if not index.get(value):
                    index.pop(value, None)
            for value in indexer(new) if new is not None else ():
                index.setdefault(value, {})[key] = new  # type: ignore[assignment]  # not None: there is a value


def _newer(one: KubeObject, other: KubeObject) -> bool:
    return version_number(one.metadata.resource_version) > version_number(other.metadata.resource_version)


def _same(one: KubeObject, other: KubeObject) -> bool:
    return (
        one.metadata.resource_version == other.metadata.resource_version
        and one.metadata.uid == other.metadata.uid
    )
