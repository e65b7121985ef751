"""A trio loop on virtual time that runs only while it is asked to, for tests that look at a program between two steps.

Trio's guest mode, with a host that does nothing else: no thread and no real time, so a script plays the same way every time.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

_Work = Callable[[], Awaitable[object]]


class SteppedLoop:
    """Time stands still but for `pass_time`. After each call all tasks wait, for time or for the next call."""

    def __init__(self) -> None:
        self._clock = MockClock()
        self._callbacks: deque[Callable[[], object]] = deque()
        self._work: _Work | None = None
        self._background: list[_Work] = []
        self._failures: list[Exception] = []
        self._closing = False
        self._ends: list[Any] = []
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._callbacks.append,
            done_callback=self._ends.append,
            clock=self._clock,
        )

    def start(self, *tasks: _Work) -> None:
        """Runs them until `close`; what one of them raises, the next call raises."""
        self._background.extend(tasks)
        self._run(wait_all_tasks_blocked)

    def call(self, function: Callable[[], object]) -> None:
        """Calls it inside the loop, and lets everybody do what there is to do at this instant."""
        self._run(partial(self._call, function))

    def pass_time(self, seconds: float) -> None:
        """Lets so many seconds go by, from one deadline to the next."""
        self._run(partial(self._pass_time, seconds))

    def close(self) -> None:
        """Cancels whatever still runs, and waits for its end."""
        self._closing = True
        while not self._ends:
            self._callbacks.popleft()()
        self._ends[0].unwrap()

    def _run(self, work: _Work) -> None:
        self._work = work
        while self._busy:
            self._callbacks.popleft()()
        if self._failures:
            raise self._failures[0]

    @property
    def _busy(self) -> bool:
        return self._work is not None

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            while not self._closing:
                while self._background:
                    nursery.start_soon(self._guarded, self._background.pop(0))
                if self._work is not None:
                    await self._guarded(self._work)
                    self._work = None
                await (
                    trio.lowlevel.checkpoint()
                )  # never idle: trio would wait for the real world, in a thread
            nursery.cancel_scope.cancel()

    async def _guarded(self, work: _Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised by the call that let it happen, see `_run`
            self._failures.append(error)

    async def _call(self, function: Callable[[], object]) -> None:
        function()
        await wait_all_tasks_blocked()

    async def _pass_time(self, seconds: float) -> None:
        end = self._clock.current_time() + seconds
        while (rest := end - self._clock.current_time()) > 0:
            due = trio.lowlevel.current_statistics().seconds_to_next_deadline
            self._clock.jump(max(0.0, min(due, rest)))
            await wait_all_tasks_blocked()
