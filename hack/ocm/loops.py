"""What every part is made of: informers that fill queues, and a reconciler for each queue."""

import random
import signal
from collections.abc import Awaitable

import anyio
from attrs import define, field

from hack.ocm.api import Api, Object
from msa.kube.resources import Selection
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.ports import Reconcile
from msa.runtime.queue import WorkQueue


@define
class Loops:
    """The informers and controllers of one process.

    What is read is what the caches hold: a write decided from an old copy carries its version, fails with Conflict and is tried again.
    """

    _informers: list[Informer[Object]] = field(factory=list)
    _controllers: list[Controller] = field(factory=list)
    _rng: random.Random = field(factory=random.SystemRandom)

    def follow(self, api: Api, selection: Selection) -> Informer[Object]:
        informer: Informer[Object] = Informer(api.resource(selection), self._rng, api.metrics)
        self._informers.append(informer)
        return informer

    def control(self, api: Api, name: str, reconcile: Reconcile, workers: int = 4) -> WorkQueue:
        queue = WorkQueue(name, Backoff(self._rng), api.metrics)
        self._controllers.append(
            Controller(queue, reconcile, workers=workers, freshness=Freshness(), metrics=api.metrics)
        )
        return queue

    async def run(self) -> None:
        """Runs for ever."""
        async with anyio.create_task_group() as group:
            for informer in self._informers:
                group.start_soon(informer.run)
            for informer in self._informers:
                await informer.wait_synced()
            for controller in self._controllers:
                group.start_soon(controller.run)


async def until_told(*parts: Awaitable[None]) -> None:
    """Runs these until SIGTERM or SIGINT."""

    async def run(part: Awaitable[None]) -> None:
        await part

    async with anyio.create_task_group() as group:
        for part in parts:
            group.start_soon(run, part)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                group.cancel_scope.cancel()
                return
