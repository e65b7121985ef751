"""A process of controllers, from start to stop: probes, caches, the lead, workers; and no task of it ends unnoticed.

An exception takes the process down by itself, since all tasks are in one task group. A task that just returns would be missed by
nobody, so it does too; whoever starts the process again (the kubelet, say) then gives all of them a clean start.
"""

import gc
import math
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import structlog
from attrs import field, frozen
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from msa.runtime.controller import Controller
from msa.runtime.health import Check, LoopLag, observe_garbage_collection, report
from msa.runtime.http import Response, parse_address, serve
from msa.runtime.informer import Informer
from msa.runtime.leader import LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.queue_series import QueueSeries

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


@frozen(kw_only=True)
class Supervisor:
    """All parts of a process, before anything runs.

    Attributes:
        informers: its caches; the workers begin once they are complete.
        controllers: its workers, by which it ends: they finish what they have begun.
        always: what runs from the start, by name.
        leading: what runs only while this replica leads, since it writes.
        elector: None where a single replica needs no lead.
        prepare: done before the caches are filled, and after the probes answer.
    """

    metrics: Metrics
    addresses: Addresses
    informers: Sequence[Informer[Any]]
    controllers: Sequence[Controller]
    always: Mapping[str, Task]
    leading: Mapping[str, Task]
    elector: LeaderElector | None
    prepare: Task = _nothing
    lag: LoopLag = field(init=False)
    series: QueueSeries = field(init=False)

    @lag.default
    def _measure(self) -> LoopLag:
        return LoopLag(self.metrics)

    @series.default
    def _count(self) -> QueueSeries:
        return QueueSeries(self.metrics.registry)

    async def run(self) -> None:
        """Runs until it is told to stop by a signal.

        Raises:
            StartError: an address cannot be had.
            Ended: a task that must run for ever did not.
        """
        async with anyio.create_task_group() as tasks:
            await self._start_servers(tasks)
            await self.prepare()
            for name, task in (
                *self.always.items(),
                ("measuring of the event loop", self.lag.run),
                *((f"watch of {informer.resource}", informer.run) for informer in self.informers),
            ):
                tasks.start_soon(for_ever, name, task)
            tasks.start_soon(self._stop_on_signal, tasks.cancel_scope)
            await self._fill_caches()
            await (self._lead() if self.elector is None else self.elector.run(self._lead))
            tasks.cancel_scope.cancel()

    async def _fill_caches(self) -> None:
        observe_garbage_collection(self.metrics)
        gc.set_threshold(_GC_THRESHOLD)
        for informer in self.informers:
            await informer.wait_settled()
        gc.collect()
        gc.freeze()  # the caches are not searched again at every collection
        _log.info("ready", **{informer.resource: len(informer.store) for informer in self.informers})

    async def _lead(self) -> None:
        """Works until told to stop."""
        async with anyio.create_task_group() as tasks:
            for name, task in self.leading.items():
                tasks.start_soon(for_ever, name, task)
            async with anyio.create_task_group() as workers:
                for controller in self.controllers:
                    workers.start_soon(controller.run)
            tasks.cancel_scope.cancel()

    async def _start_servers(self, tasks: anyio.abc.TaskGroup) -> None:
        alive: tuple[Check, ...] = (
            self.lag.problem,
            *(controller.problem for controller in self.controllers),
            *(informer.problem for informer in self.informers),
            *([self.elector.problem] if self.elector is not None else []),
        )
        livez = partial(report, alive)
        readyz = partial(report, tuple(_readiness(informer) for informer in self.informers))
        servers = (
            ("--metrics-bind-address", self.addresses.metrics, {"/metrics": self._scrape}),
            (
                "--health-probe-bind-address",
                self.addresses.health,
                {"/healthz": livez, "/livez": livez, "/readyz": readyz},
            ),
        )
        for flag, text, routes in servers:
            try:
                if (address := parse_address(text)) is not None:
                    await tasks.start(serve, address, routes)
            except (ValueError, OSError) as error:
                raise StartError(f"{flag}={text}: {error}") from None

    async def _scrape(self) -> Response:
        self.series.note(controller.queue for controller in self.controllers)
        body = await anyio.to_thread.run_sync(generate_latest, self.metrics.registry)
        return Response(body, content_type=CONTENT_TYPE_LATEST)

    async def _stop_on_signal(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                if scope.deadline < math.inf:
                    os._exit(128 + number)  # a second signal: whoever sends it does not want to wait
                _log.info("stopping", signal=signal.Signals(number).name)
                for controller in self.controllers:
                    controller.queue.shut_down()
                scope.deadline = anyio.current_time() + _GRACE_SECONDS


def _readiness(informer: Informer[Any]) -> Check:
    return lambda _now: informer.not_synced()
