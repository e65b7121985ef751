"""The work queue: which key is looked at next, by whom, and when again.

Fair (first come, first served within a lane), stingy (a key that is added many times before it is taken is taken once), safe
(a key is never with two workers), patient (delays, kept by one heap and one timer). After client-go's workqueue, with
priority lanes: what just happened goes before what failed, and that before what was there at the start.
"""

import heapq
from collections import deque
from enum import IntEnum

import anyio
import anyio.lowlevel
from attrs import frozen

from msa.runtime.backoff import Backoff
from msa.runtime.metrics import Metrics
from msa.runtime.result import Key

_TURNS = 8
"""After so many keys from better lanes, a waiting lane gets a turn: nothing waits for ever."""

_FAIRNESS_SECONDS = 0.001
"""A worker that always finds a key lets others run this often."""


class Lane(IntEnum):
    """Priority of a key, best first."""

    LIVE = 0
    RETRY = 1
    INITIAL = 2


class ShutDown(Exception):
    """The queue hands out nothing more."""


@frozen
class QueueStatistics:
    """A queue at one moment.

    Attributes:
        ready: keys that wait for a worker, by lane.
        delayed: keys whose time has not come.
        processing: keys that workers hold.
        oldest_seconds: how long the first of the ready keys has waited.
        longest_running_seconds: how long the slowest worker has held its key.
        unfinished_seconds: the sum over all keys that workers hold.
    """

    ready: dict[Lane, int]
    delayed: int
    processing: int
    oldest_seconds: float
    longest_running_seconds: float
    unfinished_seconds: float


class WorkQueue:
    """See the module.

    Args:
        name: for metrics.
        backoff: delays after failures.
        metrics: where it counts.
    """

    def __init__(self, name: str, backoff: Backoff, metrics: Metrics) -> None:
        self.name = name
        self._backoff = backoff
        self._lanes: tuple[deque[Key], ...] = tuple(deque() for _ in Lane)
        # A key in _dirty needs to be looked at. It stands in exactly one lane, unless it is in _processing too: then it stands
        # in none, and gets its place when the worker is done.
        self._dirty: dict[Key, Lane] = {}
        self._since: dict[Key, float] = {}  # when a key became dirty; same keys as _dirty
        self._processing: dict[Key, float] = {}  # when the worker took it
        # The planned times. The heap may hold more: an entry counts only while _due names its time for its key.
        self._heap: list[tuple[float, Key, Lane]] = []
        self._due: dict[Key, float] = {}
        self._waiters: deque[anyio.Event] = deque()
        self._timer = anyio.Event()
        self._passed_over = [0 for _ in Lane]
        self._down = False
        self._breather = 0.0
        self._adds = metrics.queue_adds.labels(name)
        self._retries = metrics.queue_retries.labels(name)
        self._wait = metrics.queue_wait.labels(name)
        self._work = metrics.queue_work.labels(name)

    def add(self, key: Key, lane: Lane = Lane.LIVE) -> None:
        """Has `key` looked at, as soon as a worker is free; of several adds the best lane counts."""
        if self._down:
            return
        known = self._dirty.get(key)
        if known is not None and known <= lane:
            return
        self._adds.inc()
        self._dirty[key] = lane
        self._since.setdefault(key, anyio.current_time())
        if key not in self._processing:
            self._enter(key, lane)

    def add_after(self, key: Key, seconds: float, lane: Lane = Lane.LIVE) -> None:
        """Has `key` looked at in so many seconds; of several times the soonest counts."""
        if seconds <= 0:
            self.add(key, lane)
            return
        due = anyio.current_time() + seconds
        if self._down or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key, lane))
        if self._heap[0][1] == key:
            self._timer.set()
        self._compact()

    def retry(self, key: Key, least: float = 0.0) -> float:
        """Has `key` looked at again after its backoff, and at least `least` seconds; returns the seconds."""
        now = anyio.current_time()
        seconds = self._backoff.due(key, now, least) - now
        self._retries.inc()
        self.add_after(key, max(seconds, 1e-9), Lane.RETRY)
        return seconds

    def hurry(self) -> None:
        """Has all keys that failed looked at now, as if they had failed for the first time: what they failed of may be over."""
        for due, key, lane in list(self._heap):
            if lane is Lane.RETRY and self._due.get(key) == due:
                del self._due[key]
                self._backoff.forget(key)
                self.add(key, lane)

    def forget(self, key: Key) -> None:
        """The next failure of `key` counts as its first."""
        self._backoff.forget(key)

    async def get(self) -> Key:
        """The next key, for this worker alone until `done`. Its planned time is cancelled: who works on it plans anew.

        Raises:
            ShutDown: there is nothing more to do.
        """
        while not self._down:
            if (key := self._leave()) is not None:
                await self._breathe(key)
                return key
            waiter = anyio.Event()
            self._waiters.append(waiter)
            try:
                await waiter.wait()
            except BaseException:
                if waiter.is_set():  # cancelled after being called: the call goes to the next worker
                    self._call()
                else:
                    self._waiters.remove(waiter)
                raise
        raise ShutDown

    def done(self, key: Key) -> None:
        """The worker is finished with `key`; added meanwhile, it gets its place now."""
        taken = self._processing.pop(key)
        self._work.observe(anyio.current_time() - taken)
        if key in self._dirty:
            self._enter(key, self._dirty[key])

    def shut_down(self) -> None:
        """Hands out nothing more; keys with workers may finish."""
        self._down = True
        self._timer.set()
        for waiter in self._waiters:
            waiter.set()

    async def run(self) -> None:
        """The timer: moves keys whose time has come. Ends with `shut_down`."""
        while not self._down:
            self._timer = anyio.Event()
            self._release(anyio.current_time())
            with anyio.move_on_at(self._heap[0][0]) if self._heap else anyio.CancelScope():
                await self._timer.wait()

    def statistics(self) -> QueueStatistics:
        now = anyio.current_time()
        held = [now - since for since in self._processing.values()]
        waiting = [now - self._since[lane[0]] for lane in self._lanes if lane and lane[0] in self._since]
        return QueueStatistics(
            ready={lane: len(self._lanes[lane]) for lane in Lane},
            delayed=len(self._due),
            processing=len(held),
            oldest_seconds=max(waiting, default=0.0),
            longest_running_seconds=max(held, default=0.0),
            unfinished_seconds=sum(held),
        )

    def _enter(self, key: Key, lane: Lane) -> None:
        """A key that is added again in a better lane leaves a stale place behind in the worse one, see `_leave`."""
        self._lanes[lane].append(key)
        self._call()

    def _leave(self) -> Key | None:
        while (lane := self._next_lane()) is not None:
            key = self._lanes[lane].popleft()
            if self._dirty.get(key) is not lane or key in self._processing:
                continue  # it was moved to a better lane, from there to a worker, and maybe added again
            now = anyio.current_time()
            del self._dirty[key]
            self._wait.observe(now - self._since.pop(key))
            self._due.pop(key, None)
            self._processing[key] = now
            return key
        return None

    def _next_lane(self) -> Lane | None:
        """The best lane that has keys, unless a worse one has been passed over too often."""
        chosen: Lane | None = None
        for lane in reversed(Lane):
            if self._lanes[lane] and (chosen is None or self._passed_over[chosen] < _TURNS):
                chosen = lane
        for lane in Lane:
            if lane == chosen:
                self._passed_over[lane] = 0
            elif chosen is not None and lane > chosen and self._lanes[lane]:
                self._passed_over[lane] += 1
        return chosen

    def _call(self) -> None:
        if self._waiters:
            self._waiters.popleft().set()

    async def _breathe(self, key: Key) -> None:
        """Lets other tasks run when this loop has not for a while; a worker that is cancelled here gives its key back."""
        now = anyio.current_time()
        if now - self._breather < _FAIRNESS_SECONDS:
            return
        try:
            await anyio.lowlevel.checkpoint()
        except BaseException:
            del self._processing[key]
            self.add(key)
            raise
        self._breather = anyio.current_time()

    def _release(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            due, key, lane = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key, lane)

    def _compact(self) -> None:
        """Drops what no longer counts once that is most of the heap."""
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [entry for entry in self._heap if self._due.get(entry[1]) == entry[0]]
            heapq.heapify(self._heap)
