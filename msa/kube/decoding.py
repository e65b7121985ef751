"""Lists and watches as types, straight from the bytes; an object that is not what its type should be hides no other.

What is stored on an API server may be anybody's: bigger, deeper or of another shape than we look for.
"""

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from msa.kube.errors import UNDECODABLE, unreadable
from msa.kube.nesting import pruned
from msa.runtime.errors import Decode
from msa.runtime.events import (
    Added,
    Bookmark,
    Deleted,
    Failed,
    KubeObject,
    Modified,
    PartialObject,
    Unreadable,
    WatchEvent,
)
from msa.runtime.ports import Page
from msa.runtime.slices import Slices

T = TypeVar("T", bound=KubeObject)
R = TypeVar("R")


class _ListMeta(
    Struct, frozen=True, rename={"resource_version": "resourceVersion", "continue_token": "continue"}
):
    resource_version: str = ""
    continue_token: str = ""


class _List(Struct, Generic[T], frozen=True):
    metadata: _ListMeta
    items: list[T] = []


class _RawList(Struct, frozen=True):
    metadata: _ListMeta
    items: list[Raw] = []


def decode(body: bytes | Raw, into: type[R]) -> R:
    """An answer as its type. Raises Decode where it is none."""
    try:
        return msgspec.json.decode(body, type=into)
    except RecursionError:
        return decode(pruned(bytes(body)), into)
    except UNDECODABLE as error:
        raise unreadable(error) from None


def _events_of(into: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(Added[into] | Modified[into] | Deleted[into] | Bookmark | Failed)


_IDENTITY = _events_of(PartialObject)


class Decoders(Generic[T]):
    """Reads one resource, whose objects are of this type."""

    def __init__(self, into: type[T]) -> None:
        self._page = msgspec.json.Decoder(_List[into])  # type: ignore[valid-type]  # a type made at run time
        self._item = msgspec.json.Decoder(into)
        self._event = _events_of(into)

    async def page(self, body: bytes) -> Page[T]:
        """The answer to a list request. Raises Decode where it is none."""
        try:
            page: _List[T] = self._page.decode(body)
        except (RecursionError, *UNDECODABLE):
            return await self._one_by_one(decode(body, _RawList))
        return Page(page.items, page.metadata.resource_version, page.metadata.continue_token)

    async def _one_by_one(self, page: _RawList) -> Page[T]:
        items: list[T] = []
        spoilt: list[Unreadable] = []
        pause = Slices()
        for raw in page.items:
            read = self._object(raw)
            spoilt.append(read) if isinstance(read, Unreadable) else items.append(read)
            if pause.over():
                await pause.rest()
        return Page(items, page.metadata.resource_version, page.metadata.continue_token, spoilt)

    def _object(self, raw: Raw) -> T | Unreadable:
        try:
            return self._item.decode(raw)
        except UNDECODABLE as error:
            return Unreadable(decode(raw, PartialObject), str(error))

    def events(self, lines: bytes) -> list[WatchEvent[T]]:
        """The events of whole lines of a watch. Raises Decode where one is none."""
        try:
            events: list[WatchEvent[T]] = self._event.decode_lines(lines)
        except (RecursionError, *UNDECODABLE):
            return [self._event_of(line) for line in lines.split(b"\n") if line]
        return events

    def _event_of(self, line: bytes) -> WatchEvent[T]:
        try:
            event: WatchEvent[T] = self._event.decode(line)
        except RecursionError:
            return self._event_of(pruned(line))
        except UNDECODABLE as error:
            return _identified(line, str(error))
        return event


def _identified(line: bytes, problem: str) -> WatchEvent[Any]:
    """Of an object that is not read, at least which one it is."""
    try:
        event: WatchEvent[Any] = decode(line, _IDENTITY.type)
    except Decode:
        raise Decode(f"a line of the watch is not an event: {problem}") from None
    if isinstance(event, (Added, Modified)):
        return Unreadable(event.object, problem)
    return event  # of a deletion the identity is all that is needed
