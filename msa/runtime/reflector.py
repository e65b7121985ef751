"""Keeps a sink equal to a server's collection: does what `states` decides, with lists and watches through a port."""

import math
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Generic, Protocol, TypeVar

import anyio
import structlog
from attrs import define, frozen

from msa.runtime.backoff import StreamBackoff
from msa.runtime.errors import AnswerTooLarge, ApiError, Silent, classify
from msa.runtime.events import (
    Added,
    Bookmark,
    Deleted,
    Failed,
    KubeObject,
    Modified,
    Status,
    Unreadable,
    WatchEvent,
)
from msa.runtime.metrics import Metrics
from msa.runtime.ports import ListWatch, Page, WatchStream
from msa.runtime.result import Key
from msa.runtime.slices import Slices
from msa.runtime.states import (
    Broke,
    Checked,
    Checking,
    Ended,
    Listed,
    Method,
    Moved,
    NoBookmark,
    Outcome,
    Position,
    Quiet,
    State,
    Syncing,
    Waited,
    Waiting,
    Watching,
    step,
)
from msa.runtime.store import key_of, version_number

T = TypeVar("T", bound=KubeObject)

_PAGE = 500
_SMALLER = 8
_QUIET_SECONDS = 10.0
_SYNC_SECONDS = 60.0
_SHORTEST_WATCH, _LONGEST_WATCH, _BRIEF_WATCH = 300, 600, 50
_LATE_SECONDS = 5.0
"""What comes so late may have been held back until the end of the watch; the server itself sends a bookmark 2 s before it."""

_DEAD_SECONDS = 100.0
"""Of silence on an open watch. A transport gives up earlier; one that has forgotten the stream never does."""

_log = structlog.get_logger(__name__)


class Sink(Protocol[T]):
    """Who takes what the reflector reads."""

    def keep(self, object_: Any) -> T | None:
        """What is kept of an object of a full list, asked as it comes: the rest is let go before the next one is read."""
        ...

    async def replace(self, objects: Sequence[T], version: str) -> None:
        """A full list, of what is kept."""
        ...

    async def apply(self, events: Sequence[WatchEvent[T]]) -> None:
        """What changed since, in order; bookmarks among it."""
        ...


@frozen
class _Initial(Generic[T]):
    """What a streaming list brought, and what is to be applied after it.

    Attributes:
        rest: what could not be read, then the end bookmark and whatever came behind it in the same batch.
    """

    objects: Sequence[T]
    version: str
    rest: Sequence[WatchEvent[T]]


@define
class Heard:
    """When the server last gave a sign of life, and what was wrong last.

    Attributes:
        at: monotonic seconds of the last event, bookmark, page or attempt; infinite before the first, when nothing is due yet.
        well: monotonic seconds of the last one that was no mere attempt: until then the copy was surely not behind. Of the
            beginning while there was none.
        error: of the last attempt; None while all is well.
    """

    at: float
    well: float
    error: ApiError | None = None


class Reflector(Generic[T]):
    """One resource, followed for ever.

    Args:
        source: where it is read.
        sink: who is told.
        rng: for jitter.
        metrics: where it counts.
        on_failure: called with every error, after it was noted.
    """

    def __init__(
        self,
        source: ListWatch[T],
        sink: Sink[T],
        rng: Random,
        metrics: Metrics,
        *,
        on_failure: Callable[[ApiError], None] = lambda _error: None,
    ) -> None:
        self._on_failure = on_failure
        self._source = source
        self._sink = sink
        self._rng = rng
        self._metrics = metrics
        self._backoff = StreamBackoff(rng)
        self._log = _log.bind(resource=source.resource)
        self._server = ""
        self._held_back = False
        self.heard = Heard(at=math.inf, well=math.inf)
        self.interruptions = 0
        self.moved = False

    async def run(self) -> None:
        """Never returns."""
        position = Position()
        self.heard.well = anyio.current_time()
        while True:
            self.heard.at = anyio.current_time()
            outcome = await self._perform(position.state)
            self._note(outcome)
            position = step(position, outcome)

    async def _perform(self, state: State) -> Outcome:
        if isinstance(state, Syncing):
            self._server = self._source.server
        elif isinstance(state, (Checking, Watching)) and self._server != self._source.server:
            return Moved()
        outcome = await self._attempt(state)
        moved = self._server != self._source.server and not isinstance(state, Waiting)
        return Moved() if moved else outcome

    async def _attempt(self, state: State) -> Outcome:
        try:
            match state:
                case Waiting(least=least):
                    return await self._wait(least)
                case Syncing(method=Method.STREAM, at_least=version):
                    return await self._stream(version)
                case Syncing(method=method, at_least=version):
                    return await self._list(version, _PAGE if method is Method.PAGES else 0)
                case Checking():
                    return Checked((await self._source.list(limit=1)).resource_version)
                case Watching(version=version, brief=brief):
                    return await self._watch(version, _BRIEF_WATCH if brief else self._timeout())
        except ApiError as error:
            if isinstance(state, Watching) and isinstance(error, Silent):
                return Quiet(state.version, prompt=False, answered=False)
            return Broke(error, state.version if isinstance(state, (Checking, Watching)) else "")

    async def _wait(self, least: float) -> Outcome:
        """A server that is back after an outage is asked at once, unless it said how long to wait."""
        delay = self._backoff.next(anyio.current_time())
        await anyio.sleep(least)
        if await self._source.rest(delay - least):
            self._backoff.reset()
        return Waited()

    def _note(self, outcome: Outcome) -> None:
        match outcome:
            case Broke(error=error):
                self.interruptions += 1
                self._metrics.watch_errors.labels(self._source.resource, error.reason).inc()
                changed = self.heard.error is None or self.heard.error.reason != error.reason
                self._log.log(
                    30 if changed else 10, "watch_failed", reason=error.reason, problem=error.message
                )
                self.heard.error = error
                self._on_failure(error)
            case NoBookmark(answered=answered):
                self._log.warning(
                    "watchlist_without_end", answered=answered, remedy="listing by pages from now on"
                )
            case Quiet(answered=answered):
                self._tell_silence(answered=answered)
            case Moved():
                self.interruptions += 1
                self.moved = True
                self._log.info("server_changed", server=self._source.server, remedy="listing anew")
            case Listed() | Ended():
                self._heard_well()
            case Checked() | Waited():
                pass

    def _tell_silence(self, *, answered: bool) -> None:
        """That a stream is silent is no fault; that nothing of an answer comes while other requests are answered is told once."""
        self._log.debug("watch_renewed", answered=answered)
        if not answered and not self._held_back:
            self._log.warning(
                "watch_held_back",
                problem="the API server's answer to a watch did not begin: a proxy may be buffering answers",
                remedy="switch off buffering for the API server in the proxy; until then changes are seen late",
            )
        self._held_back = not answered

    async def _list(self, version: str, limit: int) -> Outcome:
        objects: list[T] = []
        unreadable: list[Unreadable] = []
        page: Page[T] | None = None
        while page is None or page.continue_token:
            self.heard.at = anyio.current_time()
            page, limit = await self._page(version, limit, page.continue_token if page is not None else "")
            objects.extend(await self._kept(page.items))
            unreadable.extend(page.unreadable)
        self._metrics.lists.labels(self._source.resource, "pages").inc()
        await self._sink.replace(objects, page.resource_version)
        await self._sink.apply(unreadable)
        return Listed(page.resource_version)

    async def _page(self, version: str, limit: int, continue_token: str) -> tuple[Page[T], int]:
        """The next page, of fewer objects where so many are too long; and how many to ask for from now on."""
        while True:
            try:
                page = await self._source.list(
                    resource_version=version, limit=limit, continue_token=continue_token
                )
            except AnswerTooLarge:
                if limit <= 1:
                    raise
                limit = max(1, limit // _SMALLER)
            else:
                return page, limit

    async def _kept(self, items: Sequence[T]) -> list[T]:
        pause, kept = Slices(), []
        for item in items:
            if (read := self._sink.keep(item)) is not None:
                kept.append(read)
            if pause.over():
                await pause.rest()
        return kept

    async def _stream(self, version: str) -> Outcome:
        """A streaming list that goes on as a watch on the same connection (KEP-3157)."""
        timeout = self._timeout()
        opened = self._source.watch(resource_version=version, initial_events=True, timeout_seconds=timeout)
        async with AsyncExitStack() as stack:
            start = anyio.current_time()
            with anyio.move_on_after(_QUIET_SECONDS) as opening:
                stream = await stack.enter_async_context(opened)
            if opening.cancelled_caught:
                return NoBookmark(answered=False)
            initial = await self._initial_events(stream)
            if initial is None:
                return NoBookmark()
            self._metrics.lists.labels(self._source.resource, "watchlist").inc()
            await self._sink.replace(initial.objects, initial.version)
            return await self._follow(stream, initial.version, start + timeout, initial.rest)

    async def _initial_events(self, stream: WatchStream[T]) -> "_Initial[T] | None":
        """All initial events, None when they did not end in time."""
        objects: dict[Key, T] = {}
        unreadable: dict[Key, Unreadable] = {}
        pause = Slices()
        with anyio.move_on_after(_SYNC_SECONDS):
            while events := await self._receive(stream, _QUIET_SECONDS):
                for position, event in enumerate(events):
                    if pause.over():
                        await pause.rest()
                    match event:
                        case Added(object=item) | Modified(object=item):
                            unreadable.pop(key_of(item), None)
                            if (kept := self._sink.keep(item)) is not None:
                                objects[key_of(item)] = kept
                            else:
                                objects.pop(key_of(item), None)
                        case Deleted(object=item):
                            objects.pop(key_of(item), None)
                            unreadable.pop(key_of(item), None)
                        case Unreadable(object=named):
                            objects.pop(key_of(named), None)
                            unreadable[key_of(named)] = event
                        case Bookmark() if event.ends_initial_events:
                            version = event.object.metadata.resource_version
                            rest = (*unreadable.values(), *events[position:])
                            return _Initial(list(objects.values()), version, rest)
                        case Failed(object=status):
                            raise refusal(status)
        return None

    async def _watch(self, version: str, seconds: int) -> Outcome:
        opened = self._source.watch(resource_version=version, initial_events=False, timeout_seconds=seconds)
        end = anyio.current_time() + seconds
        async with opened as stream:
            return await self._follow(stream, version, end)

    async def _follow(
        self, stream: WatchStream[T], version: str, end: float, batch: Sequence[WatchEvent[T]] = ()
    ) -> Outcome:
        """Reads until the stream ends; an error takes along the version up to which all is well.

        `batch` has been read already, and may hold an error as any other. `end` is when the server shall end it.
        """
        self._metrics.watches.labels(self._source.resource).inc()
        # The server has taken the request: it is well, and may have nothing to say for minutes.
        self._heard_well()
        start = self.heard.at
        counter = self._metrics.watch_events.labels(self._source.resource)
        events, prompt = 0, False
        try:
            while batch := batch or await self._next(stream):
                self._heard_well()
                prompt |= self.heard.at < end - _LATE_SECONDS
                counter.inc(len(batch))
                events += len(batch)
                good, failure = _until_failure(batch)
                await self._sink.apply(good)
                version = _newest(good, version)
                if failure is not None:
                    return Broke(refusal(failure), version)
                batch = ()
        except Silent:
            return Quiet(version, prompt)
        except ApiError as error:
            return Broke(error, version)
        return Ended(version, events, anyio.current_time() - start, prompt)

    async def _next(self, stream: WatchStream[T]) -> Sequence[WatchEvent[T]]:
        with anyio.move_on_after(_DEAD_SECONDS):
            return await stream.receive()
        raise Silent(f"the watch said nothing for {_DEAD_SECONDS:.0f} s")

    async def _receive(self, stream: WatchStream[T], seconds: float) -> Sequence[WatchEvent[T]]:
        """The next events; none when the stream ended, or said nothing for so long."""
        with anyio.move_on_after(seconds):
            events = await stream.receive()
            self.heard.at = anyio.current_time()
            return events
        return ()

    def _heard_well(self) -> None:
        now = anyio.current_time()
        self.heard = Heard(at=now, well=now)

    def _timeout(self) -> int:
        return self._rng.randint(_SHORTEST_WATCH, _LONGEST_WATCH)


def refusal(status: Status) -> ApiError:
    """The error that an ERROR event stands for."""
    return classify(status.code, status.reason, status.message, retry_after=status.retry_after)


def _until_failure(batch: Sequence[WatchEvent[T]]) -> tuple[Sequence[WatchEvent[T]], Status | None]:
    """The events before an ERROR event, and that one's status; after it the server says nothing that counts."""
    for position, event in enumerate(batch):
        if type(event) is Failed:
            return batch[:position], event.object
    return batch, None


def _newest(events: Sequence[WatchEvent[T]], version: str) -> str:
    """The version of the last event, which everything before it is included in; `version` if none has one, or it is a replay."""
    for event in reversed(events):
        if not isinstance(event, Failed) and (newest := event.object.metadata.resource_version):
            return newest if version_number(newest) >= version_number(version) else version
    return version
