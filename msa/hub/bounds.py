"""How much is kept of one object, whatever was written into it: every informer's transform keeps to these bounds.

Objects of a usual size are kept as they are. The figures are in docs/operations.md.
"""

from collections.abc import Callable
from sys import intern
from typing import Any, Final, TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from msa.api.meta import ObjectMeta
from msa.api.texts import LONGEST

V = TypeVar("V")
S = TypeVar("S", bound=Struct)

LARGE: Final = 64 * 1024
"""Bytes of JSON above which a status is cut."""

MARKS: Final = 16 * 1024
"""Characters that the labels of an object may have together, and so its annotations; of more, none is kept."""

ITEMS: Final = 32
"""Items of a list, and entries of a map, where they are cut."""

_OCM: Final = "open-cluster-management.io"
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for content of another shape."""


def metadata(
    stored: ObjectMeta, *, labels: Callable[[str], bool], annotations: Callable[[str], bool]
) -> ObjectMeta:
    """Which object it is, to whom it belongs, and the labels and annotations that are chosen."""
    return replace(
        stored,
        name=intern(stored.name),
        namespace=intern(stored.namespace),
        labels=marks(stored.labels, labels),
        annotations=marks(stored.annotations, annotations),
        owner_references=tuple(cut(owner) for owner in stored.owner_references[:ITEMS]),
        finalizers=cut(stored.finalizers),
    )


def marks(stored: dict[str, str] | None, chosen: Callable[[str], bool]) -> dict[str, str] | None:
    """The labels or annotations that are chosen; None only where the object has none at all."""
    if stored is None:
        return None
    kept = {intern(key): intern(value) for key, value in stored.items() if chosen(key)}
    return kept if sum(len(key) + len(value) for key, value in kept.items()) <= MARKS else {}


def is_ocms(key: str) -> bool:
    """Whether a label or an annotation is OCM's, or ours."""
    return key.partition("/")[0].endswith(_OCM)


def any_mark(_key: str) -> bool:
    return True


def no_mark(_key: str) -> bool:
    return False


def status(stored: Raw, into: type[S]) -> S:
    """A status, cut where it is large; of one that cannot be read, what can be read of it."""
    read = readable(stored, into)
    return cut(read) if size(stored) > LARGE else read


def size(stored: Raw) -> int:
    """Bytes of JSON; nothing is copied."""
    return memoryview(stored).nbytes


def decoded(stored: Raw, into: Any, otherwise: Any) -> Any:
    """A part of an object as its type; `otherwise` where it is not one, or nested too deeply."""
    try:
        return msgspec.json.decode(stored, type=into)
    except UNREADABLE:
        return otherwise


def cut(value: V) -> V:
    """The value with long texts and long lists cut."""
    return _cut(value)  # type: ignore[no-any-return]  # of the same type


def _cut(value: Any) -> Any:
    match value:
        case str():
            return value[:LONGEST]
        case tuple() | list():
            return type(value)(_cut(item) for item in value[:ITEMS])
        case dict():
            return {_cut(key): _cut(item) for key, item in list(value.items())[:ITEMS]}
        case Struct():
            return replace(value, **{name: _cut(getattr(value, name)) for name in value.__struct_fields__})
    return value


def readable(stored: Raw, into: type[S]) -> S:
    """A status; of one that cannot be read, what can be read of it."""
    try:
        return msgspec.json.decode(stored, type=into)
    except UNREADABLE:
        pass
    parts = decoded(stored, dict[str, Raw], {})
    fields = {field.encode_name: field for field in msgspec.structs.fields(into)}
    read = {fields[name].name: _part(raw, fields[name].type) for name, raw in parts.items() if name in fields}
    return into(**{name: part for name, part in read.items() if part is not None})


def _part(stored: Raw, into: Any) -> Any:
    """A field; of a list, the items that can be read; None for nothing."""
    if get_origin(into) is not tuple:
        return decoded(stored, into, None)
    items = (decoded(raw, get_args(into)[0], None) for raw in decoded(stored, list[Raw], ()))
    return tuple(item for item in items if item is not None)
