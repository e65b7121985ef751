"""Reflector, store and queue against a server that does everything a server can do wrong.

Each example is a script of writes and faults. Once the server behaves again, the store must equal the server, and both whoever
follows the changes and whoever takes keys from the queue must have been told of every object's last state.
"""

import os
from collections import Counter
from random import Random

import anyio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from trio.testing import MockClock

from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Change
from tests.support.scripted_server import Fault, ScriptedServer, Thing

NAMES = ("a", "b", "c", "d")
STEPS: Counter[str] = Counter()
QUIET_SECONDS = 700.0
"""Longer than the longest watch plus the longest backoff: by then every fault has been met and got over."""

_steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("fault"), st.sampled_from(Fault)),
    st.tuples(st.just("wait"), st.sampled_from((0.0, 0.02, 0.5, 1.5, 12.0, 75.0))),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("save"), st.none()),
    st.tuples(st.just("restore"), st.none()),
)
Script = list[tuple[str, object]]


class Follower:
    """Knows the objects only from changes, and from keys it was given to look at."""

    def __init__(self, server: ScriptedServer, informer: Informer[Thing], metrics: Metrics) -> None:
        self._server = server
        self.mirror: dict[Key, Thing] = {}
        self.seen: dict[Key, Thing | None] = {}
        self._store = informer.store
        self.queue = WorkQueue("things", Backoff(Random(1)), metrics)
        self.controller = Controller(
            self.queue, self._reconcile, workers=3, freshness=Freshness(), metrics=metrics
        )
        informer.subscribe(self._changed)

    def _changed(self, change: Change[Thing]) -> None:
        assert change.old == self.mirror.get(change.key), "a change starts from the last state told"
        assert not self._goes_back(change), "a duplicate or a replay never brings an older state back"
        if change.new is None:
            del self.mirror[change.key]
        else:
            self.mirror[change.key] = change.new
        self.queue.add(change.key, Lane.INITIAL if change.initial else Lane.LIVE)

    def _goes_back(self, change: Change[Thing]) -> bool:
        if change.new is None or change.old is None or self._server.restored:
            return False
        return int(change.new.metadata.resource_version) <= int(change.old.metadata.resource_version)

    async def _reconcile(self, key: Key) -> Result:
        state = self._store.get(key)
        await anyio.sleep(0.003)  # what changes meanwhile must bring the key back
        self.seen[key] = state
        return Done()


async def follow(script: Script, *, streams_lists: bool, seed: int) -> None:
    server = ScriptedServer(streams_lists=streams_lists)
    metrics = Metrics(CollectorRegistry())
    informer = Informer[Thing](server, Random(seed), metrics)
    follower = Follower(server, informer, metrics)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        tasks.start_soon(follower.controller.run)
        await play(server, script)
        server.faults.clear()
        await anyio.sleep(QUIET_SECONDS)
        tasks.cancel_scope.cancel()
    wanted = {Key(f"ns/{name}"): thing for name, thing in server.objects.items()}
    assert {key: informer.store.get(key) for key in informer.store.keys()} == wanted  # noqa: SIM118 - a store is no dict
    assert follower.mirror == wanted
    assert {key: thing for key, thing in follower.seen.items() if thing is not None} == wanted
    assert set(follower.seen) >= set(wanted)


async def play(server: ScriptedServer, script: Script) -> None:
    saved = dict(server.objects), server.version
    for kind, argument in script:
        STEPS[kind] += 1
        match kind, argument:
            case "put", str(name):
                server.put(name)
            case "delete", str(name):
                server.delete(name)
            case "fault", Fault() as fault:
                server.faults.append(fault)
            case "wait", float(seconds):
                await anyio.sleep(seconds)
            case "compact", _:
                server.compact()
            case "save", _:
                saved = dict(server.objects), server.version
            case "restore", _:
                server.restore(*saved)
                # Whoever resumes in the new history with a version of the old one cannot know: that is so on real servers
                # too. Here everybody has reconnected before the first new write.
                server.faults.clear()
                await anyio.sleep(QUIET_SECONDS)


def run(script: Script, *, streams_lists: bool, seed: int) -> None:
    async def main() -> None:
        await follow(script, streams_lists=streams_lists, seed=seed)

    anyio.run(main, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


_COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(_COMMON, max_examples=120)
@given(st.lists(_steps, min_size=10, max_size=50), st.booleans(), st.integers(0, 2**32))
@example(script=[("put", "a"), ("fault", Fault.NO_END), ("put", "b")], streams_lists=True, seed=0)
@example(
    script=[("put", "a"), ("wait", 1.5), ("fault", Fault.DROPPED), ("delete", "a"), ("compact", None)],
    streams_lists=True,
    seed=0,
)
@example(
    script=[
        ("put", "a"),
        ("wait", 0.5),
        ("put", "a"),
        ("wait", 0.5),
        ("fault", Fault.REPLAY),
        ("put", "b"),
        ("wait", 0.5),
    ],
    streams_lists=True,
    seed=0,
)
def test_after_all_faults_the_store_equals_the_server_and_everybody_was_told(
    script: Script,
    streams_lists: bool,
    seed: int,
) -> None:
    run(script, streams_lists=streams_lists, seed=seed)


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_steps_against_the_hostile_server() -> None:
    STEPS.clear()
    target = int(os.environ.get("MSA_DEEP_STEPS", "100000"))

    @settings(_COMMON, max_examples=target // 25, database=None)
    @given(st.lists(_steps, min_size=40, max_size=60), st.booleans(), st.integers(0, 2**32))
    def follow_script(script: Script, streams_lists: bool, seed: int) -> None:
        run(script, streams_lists=streams_lists, seed=seed)

    follow_script()
    print(f"steps: {STEPS.total()} {dict(STEPS)}")  # noqa: T201 - the figure that is quoted
    assert STEPS.total() >= target
