"""What happens when an API server is back, on virtual time."""

import anyio

from msa.agent.failures import Side
from msa.agent.recovery import Recovery


async def test_a_server_that_is_back_is_told_of_once_and_within_a_second() -> None:
    hub: str | None = None
    told: list[tuple[Side, float]] = []
    recovery = Recovery(
        {Side.HUB: lambda: hub, Side.MANAGED: lambda: None},
        lambda side: told.append((side, anyio.current_time() - start)),
    )
    async with anyio.create_task_group() as tasks:
        start = anyio.current_time()
        tasks.start_soon(recovery.run)
        await anyio.sleep(10.5)
        assert told == [], "nothing was wrong"
        hub = "refused"
        await anyio.sleep(20)
        assert told == [], "it still is"
        hub = None
        await anyio.sleep(60)
        tasks.cancel_scope.cancel()
    assert [side for side, _ in told] == [Side.HUB]
    assert 30.5 < told[0][1] <= 31.5
