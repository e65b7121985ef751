"""A clock that moves on while it is read."""

from collections.abc import Callable
from datetime import datetime, timedelta

import anyio
import pytest

from msa.client import TokenSource
from msa.client.follower import GRACE, LEEWAY
from tests.unit.client.scripted_hub import LIFE, ScriptedHub

C, N = "c1", "deployer"
_MOMENT = timedelta(milliseconds=1)


class Clock:
    """Shows `at` for the next reading, and from then on a moment after the end that was just to come."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._readings: list[datetime] = []

    def __call__(self) -> datetime:
        if len(self._readings) > 1:
            return self._readings.pop(0)
        return self._readings[0] if self._readings else self._now()

    def pass_while_read(self, end: datetime) -> None:
        self._readings = [end - _MOMENT, end + _MOMENT]


@pytest.mark.parametrize("gone", [False, True], ids=["life", "grace"])
async def test_an_end_that_comes_while_the_clock_is_read_is_told(
    now: Callable[[], datetime], ca: bytes, *, gone: bool
) -> None:
    clock = Clock(now)
    hub = ScriptedHub(clock, ca)
    hub.write(C, N)
    end = clock() + LIFE + LEEWAY
    async with TokenSource(hub=hub) as source:
        changes = source.follow(C, N)
        assert await anext(changes) is not None
        if gone:
            hub.delete(C, N)
            end = clock() + GRACE
            await anyio.sleep(1)
        clock.pass_while_read(end)
        with anyio.fail_after(5):
            assert await anext(changes) is None
