"""An API server's collection as a reflector meets it on its worst day: history, compaction, bookmarks, and faults on demand.

Only what `runtime.ports.ListWatch` shows of a server is modelled: it is no API server, and semantics are tested on real ones.
What a stream says passes through the real line splitter and decoder, see `wire`.
"""

import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from random import Random

import anyio

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
from msa.runtime.ports import Page, WatchStream
from tests.support.patient import Patient
from tests.support.wire import Meta, Thing, Wire, lines_of, pad

_BOOKMARK_SECONDS = 60.0
_INACTIVITY_SECONDS = 65.0
_STEPS_BACK = 3
_LARGEST_PAGE = 2


class Fault(Enum):
    """What the next request, or the next read of a stream, meets."""

    REFUSED = "nobody listens"
    DROPPED = "the connection breaks"
    CUT = "the stream is cut in the middle of a line"
    PIECES = "lines come in pieces"
    LONG_LINE = "a line of 5 MB"
    GARBAGE = "a line is no event"
    EMPTY = "200, and closed at once"
    SILENT = "the connection is half open"
    REPLAY = "events come a second time"
    OLDER_FIRST = "the connection breaks, and the next one first brings what this one has brought"
    GONE_STATUS = "410 as status"
    GONE_EVENT = "410 as event"
    THROTTLED = "429 without Retry-After"
    THROTTLED_FOR_5_S = "429 with Retry-After"
    BROKEN = "500"
    BROKEN_EVENT = "500 as event"
    NO_END = "the end bookmark of a streaming list is missing"
    UNAUTHORIZED = "401"


_REFUSALS: dict[Fault, Callable[[], errors.ApiError]] = {
    Fault.REFUSED: partial(errors.Refused, "refused"),
    Fault.GONE_STATUS: partial(errors.Expired, "too old", code=410),
    Fault.THROTTLED: partial(errors.Throttled, "later"),
    Fault.THROTTLED_FOR_5_S: partial(errors.Throttled, "later", retry_after=5.0),
    Fault.BROKEN: partial(errors.ServerError, "broken", code=500),
    Fault.UNAUTHORIZED: partial(errors.Unauthorized, "who are you", code=401),
}
_AS_EVENT = {
    Fault.GONE_EVENT: Failed(Status(code=410, reason="Expired", message="too old")),
    Fault.BROKEN_EVENT: Failed(Status(code=500, reason="InternalError", message="broken")),
}


class ScriptedServer(Patient):
    """Implements `ListWatch[Thing]`.

    Attributes:
        states: the objects at every version of the present history.
        compacted: the version up to which it has forgotten what happened.
        must_list: the client was told that the version it has is of no use.
        estranged: restored, and nobody has seen it since.
    """

    resource = "things.test"

    def __init__(self, *, streams_lists: bool = True, bookmarks: bool = True) -> None:
        super().__init__()
        self.objects: dict[str, Thing] = {}
        self.version = 1
        self.states = {1: self.objects}
        self.compacted = 0
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        self.must_list = False
        self.estranged = False
        self.bookmarks = bookmarks
        self._streams_lists = streams_lists
        self._history: list[tuple[int, WatchEvent[Thing]]] = []
        self._changed = anyio.Event()
        self._timeline = 0
        self._steps_back = 0
        self._uids = itertools.count(1)
        self._rng = Random(5)

    def put(self, name: str) -> None:
        """Creates or changes an object."""
        old = self.objects.get(name)
        uid = old.metadata.uid if old is not None else f"uid-{next(self._uids)}"
        thing = Thing(Meta("ns", name, uid, str(self.version + 1)))
        self._record({**self.objects, name: thing}, Modified(thing) if old is not None else Added(thing))

    def delete(self, name: str) -> None:
        if (old := self.objects.get(name)) is not None:
            rest = {other: thing for other, thing in self.objects.items() if other != name}
            self._record(rest, Deleted(Thing(Meta("ns", name, old.metadata.uid, str(self.version + 1)))))

    def meet(self, fault: Fault) -> None:
        """Has an open stream meet the fault at once, or the next request, whichever it is for."""
        self.faults.append(fault)
        self._wake()

    def compact(self) -> None:
        """Forgets the history."""
        self.compacted = self.version
        self._history.clear()

    def restore(self, version: int, *, cut: bool = True) -> None:
        """Comes back as it was at an older version, without history; every connection breaks, if no load balancer keeps it."""
        self.states = {number: state for number, state in self.states.items() if number <= version}
        self.objects, self.version = self.states[version], version
        self._timeline += cut
        self.estranged = True
        self.compact()
        self._wake()

    def become_another(self, name: str) -> None:
        """From now on requests go to another server, which has nothing; streams of the former one end."""
        self.server = name
        self.objects, self.version = {}, 1
        self.states = {1: self.objects}
        self.estranged = True
        self._timeline += 1
        self.compact()
        self._wake()

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[Thing]:
        look = " limit=1" if limit == 1 else ""
        self.requests.append(f"list rv={resource_version} continue={continue_token}{look}")
        await anyio.sleep(0.01)
        self._fail_request()
        if resource_version not in ("", "0"):
            self._check_reached(int(resource_version))
        start, version = (int(part) for part in (continue_token or f"0/{self.version}").split("/"))
        if version < self.compacted or version not in self.states:
            raise errors.Expired("the continue token is too old", code=410)
        things = sorted(self.states[version].items())
        end = start + _LARGEST_PAGE if limit else len(things)
        more = f"{end}/{version}" if end < len(things) else ""
        self.must_list &= bool(more) or limit == 1
        return Page([thing for _name, thing in things[start:end]], str(version), more)

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator[WatchStream[Thing]]:
        self.requests.append(f"watch rv={resource_version} initial={initial_events}")
        await anyio.sleep(0.01)
        assert initial_events or not self.must_list, "who was told that its version is of no use lists anew"
        self._fail_request()
        if initial_events and not self._streams_lists:
            raise errors.Invalid("sendInitialEvents is forbidden", code=422)
        if resource_version and initial_events:
            self._check_reached(int(resource_version))
        if not initial_events:
            self._check_kept(int(resource_version))
        version = None if initial_events else int(resource_version)
        yield _Stream(self, version, anyio.current_time() + timeout_seconds)

    def _since(self, version: int) -> Sequence[WatchEvent[Thing]]:
        return [event for number, event in self._history if number > version]

    def _older(self, version: int) -> Sequence[WatchEvent[Thing]]:
        """What a connection from `version` on has no right to bring, if it is one that brings it all the same."""
        steps, self._steps_back = self._steps_back, 0
        return [event for number, event in self._history if version - steps < number <= version]

    def _record(self, objects: dict[str, Thing], event: WatchEvent[Thing]) -> None:
        self.version += 1
        self.objects = self.states[self.version] = objects
        self._history.append((self.version, event))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _fail_request(self) -> None:
        if self.faults and self.faults[0] in _REFUSALS:
            fault = self.faults.popleft()
            self.must_list |= fault is Fault.GONE_STATUS
            make_error = _REFUSALS[fault]
            raise make_error()

    def _check_reached(self, version: int) -> None:
        if version > self.version:
            self.must_list = True
            raise errors.TooLargeResourceVersion("Too large resource version", code=504)

    def _check_kept(self, version: int) -> None:
        if version < self.compacted:
            self.must_list = True
            raise errors.Expired("too old resource version", code=410)
        if version <= self.version:  # else it is taken with 200, and silence: nobody has noticed anything
            self.estranged = False

    def _has_said(self, events: Sequence[WatchEvent[Thing]]) -> None:
        for event in events:
            if isinstance(event, Failed) and event.object.code == 410:
                self.must_list = True
            elif isinstance(event, Bookmark) and event.ends_initial_events:
                self.must_list = self.estranged = False


class _Stream:
    def __init__(self, server: ScriptedServer, version: int | None, ends: float) -> None:
        self._server = server
        self._version = version
        self._ends = ends
        self._timeline = server._timeline
        self._wire = Wire(server._rng)
        self._last: deque[WatchEvent[Thing]] = deque(maxlen=_STEPS_BACK)
        self._older = deque(server._older(version or 0))

    async def receive(self) -> Sequence[WatchEvent[Thing]]:
        await self._speak()
        while self._wire.silent:
            await self._wait()
            await self._speak()
        events = self._wire.receive()
        self._server._has_said(events)
        return events

    async def _speak(self) -> None:
        """Puts on the wire what is due, and what a fault makes of it."""
        await anyio.sleep(1.0 if self._older else 0.001)
        if self._timeline != self._server._timeline:
            raise errors.Network("the server went away")
        faults = self._server.faults
        if self._wire.closed:
            return
        if faults and faults[0] not in _REFUSALS:
            await self._meet(faults.popleft())
        elif self._wire.silent:
            self._wire.send(lines_of(self._due()))

    async def _meet(self, fault: Fault) -> None:
        match fault:
            case Fault.DROPPED:
                raise errors.Network("reset")
            case Fault.OLDER_FIRST:
                self._server._steps_back = _STEPS_BACK
                raise errors.Network("reset")
            case Fault.SILENT:
                await anyio.sleep(_INACTIVITY_SECONDS)
                raise errors.Silent("no byte arrived in time")
            case Fault.EMPTY:
                self._wire.close()
            case Fault.NO_END:
                self._wire.send(lines_of(self._due(ended=False)))
            case Fault.REPLAY:
                self._wire.send(lines_of(self._last))
            case _ if fault in _AS_EVENT:
                self._wire.send_last(lines_of([*self._due(), _AS_EVENT[fault]]))
            case _:
                self._spoil(fault, lines_of(self._due() or [self._bookmark()]))

    def _spoil(self, fault: Fault, lines: bytes) -> None:
        match fault:
            case Fault.CUT:
                self._wire.send_cut(lines)
            case Fault.PIECES:
                self._wire.send_in_pieces(lines)
            case Fault.LONG_LINE:
                self._wire.send_in_pieces(pad(lines))
            case Fault.GARBAGE:
                self._wire.send_garbled(lines)

    def _due(self, *, ended: bool = True) -> Sequence[WatchEvent[Thing]]:
        if self._version is None:
            return self._initial(ended=ended)
        if self._older:
            return [self._older.popleft()]
        return self._events(self._version)

    def _initial(self, *, ended: bool) -> Sequence[WatchEvent[Thing]]:
        events: list[WatchEvent[Thing]] = [Added(thing) for thing in self._server.objects.values()]
        self._version = self._server.version
        if ended:
            end = BookmarkMetadata(str(self._version), {INITIAL_EVENTS_END: "true"})
            events.append(Bookmark(BookmarkObject(end)))
        return events

    @property
    def _ahead(self) -> bool:
        """The client's version is of another history: the server says nothing until it gets there, no bookmark either."""
        return self._version is not None and self._version > self._server.version

    def _events(self, version: int) -> Sequence[WatchEvent[Thing]]:
        if self._ahead:
            return []
        self._version = self._server.version
        if version < self._server.compacted and version != self._version:
            return [_AS_EVENT[Fault.GONE_EVENT]]
        events = self._server._since(version)
        self._last.extend(events)
        return events

    async def _wait(self) -> None:
        changed = self._server._changed
        quiet = _INACTIVITY_SECONDS if self._ahead or not self._server.bookmarks else _BOOKMARK_SECONDS
        with anyio.move_on_after(min(quiet, self._ends - anyio.current_time())):
            await changed.wait()
            return
        if anyio.current_time() >= self._ends:
            self._wire.close()
        elif quiet == _INACTIVITY_SECONDS:
            raise errors.Silent("no byte arrived in time")
        else:
            self._wire.send(lines_of([self._bookmark()]))

    def _bookmark(self) -> Bookmark:
        return Bookmark(BookmarkObject(BookmarkMetadata(str(self._version))))
