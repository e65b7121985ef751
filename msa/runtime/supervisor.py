"""A process of controllers, from start to stop: probes, caches, the lead, workers; and no task of it ends unnoticed.

An exception takes the process down by itself, since all tasks are in one task group. A task that just returns would be missed by
nobody, so it does too; whoever starts the process again (the kubelet, say) then gives all of them a clean start.
"""

import errno
import gc
import math
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import structlog
from attrs import define, field, frozen
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from msa.runtime.connectivity import Connectivity
from msa.runtime.controller import Controller
from msa.runtime.health import Check, LoopLag, observe_garbage_collection, report
from msa.runtime.http import Response, Route, parse_address, serve
from msa.runtime.informer import Informer
from msa.runtime.leader import LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.queue_series import QueueSeries
from msa.runtime.watch_series import WatchSeries

Task = Callable[[], Awaitable[None]]

_GRACE_SECONDS = 8.0
_GC_THRESHOLD = 50_000
_log = structlog.get_logger(__name__)


class Ended(Exception):
    """A task that must run for ever came to its end; the message names it."""


class StartError(Exception):
    """The process cannot start as it was told to; the message is one line that says why and what would help."""


@frozen
class Addresses:
    """Where it is looked at; "" or "0" for nowhere.

    Attributes:
        metrics: of /metrics, for Prometheus.
        health: of /healthz, /livez and /readyz.
    """

    metrics: str
    health: str


async def for_ever(name: str, task: Task) -> None:
    """Runs a task.

    Args:
        name: for the message.
        task: what must not end.

    Raises:
        Ended: it did.
    """
    await task()
    raise Ended(f"{name} came to its end")


async def _nothing() -> None:
    """Where there is nothing to prepare."""


@define
class _Stop:
    """What a signal does: it ends everything at once, but for workers, who finish what they have begun.

    Attributes:
        scope: of all that runs.
        working: there are workers; without them nothing is half done, and nobody is made to wait.
        told: a signal has come.
    """

    controllers: Sequence[Controller]
    scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    working: bool = field(default=False, init=False)
    told: bool = field(default=False, init=False)

    async def listen(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Waits for signals, for ever; from `started` on none is missed."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                if self.told:
                    os._exit(128 + number)  # a second signal: whoever sends it does not want to wait
                _log.info("stopping", signal=signal.Signals(number).name)
                self._begin()

    @contextmanager
    def work(self) -> Iterator[None]:
        """While this lasts there are workers."""
        self.working = bool(self.controllers)
        try:
            yield
        finally:
            self.working = False
            if self.told:
                self.scope.cancel()  # the lead was lost while they finished

    def _begin(self) -> None:
        self.told = True
        if not self.working:
            self.scope.cancel()
            return
        for controller in self.controllers:
            controller.queue.shut_down()
        self.scope.deadline = anyio.current_time() + _GRACE_SECONDS


@frozen(kw_only=True)
class Supervisor:
    """All parts of a process, before anything runs.

    Attributes:
        informers: its caches; the workers begin once they are complete.
        controllers: its workers, by which it ends: they finish what they have begun. Without any it runs until a signal.
        always: what runs from the start, by name.
        leading: what runs only while this replica leads, since it writes.
        elector: None where a single replica needs no lead.
        servers: whose return from an outage has all that failed tried again at once.
        prepare: done before the caches are filled, and after the probes answer; a StartError from it says what is missing.
        checks: what /livez asks beside the parts above.
    """

    metrics: Metrics
    addresses: Addresses
    informers: Sequence[Informer[Any]]
    controllers: Sequence[Controller]
    always: Mapping[str, Task]
    leading: Mapping[str, Task]
    elector: LeaderElector | None
    servers: Sequence[Connectivity] = ()
    prepare: Task = _nothing
    checks: Sequence[Check] = ()
    lag: LoopLag = field(init=False)
    series: QueueSeries = field(init=False)
    ages: WatchSeries = field(init=False)
    _scrapes: anyio.CapacityLimiter = field(init=False, factory=lambda: anyio.CapacityLimiter(1))
    """One is written out at a time: a flood of scrapes holds one thread, and no more than its share of the interpreter."""

    @lag.default
    def _measure(self) -> LoopLag:
        return LoopLag(self.metrics)

    @series.default
    def _count(self) -> QueueSeries:
        return QueueSeries(self.metrics.registry)

    @ages.default
    def _age(self) -> WatchSeries:
        return WatchSeries(self.metrics.registry)

    async def run(self) -> None:
        """Runs until it is told to stop by a signal, whatever it is about at that moment.

        Raises:
            StartError: an address cannot be had, or `prepare` found what is missing. In a group, as all that comes from tasks.
            Ended: a task that must run for ever did not; in a group too.
        """
        stop = _Stop(self.controllers)
        async with anyio.create_task_group() as listening:
            await listening.start(stop.listen)
            with stop.scope:
                await self._run(stop)
            listening.cancel_scope.cancel()

    async def _run(self, stop: _Stop) -> None:
        async with anyio.create_task_group() as tasks:
            await self._start_servers(tasks)
            await self.prepare()
            always: tuple[tuple[str, Task], ...] = (
                *self.always.items(),
                ("measuring of the event loop", self.lag.run),
                *(("waiting for a server's return", partial(self._hurry, server)) for server in self.servers),
                *((f"watch of {informer.resource}", informer.run) for informer in self.informers),
            )
            for name, task in always:
                tasks.start_soon(for_ever, name, task)
            await self._fill_caches()
            lead = partial(self._lead, stop)
            await (lead() if self.elector is None else self.elector.run(lead))
            tasks.cancel_scope.cancel()

    async def _hurry(self, server: Connectivity) -> None:
        while await server.rest(math.inf):
            for controller in self.controllers:
                controller.queue.hurry()

    async def _fill_caches(self) -> None:
        observe_garbage_collection(self.metrics)
        gc.set_threshold(_GC_THRESHOLD)
        for informer in self.informers:
            await informer.wait_settled()
        gc.collect()
        gc.freeze()  # the caches are not searched again at every collection
        _log.info("ready", **{informer.resource: len(informer.store) for informer in self.informers})

    async def _lead(self, stop: _Stop) -> None:
        """Works until told to stop, or until the lead is lost."""
        with stop.work():
            await self._work()

    async def _work(self) -> None:
        async with anyio.create_task_group() as tasks:
            for name, task in self.leading.items():
                tasks.start_soon(for_ever, name, task)
            if not self.controllers:
                await anyio.sleep_forever()
            async with anyio.create_task_group() as workers:
                for controller in self.controllers:
                    workers.start_soon(controller.run)
            tasks.cancel_scope.cancel()

    def _alive(self) -> Sequence[Check]:
        return (
            self.lag.problem,
            *(controller.problem for controller in self.controllers),
            *(informer.problem for informer in self.informers),
            *([self.elector.problem] if self.elector is not None else []),
            *self.checks,
        )

    async def _start_servers(self, tasks: anyio.abc.TaskGroup) -> None:
        livez = partial(report, self._alive())
        readyz = partial(report, tuple(_readiness(informer) for informer in self.informers))
        probes = {"/healthz": livez, "/livez": livez, "/readyz": readyz}
        await serve_at(tasks, self.addresses, metrics={"/metrics": self._scrape}, health=probes)

    async def _scrape(self) -> Response:
        self.series.note(controller.queue for controller in self.controllers)
        self.ages.note(self.informers, anyio.current_time())
        body = await anyio.to_thread.run_sync(generate_latest, self.metrics.registry, limiter=self._scrapes)
        return Response(body, content_type=CONTENT_TYPE_LATEST)


def _readiness(informer: Informer[Any]) -> Check:
    return lambda _now: informer.not_synced()


async def serve_at(
    tasks: anyio.abc.TaskGroup,
    addresses: Addresses,
    *,
    metrics: Mapping[str, Route],
    health: Mapping[str, Route],
) -> None:
    """Starts to serve both.

    Raises:
        StartError: an address cannot be had.
    """
    servers = (
        ("--metrics-bind-address", addresses.metrics, metrics),
        ("--health-probe-bind-address", addresses.health, health),
    )
    for flag, text, routes in servers:
        try:
            if (address := parse_address(text)) is not None:
                await tasks.start(serve, address, routes)
        except ValueError as error:
            raise StartError(f"{flag}: {error}") from None
        except OSError as error:
            raise StartError(f"{flag}={text}: {_told(error, text)}") from None


def _told(error: OSError, address: str) -> str:
    """Why it cannot be had, in words. anyio says it in a group of its own where a name stands for several addresses."""
    host, _, port = address.rpartition(":")
    cause = error.__cause__ if error.errno is None and isinstance(error.__cause__, OSError) else error
    match cause.errno:
        case errno.EADDRINUSE:
            return f"port {port} is already in use"
        case errno.EACCES | errno.EPERM:
            return f"this user may not listen on port {port}"
        case errno.EADDRNOTAVAIL:
            return f"this machine does not have the address {host}"
        case _:
            return cause.strerror or "it cannot be listened on"
