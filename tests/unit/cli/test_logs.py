import io
import json
import logging
import signal

import anyio
import pytest
import structlog

from msa.api.token import Token
from msa.cli import logs

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pod_logs_one_json_object_a_line() -> None:
    out = io.StringIO()
    logs.configure("info", out)
    structlog.get_logger().info("ready", identities=3)
    line = json.loads(out.getvalue())
    assert (line["event"], line["identities"], line["level"]) == ("ready", 3, "info")


def test_a_terminal_shows_key_value() -> None:
    out = Terminal()
    logs.configure("info", out)
    structlog.get_logger().info("ready", identities=3)
    assert "event=ready" in out.getvalue()
    assert "identities=3" in out.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_token_is_masked_wherever_it_turns_up(stream: type[io.StringIO]) -> None:
    out = stream()
    logs.configure("debug", out)
    log = structlog.get_logger()
    text = f"got {JWT}"
    log.debug(text, value=JWT, nested={"deep": [JWT]})
    logging.getLogger("aiohttp").error("sent %s", JWT)
    try:
        raise ValueError(JWT)  # noqa: TRY301 - a trace is what is wanted
    except ValueError:
        log.exception("failed")
    assert "eyJ" not in out.getvalue()
    assert out.getvalue().count("masked") >= 5


def test_a_token_cannot_be_shown_or_pickled() -> None:
    import pickle  # noqa: PLC0415 - what is tested is that it does not work

    token = Token(JWT)
    assert "eyJ" not in f"{token} {token!r} {[token]}"
    with pytest.raises(TypeError):
        pickle.dumps(token)


def test_the_level_is_kept_and_other_libraries_only_warn() -> None:
    out = io.StringIO()
    logs.configure("debug", out)
    logging.getLogger("asyncio").debug("chatter")
    structlog.get_logger().debug("ours")
    assert "chatter" not in out.getvalue()
    assert "ours" in out.getvalue()


def test_each_line_has_its_keys_in_the_same_order() -> None:
    out = io.StringIO()
    logs.configure("info", out)
    structlog.get_logger().info("written", verb="create", cluster="c1")
    structlog.get_logger().info("written", cluster="c1", verb="create")
    keys = [list(json.loads(line)) for line in out.getvalue().splitlines()]
    assert keys == [["timestamp", "level", "event", "cluster", "verb"]] * 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_signals_change_the_level_of_loggers_that_exist_already_and_back() -> None:
    out = io.StringIO()
    threshold = logs.configure("info", out)
    log = structlog.get_logger().bind(resource="things")
    threshold.listen()
    for number, event in ((signal.SIGUSR1, "loud"), (signal.SIGUSR2, "quiet"), (signal.SIGUSR1, "again")):
        signal.raise_signal(number)
        await anyio.sleep(0.01)
        log.debug(event)
    events = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
    assert [event for event in events if event != "log_level_changed"] == ["loud", "again"]
    assert events.count("log_level_changed") == 3
