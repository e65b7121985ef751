"""Whole fleets, through the real queue, workers and reconciler: a year in virtual time, and the weeks after a storm."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random

import anyio
import pytest
from prometheus_client import CollectorRegistry

from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.errors import Network
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import StoreWriter
from tests.support import builders
from tests.support.world import World, reconciler_of

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def agent(world: World) -> AsyncIterator[None]:
    """An agent that starts, with all that it finds, and stops in good order."""
    metrics, reconciler = Metrics(CollectorRegistry()), reconciler_of(world)
    queue = WorkQueue("fleet", Backoff(Random(1)), metrics)
    controller = Controller(queue, reconciler, workers=32, freshness=reconciler.freshness, metrics=metrics)
    world.told = queue.add
    for identity in world.identities.values():
        queue.add(Key(identity.metadata.name), Lane.INITIAL)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(controller.run)
        yield
        queue.shut_down()


def _make(world: World, numbers: range) -> None:
    for number in numbers:
        StoreWriter(world.identities).put(builders.identity(f"id-{number}", uid=f"uid-{number}"))
        world.told(Key(f"id-{number}"))


async def _days(count: float) -> None:
    await anyio.sleep(count * DAY.total_seconds())


def _rotations(world: World) -> int:
    return sum(len(moments) - 1 for moments in world.tokens.values())


def _expired(world: World) -> list[str]:
    held = world.credentials.values()
    return [
        item.metadata.name for item in held if item.claims is None or item.claims.expires_at <= world.now()
    ]


@pytest.mark.deep
async def test_in_a_year_of_200_identities_with_tokens_of_a_day_there_is_never_a_moment_without_a_valid_one(
    now: Callable[[], datetime],
) -> None:
    """The clusters are away for an hour every week."""
    world = World(now)
    async with agent(world):
        _make(world, range(200))
        for _ in range(52):
            await _days(7 - 1 / 24)
            world.error = Network("away")
            await _days(1 / 24)
            world.error = None
        await _days(1)
        assert _expired(world) == []
    assert world.gaps == []
    assert 90_000 < _rotations(world) < 105_000


async def test_in_ten_days_of_200_identities_no_token_expires_and_each_rotation_costs_three_requests(
    now: Callable[[], datetime],
) -> None:
    world = World(now)
    async with agent(world):
        _make(world, range(200))
        await _days(10)
        assert _expired(world) == []
    assert world.gaps == []
    assert 2_500 < _rotations(world) < 2_900
    assert len(world.writes) == 3 * _rotations(world) + 4 * 200


async def test_the_measure_of_a_gap_sees_one(now: Callable[[], datetime]) -> None:
    world = World(now)
    async with agent(world):
        _make(world, range(5))
        await _days(0.5)
        world.error = Network("away for a day")
        await _days(1)
        assert len(_expired(world)) == 5
        world.error = None
        await _days(1)
    assert len(world.gaps) == 5


@pytest.mark.parametrize(
    ("size", "days"), [(3000, 2), pytest.param(10_000, 7, marks=pytest.mark.deep)], ids=["small", "whole"]
)
async def test_identities_made_within_a_minute_are_renewed_spread_out(
    now: Callable[[], datetime], size: int, days: int
) -> None:
    world = World(now)
    async with agent(world):
        await _storm(world, size)
        await _days(days)
    assert _worst(world) <= 2.0


@pytest.mark.parametrize(
    ("size", "days"), [(3000, 2), pytest.param(10_000, 7, marks=pytest.mark.deep)], ids=["small", "whole"]
)
async def test_a_restart_in_the_worst_minute_makes_no_herd(
    now: Callable[[], datetime], size: int, days: int
) -> None:
    """What falls due in the 20 s while the agent is down comes when it is back; from then on each goes its own way again."""
    world = World(now)
    async with agent(world):
        await _storm(world, size)
        await anyio.sleep((_busiest_minute(world) * MINUTE - (now() - builders.START)).total_seconds())
    await anyio.sleep(20)
    async with agent(world):
        await _days(days)
    assert _worst(world) <= 2.0


async def _storm(world: World, size: int) -> None:
    for second in range(60):
        _make(world, range(second * size // 60, (second + 1) * size // 60))
        await anyio.sleep(1)


def _busiest_minute(world: World) -> int:
    """Of the first round of rotations, as it is planned."""
    planned = [identity.status.next_refresh_timestamp for identity in world.identities.values()]
    minutes = Counter(_minute(moment) for moment in planned if moment is not None)
    return minutes.most_common(1)[0][0]


def _minute(moment: datetime) -> int:
    return int((moment - builders.START) / MINUTE)


def _worst(world: World) -> float:
    """The busiest minute against the mean minute of the window that its round is spread over, the worst of all rounds.

    The first token of each identity is left out: when users ask is not ours to spread. So is a last round that is not complete.
    """
    rounds = zip(*(moments[1:] for moments in world.tokens.values()), strict=False)
    return max(_peak([_minute(moment) for moment in round_]) for round_ in rounds)


def _peak(minutes: list[int]) -> float:
    window = max(minutes) - min(minutes) + 1
    return max(Counter(minutes).values()) / (len(minutes) / window)


def test_the_measure_of_a_herd_sees_one(now: Callable[[], datetime]) -> None:
    spread, herd = World(now), World(now)
    for number in range(144):
        minute = 49 if number in (1, 2, 3) else number
        spread.tokens[str(number)] = [builders.START, builders.START + DAY + number * MINUTE]
        herd.tokens[str(number)] = [builders.START, builders.START + DAY + minute * MINUTE]
    assert _worst(spread) == 1.0
    assert _worst(herd) > 2.0
