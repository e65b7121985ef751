"""Honest probes: ready when every cache is synced, alive while everything that must run does; what is not, is named."""

import gc
import time
from collections.abc import Callable, Sequence

import anyio

from msa.runtime.http import Response
from msa.runtime.metrics import Metrics

Check = Callable[[float], str | None]
"""What is wrong at a monotonic time, None while all is well."""

_LAG_INTERVAL = 0.5
_LAG_LIMIT = 10.0


class LoopLag:
    """Measures how late the event loop wakes a sleeper."""

    def __init__(self, metrics: Metrics) -> None:
        self._lag = metrics.loop_lag
        self._next = float("inf")

    async def run(self) -> None:
        while True:
            self._next = anyio.current_time() + _LAG_INTERVAL
            await anyio.sleep(_LAG_INTERVAL)
            self._lag.observe(max(0.0, anyio.current_time() - self._next))

    def problem(self, now: float) -> str | None:
        late = now - self._next
        return f"the event loop is {late:.0f} s late" if late > _LAG_LIMIT else None


def observe_garbage_collection(metrics: Metrics) -> None:
    """Measures each pause of the garbage collector, for as long as the process lives."""
    begun = [0.0]

    def callback(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            begun[0] = time.perf_counter()
        else:
            metrics.gc_pause.observe(time.perf_counter() - begun[0])

    gc.callbacks.append(callback)


async def report(checks: Sequence[Check]) -> Response:
    """200 and `ok`, or 503 and one line for each thing that is wrong."""
    now = anyio.current_time()
    problems = [problem for check in checks if (problem := check(now)) is not None]
    if problems:
        return Response("".join(f"{problem}\n" for problem in problems).encode(), 503)
    return Response(b"ok\n")
