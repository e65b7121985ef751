"""Reflector, store and queue against a server that does everything a server can do wrong.

A state machine writes, breaks things and lets time pass, one step after the other. After each step the store is what the server
was at some version, and both whoever follows the changes and whoever takes keys from the queue know of it. Once the server
behaves again, that version is the newest.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry

from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Change
from tests.support.scripted_server import Fault, ScriptedServer
from tests.support.stepped_loop import SteppedLoop
from tests.support.wire import Thing

_NAMES = st.sampled_from(("a", "b", "c"))
_PRESENT = st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.server.objects)))
_SECONDS = st.sampled_from((0.0, 0.002, 0.02, 0.5, 1.5, 12.0, 75.0, 300.0))
STEPS: Counter[str] = Counter()
_FAULTS_AT_ONCE = 3
_LEAST_VERSION = 5
"""A server is replaced by another one only after some writes, else hardly anything else would happen."""
QUIET_SECONDS = 700.0
"""Longer than the longest watch plus the longest backoff: by then every fault has been met and got over."""


def keyed(objects: Mapping[str, Thing]) -> dict[Key, Thing]:
    return {Key(f"ns/{name}"): thing for name, thing in objects.items()}


class Follower:
    """Knows the objects only from changes, and from keys it was given to look at."""

    def __init__(self, server: ScriptedServer, informer: Informer[Thing], metrics: Metrics) -> None:
        self._server = server
        self._store = informer.store
        self.mirror: dict[Key, Thing] = {}
        self.seen: dict[Key, Thing | None] = {}
        self.shared: list[Key] = []
        self._looking: dict[Key, Thing | None] = {}
        self._queue = WorkQueue("things", Backoff(Random(1)), metrics)
        self.controller = Controller(
            self._queue, self._reconcile, workers=2, freshness=Freshness(), metrics=metrics
        )
        informer.subscribe(self._changed)

    def knows_or_will(self, key: Key) -> bool:
        """Whether the last state told was seen, is being looked at, or waits in the queue."""
        looks = {**self.seen, **self._looking}
        return key in self._queue._dirty or (key in looks and looks[key] == self.mirror.get(key))

    def _changed(self, change: Change[Thing]) -> None:
        assert change.old == self.mirror.get(change.key), "a change starts from the last state told"
        assert not self._is_history(change), "a duplicate or a replay never brings an older state back"
        if change.new is None:
            del self.mirror[change.key]
        else:
            self.mirror[change.key] = change.new
        self._queue.add(change.key, Lane.INITIAL if change.initial else Lane.LIVE)

    def _is_history(self, change: Change[Thing]) -> bool:
        """Whether the new state is told already, or of a version that the store includes and not what the server had then."""
        known = self._server.states.get(self._store.version)  # None of what a restored server has forgotten
        if change.new is None or known is None:
            return False
        if change.new == change.old:
            return True
        made = int(change.new.metadata.resource_version)
        return made <= self._store.version and known.get(change.new.metadata.name) != change.new

    async def _reconcile(self, key: Key) -> Result:
        if key in self._looking:
            self.shared.append(key)
        self._looking[key] = self._store.get(key)
        await anyio.sleep(0.3)  # what changes meanwhile must bring the key back
        self.seen[key] = self._looking.pop(key)
        return Done()


class HostileServer(RuleBasedStateMachine):
    """One rule for each kind of step, one invariant for each promise."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SteppedLoop()
        self.servers = 1

    @initialize(streams_lists=st.booleans(), bookmarks=st.booleans(), seed=st.integers(0, 2**32))
    def begin(self, *, streams_lists: bool, bookmarks: bool, seed: int) -> None:
        metrics = Metrics(CollectorRegistry())
        self.server = ScriptedServer(streams_lists=streams_lists, bookmarks=bookmarks)
        self.saved = self.server.version
        self.informer = Informer[Thing](self.server, Random(seed), metrics)
        self.store = self.informer.store
        self.follower = Follower(self.server, self.informer, metrics)
        self.loop.start(self.informer.run, self.follower.controller.run)

    # Whoever resumes in a new history with a version of the old one cannot know: that is so on real servers too.
    # Hence nobody writes to a restored server before it has been seen.
    @precondition(lambda self: not self.server.estranged)
    @rule(name=_NAMES, then=_SECONDS)
    def put(self, name: str, then: float = 0.0) -> None:
        self._do("put", partial(self.server.put, name), then)

    @precondition(lambda self: self.server.objects and not self.server.estranged)
    @rule(name=_PRESENT, then=_SECONDS)
    def delete(self, name: str, then: float = 0.0) -> None:
        self._do("delete", partial(self.server.delete, name), then)

    @precondition(lambda self: self.server.objects and not self.server.estranged)
    @rule(name=_PRESENT, then=_SECONDS)
    def recreate(self, name: str, then: float = 0.0) -> None:
        self._do("recreate", partial(self._recreate, name), then)

    @precondition(lambda self: len(self.server.faults) < _FAULTS_AT_ONCE)
    @rule(fault=st.sampled_from(Fault), then=_SECONDS)
    def meet(self, fault: Fault, then: float = 0.0) -> None:
        self._do("meet", partial(self.server.meet, fault), then)

    @precondition(lambda self: self.server.compacted < self.server.version)
    @rule(then=_SECONDS)
    def compact(self, then: float = 0.0) -> None:
        self._do("compact", self.server.compact, then)

    @precondition(lambda self: self.saved < self.server.version)
    @rule(then=_SECONDS)
    def save(self, then: float = 0.0) -> None:
        self._do("save", self._save, then)

    @precondition(lambda self: self.saved < self.server.version)
    @rule(then=_SECONDS)
    def restore(self, then: float = 0.0) -> None:
        self._do("restore", lambda: self.server.restore(self.saved), then)

    @precondition(lambda self: self.server.version > _LEAST_VERSION and not self.server.estranged)
    @rule(then=_SECONDS)
    def become_another(self, then: float = 0.0) -> None:
        self._do("become another", self._become_another, then)

    @precondition(lambda self: self.server.faults or self.server.estranged)
    @rule(then=_SECONDS)
    def wait(self, then: float) -> None:
        self._do("wait", lambda: None, then)

    @property
    def copy(self) -> dict[Key, Thing | None]:
        return {key: self.store.get(key) for key in self.store.keys()}  # noqa: SIM118 - a store is no dict

    def _recreate(self, name: str) -> None:
        self.server.delete(name)
        self.server.put(name)

    def _save(self) -> None:
        self.saved = self.server.version

    def _become_another(self) -> None:
        self.servers += 1
        self.server.become_another(f"https://{self.servers}")
        self.saved = self.server.version

    def _do(self, kind: str, step: Callable[[], None], then: float) -> None:
        STEPS[kind] += 1
        self.loop.call(step)
        self.loop.pass_time(then)

    @invariant()
    def followers_were_told_of_what_the_store_has(self) -> None:
        assert self.follower.mirror == self.copy

    @invariant()
    def the_store_is_what_the_server_was_at_its_version(self) -> None:
        if (known := self.server.states.get(self.store.version)) is not None:
            assert self.copy == keyed(known)
        else:
            assert self.server.estranged or not self.store.synced

    @invariant()
    def no_key_is_with_two_workers(self) -> None:
        assert self.follower.shared == []

    @invariant()
    def no_key_is_forgotten(self) -> None:
        keys = {*self.follower.mirror, *self.follower.seen}
        assert [key for key in keys if not self.follower.knows_or_will(key)] == []

    def teardown(self) -> None:
        try:
            if sys.exception() is None:
                self.come_to_rest()
        finally:
            self.loop.close()

    def come_to_rest(self) -> None:
        self.server.faults.clear()
        self.loop.pass_time(QUIET_SECONDS)
        wanted = keyed(self.server.objects)
        assert self.copy == wanted
        assert self.follower.mirror == wanted
        assert {key: thing for key, thing in self.follower.seen.items() if thing is not None} == wanted


def take_steps(examples: int, **chosen: Any) -> int:
    """Plays so many scripts, and says how many steps there were."""
    before = STEPS.total()
    common = settings(
        deadline=None,
        suppress_health_check=list(HealthCheck),
        stateful_step_count=50,
        phases=(Phase.reuse, Phase.generate, Phase.shrink),
    )
    run_state_machine_as_test(HostileServer, settings=settings(common, max_examples=examples, **chosen))
    return STEPS.total() - before


@pytest.mark.timeout(600)  # a failure is shrunk for up to five minutes
def test_whatever_the_server_does_the_store_follows_it_and_everybody_is_told() -> None:
    assert take_steps(100) >= 2000


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_steps_against_the_hostile_server() -> None:
    target = int(os.environ.get("MSA_DEEP_STEPS", "100000"))
    steps = take_steps(target // 68, stateful_step_count=100, database=None)
    print(f"steps: {steps} {dict(STEPS)}")  # noqa: T201 - the figure that is quoted
    assert steps >= target


async def follow(server: ScriptedServer, *faults: Fault) -> list[Change[Thing]]:
    """What an informer tells of a server that has these faults, one every 1.5 seconds."""
    told: list[Change[Thing]] = []
    informer = Informer[Thing](server, Random(1), Metrics(CollectorRegistry()))
    informer.subscribe(told.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(informer.run)
        await informer.wait_synced()
        for fault in faults:
            server.meet(fault)
            await anyio.sleep(1.5)
        await anyio.sleep(10)
        tasks.cancel_scope.cancel()
    return told


async def test_an_error_in_the_same_read_as_the_end_of_the_list_counts() -> None:
    server = ScriptedServer()
    server.faults.append(Fault.GONE_EVENT)
    await follow(server)
    assert server.requests[:2] == ["watch rv= initial=True", "watch rv=1 initial=True"]


async def test_an_older_event_brings_nothing_back_and_is_no_place_to_resume_from() -> None:
    server = ScriptedServer()
    server.put("a")
    server.delete("a")
    told = await follow(server, Fault.OLDER_FIRST, Fault.DROPPED)
    assert told == []
    look = "list rv= continue= limit=1"
    assert server.requests[1:] == [look, "watch rv=3 initial=False"] * 2
