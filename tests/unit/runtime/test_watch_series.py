from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.watch_series import WatchSeries
from tests.support.scripted_server import ScriptedServer
from tests.support.wire import Thing

_LABEL = {"resource": ScriptedServer.resource}


async def test_the_ages_of_the_copies_are_as_the_loop_saw_them_last() -> None:
    registry = CollectorRegistry()
    informer = Informer[Thing](ScriptedServer(), Random(3), Metrics(registry))
    series = WatchSeries(registry)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await anyio.sleep(150)
        series.note([informer], anyio.current_time())
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    assert registry.get_sample_value("msa_watch_age_seconds", _LABEL) == pytest.approx(30, abs=0.1)


async def test_a_copy_that_was_not_begun_has_no_age() -> None:
    registry = CollectorRegistry()
    informer = Informer[Thing](ScriptedServer(), Random(3), Metrics(registry))
    WatchSeries(registry).note([informer], anyio.current_time())
    assert registry.get_sample_value("msa_watch_age_seconds", _LABEL) is None
