"""An API server's collection as a reflector meets it on its worst day: history, compaction, bookmarks, and faults on demand.

Only what `runtime.ports.ListWatch` shows of a server is modelled: it is no API server, and semantics are tested on real ones.
"""

import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum

import anyio
from msgspec import Struct

from msa.runtime import errors
from msa.runtime.events import (
    INITIAL_EVENTS_END,
    Added,
    Bookmark,
    BookmarkMetadata,
    BookmarkObject,
    Deleted,
    Failed,
    Modified,
    Status,
    WatchEvent,
)
from msa.runtime.ports import Page

_BOOKMARK_SECONDS = 60.0
_INACTIVITY_SECONDS = 70.0


class Meta(Struct, frozen=True):
    namespace: str
    name: str
    uid: str
    resource_version: str


class Thing(Struct, frozen=True):
    metadata: Meta


class Fault(Enum):
    """What the next request, or the next read of a stream, meets."""

    REFUSED = "nobody listens"
    DROPPED = "the connection breaks"
    CUT = "the stream is cut in the middle of a line"
    GARBAGE = "a line is no event"
    EMPTY = "200, and closed at once"
    SILENT = "the connection is half open"
    REPLAY = "events come a second time"
    GONE_STATUS = "410 as status"
    GONE_EVENT = "410 as event"
    THROTTLED = "429 without Retry-After"
    THROTTLED_FOR_5_S = "429 with Retry-After"
    BROKEN = "500"
    BROKEN_EVENT = "500 as event"
    NO_END = "the end bookmark of a streaming list is missing"
    UNAUTHORIZED = "401"


_AT_REQUEST = {
    Fault.REFUSED: errors.Refused("refused"),
    Fault.GONE_STATUS: errors.Expired("too old", code=410),
    Fault.THROTTLED: errors.Throttled("later"),
    Fault.THROTTLED_FOR_5_S: errors.Throttled("later", retry_after=5.0),
    Fault.BROKEN: errors.ServerError("broken", code=500),
    Fault.UNAUTHORIZED: errors.Unauthorized("who are you", code=401),
}
_IN_STREAM = {
    Fault.DROPPED: errors.Network("reset"),
    Fault.CUT: errors.Network("cut in the middle of a line"),
    Fault.GARBAGE: errors.Decode("no event"),
}
_AS_EVENT = {
    Fault.GONE_EVENT: Failed(Status(code=410, reason="Expired", message="too old")),
    Fault.BROKEN_EVENT: Failed(Status(code=500, reason="InternalError", message="broken")),
}


class ScriptedServer:
    """Implements `ListWatch[Thing]`."""

    resource = "things.test"

    def __init__(self, *, streams_lists: bool = True) -> None:
        self.objects: dict[str, Thing] = {}
        self.version = 1
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        self._streams_lists = streams_lists
        self._history: list[tuple[int, WatchEvent[Thing]]] = []
        self._compacted = 0
        self._changed = anyio.Event()
        self._timeline = 0
        self._uids = itertools.count(1)

    @property
    def restored(self) -> bool:
        """Whether versions ever went back."""
        return self._timeline > 0

    def put(self, name: str) -> None:
        """Creates or changes an object."""
        self.version += 1
        old = self.objects.get(name)
        uid = old.metadata.uid if old is not None else f"uid-{next(self._uids)}"
        thing = Thing(Meta("ns", name, uid, str(self.version)))
        self.objects[name] = thing
        self._record(Modified(thing) if old is not None else Added(thing))

    def delete(self, name: str) -> None:
        if (old := self.objects.pop(name, None)) is not None:
            self.version += 1
            self._record(Deleted(Thing(Meta("ns", name, old.metadata.uid, str(self.version)))))

    def compact(self) -> None:
        """Forgets the history."""
        self._compacted = self.version
        self._history.clear()

    def restore(self, objects: dict[str, Thing], version: int) -> None:
        """Comes back as it was at an older version, without history; every connection breaks."""
        self.objects, self.version = dict(objects), version
        self._timeline += 1
        self.compact()
        self._wake()

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Thing]:
        self.requests.append(f"list rv={resource_version} continue={continue_token}")
        await anyio.sleep(0.01)
        self._fail_request()
        if resource_version not in ("", "0") and int(resource_version) > self.version:
            raise errors.TooLargeResourceVersion("Too large resource version", code=504)
        start, version = (int(part) for part in (continue_token or f"0/{self.version}").split("/"))
        if version < self._compacted:
            raise errors.Expired("the continue token is too old", code=410)
        names = sorted(self.objects)[start : start + limit if limit else None]
        more = f"{start + limit}/{version}" if limit and start + limit < len(self.objects) else ""
        return Page([self.objects[name] for name in names], str(version), more)

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator["_Stream"]:
        self.requests.append(f"watch rv={resource_version} initial={initial_events}")
        await anyio.sleep(0.01)
        self._fail_request()
        if initial_events and not self._streams_lists:
            raise errors.Invalid("sendInitialEvents is forbidden", code=422)
        if resource_version and int(resource_version) > self.version:
            raise errors.TooLargeResourceVersion("Too large resource version", code=504)
        if not initial_events and int(resource_version) < self._compacted:
            raise errors.Expired("too old resource version", code=410)
        yield _Stream(
            self, None if initial_events else int(resource_version), anyio.current_time() + timeout_seconds
        )

    def _record(self, event: WatchEvent[Thing]) -> None:
        self._history.append((self.version, event))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _fail_request(self) -> None:
        if self.faults and self.faults[0] in _AT_REQUEST:
            raise _AT_REQUEST[self.faults.popleft()]


class _Stream:
    def __init__(self, server: ScriptedServer, version: int | None, ends: float) -> None:
        self._server = server
        self._version = version
        self._ends = ends
        self._timeline = server._timeline
        self._last: list[WatchEvent[Thing]] = []

    async def receive(self) -> Sequence[WatchEvent[Thing]]:
        await anyio.sleep(0.001)
        server = self._server
        if self._timeline != server._timeline:
            raise errors.Network("the server went away")
        if server.faults and (fault := server.faults[0]) not in _AT_REQUEST:
            server.faults.popleft()
            if (outcome := await self._meet(fault)) is not None:
                return outcome
        if self._version is None:
            return self._initial(ended=True)
        if events := self._events():
            return events
        return await self._idle()

    async def _meet(self, fault: Fault) -> Sequence[WatchEvent[Thing]] | None:
        """What the fault makes of this read; None where it does not apply here."""
        match fault:
            case Fault.EMPTY:
                return ()
            case Fault.SILENT:
                await anyio.sleep(_INACTIVITY_SECONDS)
                raise errors.Network("no byte arrived in time")
            case Fault.REPLAY:
                return self._last or None
            case Fault.NO_END:
                return self._initial(ended=False) or None if self._version is None else None
            case _ if fault in _IN_STREAM:
                raise _IN_STREAM[fault]
            case _:
                return [_AS_EVENT[fault]]

    def _initial(self, *, ended: bool) -> list[WatchEvent[Thing]]:
        events: list[WatchEvent[Thing]] = [Added(thing) for thing in self._server.objects.values()]
        if ended:
            self._version = self._server.version
            end = BookmarkMetadata(str(self._version), {INITIAL_EVENTS_END: "true"})
            events.append(Bookmark(BookmarkObject(end)))
        return events

    def _events(self) -> list[WatchEvent[Thing]]:
        assert self._version is not None
        server = self._server
        if self._version < server._compacted and self._version != server.version:
            self._version = server._compacted
            return [_AS_EVENT[Fault.GONE_EVENT]]
        events = [event for version, event in server._history if version > self._version]
        if events:
            self._version, self._last = server.version, events
        return events

    async def _idle(self) -> Sequence[WatchEvent[Thing]]:
        changed = self._server._changed
        wait = min(_BOOKMARK_SECONDS, self._ends - anyio.current_time())
        with anyio.move_on_after(wait):
            await changed.wait()
            return await self.receive()
        if anyio.current_time() >= self._ends:
            return ()
        return [Bookmark(BookmarkObject(BookmarkMetadata(str(self._version))))]
