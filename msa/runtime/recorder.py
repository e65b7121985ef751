"""Kubernetes Events: best effort. Repeated ones are counted up, floods are cut, and nobody ever waits for one.

core/v1 Events as every `kubectl describe` shows them. At most 10 a second go out after a burst of 50; what does not fit is
dropped and counted. They go behind every other request: while one is under way, an Event waits, though not for ever.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import anyio
import structlog
from attrs import evolve, frozen

from msa.runtime.errors import ApiError
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Now

_RATE = 10.0
_BURST = 50
_BUFFER = 1000
_REMEMBERED = 4096
_LONGEST_MESSAGE = 1024
_SAME_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_LONGEST_WAIT = 5.0
_log = structlog.get_logger(__name__)


@frozen
class ObjectReference:
    """The object that an Event is about."""

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
    """

    name: str
    regarding: ObjectReference
    type: str
    reason: str
    message: str
    first: datetime
    last: datetime
    count: int = 1


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
        self._sent: OrderedDict[_Identity, EventRecord] = OrderedDict()
        self._wake = anyio.Event()
        self._tokens = float(_BURST)
        self._refilled = -math.inf

    def record(self, regarding: ObjectReference, type_: str, reason: str, message: str) -> None:
        """Takes one; never waits, never fails."""
        message, now = message[:_LONGEST_MESSAGE], self._now()
        identity = (regarding.uid, type_, reason, message)
        known = self._waiting.get(identity) or self._sent.get(identity)
        if known is not None and (now - known.last).total_seconds() < _SAME_SECONDS:
            event = evolve(known, count=known.count + 1, last=now)
        else:
            event = EventRecord(
                f"{regarding.name[:200]}.{int(now.timestamp() * 1e6):x}",
                regarding,
                type_,
                reason,
                message,
                now,
                now,
            )
            self._sent.pop(identity, None)
        if identity not in self._waiting:
            if len(self._waiting) >= _BUFFER:
                self._dropped.inc()
                return
            self._pending.append(identity)
        self._waiting[identity] = event
        self._wake.set()

    async def run(self) -> None:
        """Sends for ever, one at a time."""
        while True:
            if not self._pending:
                self._wake = anyio.Event()
                await self._wake.wait()
            await self._throttle()
            await self._step_aside()
            identity = self._pending.popleft()
            await self._send(identity, self._waiting.pop(identity))

    async def _send(self, identity: _Identity, event: EventRecord) -> None:
        self._attempts.inc()
        try:
            if identity in self._sent:
                await self._sink.bump(event)
            else:
                await self._sink.create(event)
        except ApiError as error:
            self._dropped.inc()
            self._sent.pop(identity, None)
            _log.debug("event_dropped", reason=error.reason, problem=error.message)
            return
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
