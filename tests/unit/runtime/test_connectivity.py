from typing import Any

import anyio
import pytest
from attrs import define, field

from msa.runtime.connectivity import Connectivity

_REFUSED, _READY, _AWAY = 403, 200, 0


@define
class Server:
    """Answers probes with one status until that is changed."""

    status: int = _READY
    probes: int = 0
    connectivity: Connectivity = field(init=False)

    @connectivity.default
    def _watched(self) -> Connectivity:
        return Connectivity(self.probe, lambda: "https://one")

    async def probe(self) -> int:
        self.probes += 1
        return self.status

    async def change(self, status: int, after: float) -> None:
        await anyio.sleep(after)
        self.status = status


async def _rested(server: Server, seconds: float = 300) -> float:
    """For how long a wait of so many seconds lasted."""
    start = anyio.current_time()
    back = await server.connectivity.rest(seconds)
    lasted = anyio.current_time() - start
    assert back == (lasted < seconds)
    return lasted


async def test_a_server_that_answers_is_not_asked_for_a_sign_of_life() -> None:
    server = Server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        await anyio.sleep(3600)
        assert server.probes == 0
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("outage", [0.5, 10, 60, 150, 3600])
async def test_who_waits_is_called_within_a_second_of_the_return_whatever_the_outage_s_length(
    outage: float,
) -> None:
    server = Server(_AWAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        tasks.start_soon(server.change, _READY, outage)
        assert outage <= await _rested(server, 7200) <= outage + 1
        assert not server.connectivity.lost
        tasks.cancel_scope.cancel()


async def test_one_failed_request_of_a_server_that_answers_calls_nobody() -> None:
    server = Server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        assert await _rested(server, 60) == 60
        assert server.probes == 1
        tasks.cancel_scope.cancel()


async def test_requests_that_go_on_failing_beside_a_server_that_answers_cost_a_probe_a_second_at_most() -> (
    None
):
    server = Server()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        for _ in range(1000):
            server.connectivity.failed()
            await anyio.sleep(0.1)
        assert server.probes <= 101
        tasks.cancel_scope.cancel()


async def test_a_request_that_succeeds_first_makes_the_call() -> None:
    server = Server(_AWAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        await anyio.sleep(20.2)
        tasks.start_soon(_answer, server, 0.1)
        assert await _rested(server) == pytest.approx(0.1)
        tasks.cancel_scope.cancel()


async def _answer(server: Server, after: float) -> None:
    await anyio.sleep(after)
    server.connectivity.answered()


async def test_a_server_that_starts_and_refuses_everybody_is_not_back_yet() -> None:
    server = Server(_AWAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        tasks.start_soon(server.change, _REFUSED, 20)
        tasks.start_soon(server.change, _READY, 23)
        assert 23 <= await _rested(server) <= 24
        tasks.cancel_scope.cancel()


async def test_a_server_that_never_lets_us_ask_is_back_after_ten_refusals() -> None:
    server = Server(_AWAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        tasks.start_soon(server.change, _REFUSED, 20)
        assert 29 <= await _rested(server) <= 31
        tasks.cancel_scope.cancel()


async def test_an_outage_is_logged_once_and_so_is_its_end(logged: list[Any]) -> None:
    server = Server(_AWAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.connectivity.run)
        server.connectivity.failed()
        tasks.start_soon(server.change, _READY, 100)
        await anyio.sleep(200)
        tasks.cancel_scope.cancel()
    assert [line["event"] for line in logged] == ["api_server_is_away", "api_server_is_back"]
