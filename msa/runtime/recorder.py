"""Kubernetes Events: best effort. Repeated ones are counted up, floods are cut, and nobody ever waits for one.

core/v1 Events as every `kubectl describe` shows them. At most 10 a second go out after a burst of 50; what does not fit is
dropped and counted. They go behind every other request: while one is under way, an Event waits, though not for ever.
"""

import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

import anyio
import structlog
from attrs import evolve, frozen

from msa.runtime.errors import AlreadyExists, ApiError, NotFound
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Now

_RATE = 10.0
_BURST = 50
_BUFFER = 1000
_REMEMBERED = 1024
_LONGEST_MESSAGE = 1024
_SAME_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_LONGEST_WAIT = 5.0
_STUCK_SECONDS = 300.0
_log = structlog.get_logger(__name__)


@frozen
class ObjectReference:
    """The object that an Event is about.

    Attributes:
        namespace: "" for an object that is cluster-scoped.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@frozen
class EventRecord:
    """One Event.

    Attributes:
        name: of the Event object.
        type: Normal or Warning.
        count: how often it happened.
        lasting: it tells of a state, which a process that starts finds as the one before has told of it.
    """

    name: str
    regarding: ObjectReference
    type: str
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 1
    lasting: bool = False


class EventSink(Protocol):
    """Where Events go."""

    async def create(self, event: EventRecord) -> None: ...

    async def bump(self, event: EventRecord) -> None:
        """Writes count and last time of one that was created before."""
        ...


_Identity = tuple[str, str, str, str]


class EventRecorder:
    """Takes Events from anybody, sends them from `run`.

    Args:
        sink: where they go.
        now: wall time.
        metrics: where they are counted.
        busy: whether other requests are under way.
    """

    def __init__(
        self, sink: EventSink, now: Now, metrics: Metrics, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._sink = sink
        self._busy = busy
        self._now = now
        self._attempts = metrics.events_sent
        self._dropped = metrics.events_dropped
        self._pending: deque[_Identity] = deque()
        self._waiting: dict[_Identity, EventRecord] = {}
        self._under_way: dict[_Identity, EventRecord] = {}  # at most one
        self._since = math.inf  # it is under way
        # What the server has, as far as is known; its counts may be behind these, never before them.
        self._sent: OrderedDict[_Identity, EventRecord] = OrderedDict()
        self._stamp = 0
        self._wake = anyio.Event()
        self._tokens = float(_BURST)
        self._refilled = -math.inf

    def record(
        self, regarding: ObjectReference, type_: str, reason: str, message: str, *, lasting: bool = False
    ) -> None:
        """Takes one; never waits, never fails.

        Args:
            regarding: what it is about.
            type_: see `EventRecord`.
            reason: CamelCase.
            message: is cut.
            lasting: see `EventRecord`: as long as the hub has the Event, no other process creates it again.
        """
        message, now = message[:_LONGEST_MESSAGE], self._now()
        identity = (regarding.uid, type_, reason, message)
        known = self._waiting.get(identity) or self._under_way.get(identity) or self._sent.get(identity)
        if known is not None and (lasting or (now - known.last).total_seconds() < _SAME_SECONDS):
            event = evolve(known, count=known.count + 1, last=now)
        else:
            name = _name_of(identity, regarding) if lasting else self._name(regarding, now)
            event = EventRecord(name, regarding, type_, reason, message, now, now, lasting=lasting)
        if identity not in self._waiting:
            if len(self._waiting) >= _BUFFER:
                self._dropped.inc()
                return
            self._pending.append(identity)
        self._waiting[identity] = event
        self._wake.set()

    def _name(self, regarding: ObjectReference, now: datetime) -> str:
        """One that no other Event of this process has, whatever the clock does."""
        self._stamp = max(self._stamp + 1, int(now.timestamp() * 1e6))
        return f"{regarding.name[:200]}.{self._stamp:x}"

    async def run(self) -> None:
        """Sends for ever, one at a time."""
        while True:
            if not self._pending:
                self._wake = anyio.Event()
                await self._wake.wait()
            await self._throttle()
            await self._step_aside()
            identity = self._pending.popleft()
            self._under_way, self._since = {identity: self._waiting.pop(identity)}, anyio.current_time()
            try:
                await self._send(identity, self._under_way[identity])
            except anyio.get_cancelled_exc_class():
                self._put_back(identity)
                raise
            finally:
                self._under_way, self._since = {}, math.inf

    def _put_back(self, identity: _Identity) -> None:
        """The lead was lost: it is sent with the next one, unless the same has happened again meanwhile."""
        if identity not in self._waiting:
            self._pending.appendleft(identity)
            self._waiting[identity] = self._under_way[identity]

    def problem(self, now: float) -> str | None:
        """An Event that does not get done, None while all is well.

        Args:
            now: monotonic seconds.
        """
        late = now - self._since
        return f"sending of Events: one is under way for {late:.0f} s" if late > _STUCK_SECONDS else None

    async def _send(self, identity: _Identity, event: EventRecord) -> None:
        self._attempts.inc()
        sent = self._sent.get(identity)
        created = sent is not None and sent.name == event.name
        try:
            await self._write(event, created=created)
        except ApiError as error:
            self._dropped.inc()
            _log.debug("event_dropped", reason=error.reason, problem=error.message)
            if not created or isinstance(error, NotFound):
                self._sent.pop(identity, None)
                return
        except Exception:  # noqa: BLE001 - one Event that cannot be written must not end the others
            self._dropped.inc()
            _log.exception(
                "event_not_writable", type=event.type, reason=event.reason, object=event.regarding.name
            )
            return
        self._remember(identity, event)  # a bump that failed too: the next one tells its count along

    async def _write(self, event: EventRecord, *, created: bool) -> None:
        if not created:
            with suppress(AlreadyExists):  # by an attempt whose answer was lost, or by an earlier process
                await self._sink.create(event)
                return
            if event.lasting:
                return
        await self._sink.bump(event)

    def _remember(self, identity: _Identity, event: EventRecord) -> None:
        self._sent[identity] = event
        self._sent.move_to_end(identity)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)

    async def _step_aside(self) -> None:
        with anyio.move_on_after(_LONGEST_WAIT):
            while self._busy():  # noqa: ASYNC110 - many requests come and go: a look now and then is cheaper than a call for each
                await anyio.sleep(_LOOK_SECONDS)

    async def _throttle(self) -> None:
        now = anyio.current_time()
        self._tokens = (
            min(_BURST, self._tokens + (now - self._refilled) * _RATE)
            if self._refilled > -math.inf
            else float(_BURST)
        )
        self._refilled = now
        if self._tokens < 1.0:
            await anyio.sleep((1.0 - self._tokens) / _RATE)
            self._refilled = anyio.current_time()
            self._tokens = 1.0
        self._tokens -= 1.0


def _name_of(identity: _Identity, regarding: ObjectReference) -> str:
    """The same in every process."""
    digest = hashlib.blake2b("\n".join(identity).encode(errors="replace"), digest_size=8).hexdigest()
    return f"{regarding.name[:200]}.{digest}"
