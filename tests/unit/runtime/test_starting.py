import signal

import anyio
import anyio.abc
import pytest

from msa.runtime.errors import ApiError, Forbidden, Invalid, Network, ServerError
from msa.runtime.starting import first_answer, starting
from msa.runtime.supervisor import Addresses, StartError


class Server:
    """Fails so often, then answers."""

    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)

    async def ask(self) -> str:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            raise self.failures.pop(0)
        return "yes"


async def test_a_server_that_is_away_is_asked_each_second_until_it_answers() -> None:
    server = Server(*[Network("refused")] * 300, ServerError("no etcd", code=500))
    start = anyio.current_time()
    assert await first_answer(server.ask, "https://hub") == "yes"
    assert anyio.current_time() - start == 301


async def test_refusals_count_only_once_a_server_that_was_away_has_had_time_to_start() -> None:
    assert (
        await first_answer(Server(Network("refused"), *[Forbidden("starting")] * 5).ask, "https://hub")
        == "yes"
    )
    with pytest.raises(Forbidden):
        await first_answer(Server(Forbidden("no right")).ask, "https://hub")
    with pytest.raises(Forbidden):
        await first_answer(Server(Network("away"), *[Forbidden("no right")] * 20).ask, "https://hub")


async def test_what_the_server_says_to_the_question_itself_is_passed_on() -> None:
    with pytest.raises(Invalid):
        await first_answer(Server(Invalid("what?")).ask, "https://hub")


async def test_a_signal_ends_the_wait() -> None:
    reached = False
    async with anyio.create_task_group() as tasks, starting(Addresses("", "")) as scope:
        tasks.start_soon(_terminate)
        await anyio.sleep_forever()
        reached = True
    assert scope.cancel_called
    assert not reached


async def _terminate() -> None:
    await anyio.sleep(5)
    signal.raise_signal(signal.SIGTERM)


class TestOnSockets:
    """On real ports: virtual time does not wait for them."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_probes_are_answered_alive_and_not_ready(self) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = _port(listener)
        await listener.aclose()
        async with starting(Addresses("", f"127.0.0.1:{port}")):
            assert await _get(port, "/livez") == 200
            assert await _get(port, "/healthz") == 200
            assert await _get(port, "/readyz") == 503

    @pytest.mark.parametrize("flag", ["--metrics-bind-address", "--health-probe-bind-address"])
    async def test_a_port_that_is_taken_is_told_by_its_flag_before_the_block_begins(self, flag: str) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as taken:
            port = _port(taken)
            text = f"127.0.0.1:{port}"
            addresses = Addresses(*((text, "") if flag.startswith("--metrics") else ("", text)))
            told = rf"^{flag}={text}: port {port} is already in use$"
            with pytest.RaisesGroup(pytest.RaisesExc(StartError, match=told)):
                async with starting(addresses):
                    raise AssertionError

    @pytest.mark.parametrize(
        ("address", "told"),
        [("192.0.2.1:8080", "does not have the address 192.0.2.1"), ("nonsense", "is not a valid address")],
    )
    async def test_an_address_that_cannot_be_had_is_told_in_words(self, address: str, told: str) -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(StartError, match=told)):
            async with starting(Addresses(address, "")):
                raise AssertionError


async def _get(port: int, path: str) -> int:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return int((await stream.receive()).split()[1])


def _port(listener: anyio.abc.Listener[anyio.abc.SocketStream]) -> int:
    return int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - anyio, not Django
