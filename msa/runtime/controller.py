"""Workers that take keys from a queue, have them reconciled, and do what the answer says."""

import logging
from collections.abc import Callable, Mapping
from itertools import count
from typing import assert_never

import anyio
import structlog

from msa.runtime.errors import ApiError, Conflict, Fenced
from msa.runtime.freshness import Freshness
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Reconcile
from msa.runtime.queue import Lane, ShutDown, WorkQueue
from msa.runtime.result import Done, Key, RequeueAfter, Result, Terminal

_TIMEOUT_SECONDS = 300.0
_STUCK_SECONDS = 2 * _TIMEOUT_SECONDS
_log = structlog.get_logger(__name__)


def _nothing(_key: Key) -> Mapping[str, str]:
    return {}


def _named(outcome: Result | Exception) -> str:
    """What came of a reconcile, for the log."""
    match outcome:
        case RequeueAfter(seconds=seconds):
            return f"again in {seconds:.1f} s"
        case Terminal(reason=reason):
            return reason
        case _:
            return type(outcome).__name__


class Controller:
    """One reconciler with its queue and workers.

    Args:
        queue: where keys come from.
        reconcile: looks at one key; see `result` for what it may answer. An exception is a failure: tried again, with backoff.
        workers: keys worked on at the same time.
        freshness: our own writes, waited for before a key is looked at again.
        metrics: where it counts.
        bind: what every log line of a reconcile says besides controller, key and number: the parts of its key, say.
    """

    def __init__(
        self,
        queue: WorkQueue,
        reconcile: Reconcile,
        *,
        workers: int,
        freshness: Freshness,
        metrics: Metrics,
        bind: Callable[[Key], Mapping[str, str]] = _nothing,
    ) -> None:
        self.queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self._freshness = freshness
        self._bind = bind
        self._numbers = count(1)
        name = queue.name
        self._results = {
            result: metrics.reconciles.labels(name, result)
            for result in ("success", "requeue_after", "terminal", "error")
        }
        self._errors = metrics.reconcile_errors.labels(name)
        self._panics = metrics.reconcile_panics.labels(name)
        self._crashes: dict[Key, str] = {}  # what each key crashed with last
        self._terminal = metrics.terminal_errors.labels(name)
        self._seconds = metrics.reconcile_seconds.labels(name)
        self._active = metrics.active_workers.labels(name)
        self._stale = metrics.stale_skips.labels(name)
        self._stale_timeouts = metrics.stale_timeouts.labels(name)
        metrics.max_workers.labels(name).set(workers)

    async def run(self) -> None:
        """Works until the queue is shut down; what was begun is finished. Cancelled, it can be run again and leaves nothing out."""
        self.queue.hurry()
        async with anyio.create_task_group() as group:
            group.start_soon(self.queue.run)
            for _ in range(self._workers):
                group.start_soon(self._work)

    def problem(self, now: float) -> str | None:  # noqa: ARG002 - the shape of a health check
        """A worker that cannot get done, None while all is well."""
        longest = self.queue.statistics().longest_running_seconds
        return (
            f"{self.queue.name}: a worker has been busy for {longest:.0f} s"
            if longest > _STUCK_SECONDS
            else None
        )

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            self._active.inc()
            try:
                await self._handle(key)
            except anyio.get_cancelled_exc_class():
                self.queue.add(key, Lane.RETRY)  # cut short: the next lead looks at it again
                raise
            finally:
                self._active.dec()
                self.queue.done(key)

    async def _handle(self, key: Key) -> None:
        start = anyio.current_time()
        lag = self._freshness.lag(key, start)
        if lag is not None and lag > 0:
            # The informer's own event brings the key back; the delay is for the case that it never comes.
            self._stale.inc()
            self.queue.add_after(key, lag)
            return
        if lag is not None:
            self._stale_timeouts.inc()
            self._freshness.give_up(key)
        with structlog.contextvars.bound_contextvars(**self._context(key)):
            outcome = await self._attempt(key, start)
            seconds = anyio.current_time() - start
            self._seconds.observe(seconds)
            _log.debug("reconciled", result=_named(outcome), seconds=round(seconds, 3))
            self._answer(key, outcome)

    def _context(self, key: Key) -> Mapping[str, object]:
        ours = {"controller": self.queue.name, "key": key, "reconcile_id": next(self._numbers)}
        try:
            return {**self._bind(key), **ours}
        except Exception:  # noqa: BLE001 - a key that cannot be told in parts is told as a whole
            return ours

    async def _attempt(self, key: Key, start: float) -> Result | Exception:
        try:
            with anyio.CancelScope(deadline=start + _TIMEOUT_SECONDS):
                return await self._reconcile(key)
            raise TimeoutError(f"not done within {_TIMEOUT_SECONDS:.0f} s")  # noqa: TRY301 - as any other failure of the reconciler
        except Exception as error:  # noqa: BLE001 - whatever a reconciler does, its worker lives on and the key is tried again
            return error

    def _answer(self, key: Key, outcome: Result | Exception) -> None:
        """All that can come of a reconcile, worst first."""
        match outcome:
            case ApiError() as error:
                self._results["error"].inc()
                self._errors.inc()
                delay = self.queue.retry(key, getattr(error, "retry_after", None) or 0.0)
                # Nothing is wrong where somebody wrote first, or the lead has ended: it is looked at again.
                level = logging.DEBUG if isinstance(error, (Conflict, Fenced)) else logging.WARNING
                _log.log(
                    level,
                    "reconcile_failed",
                    reason=error.reason,
                    problem=error.message,
                    retry_in=round(delay, 3),
                )
            case Exception() as error:
                self._crashed(key, error)
            case Terminal(reason=reason):
                self._results["terminal"].inc()
                self._terminal.inc()
                self._forget(key)
                _log.debug("reconcile_refused", reason=reason)  # who refused has said more of it
            case RequeueAfter(seconds=seconds):
                self._results["requeue_after"].inc()
                self._forget(key)
                self.queue.add_after(key, seconds)
            case Done():
                self._results["success"].inc()
                self._forget(key)
            case _:
                assert_never(outcome)

    def _crashed(self, key: Key, error: Exception) -> None:
        """A bug: its trace is logged once for each key, until the key is done or fails otherwise."""
        self._results["error"].inc()
        self._errors.inc()
        self._panics.inc()
        delay = round(self.queue.retry(key), 3)
        kind = type(error).__name__
        if self._crashes.get(key) == kind:
            _log.warning("reconcile_crashed_again", error=kind, retry_in=delay)
            return
        self._crashes[key] = kind
        _log.error("reconcile_crashed", error=kind, retry_in=delay, exc_info=error)

    def _forget(self, key: Key) -> None:
        self._crashes.pop(key, None)
        self.queue.forget(key)
