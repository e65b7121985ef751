"""The source for programs without an event loop: a thread of its own, which real time passes in."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue

import anyio
import httpx
import pytest

from msa.client import Identity, SyncTokenSource, TokenError, TokenSource
from msa.client.content import Content
from msa.client.errors import Missing
from tests.unit.client.scripted_hub import ScriptedHub

C, N = "c1", "deployer"
_PATIENCE = 10.0


@pytest.fixture
def hub(ca: bytes) -> ScriptedHub:
    return ScriptedHub(lambda: datetime.now(UTC), ca)


@pytest.fixture
def source(hub: ScriptedHub) -> Iterator[SyncTokenSource]:
    with SyncTokenSource(hub=hub) as opened:
        yield opened


def _write(source: SyncTokenSource, hub: ScriptedHub) -> str:
    """In the thread where the hub lives."""
    return source._portal.call(hub.write, C, N)


def test_all_that_is_asked_for_comes_from_the_source(hub: ScriptedHub, source: SyncTokenSource) -> None:
    found = Identity(C, N, {}, ready=True)
    hub.found = {("team=a", C): [], (C, "team=a"): [found]}
    assert source.find("team=a", cluster=C) == [found]
    with pytest.raises(Missing):
        source.get(C, N)
    token = _write(source, hub)
    assert source.get(C, N).token.reveal() == token
    assert source.headers(C, N)() == {"Authorization": f"Bearer {token}"}
    assert source.token(C, N).reveal() == token
    source.forget(C, N)
    with pytest.raises(TokenError, match="is not followed"):
        source.token(C, N)


def test_following_is_a_plain_loop(hub: ScriptedHub, source: SyncTokenSource) -> None:
    tokens, seen = [_write(source, hub)], []
    for credential in source.follow(C, N):
        assert credential is not None
        seen.append(credential.token.reveal())
        if len(seen) == 2:
            source.forget(C, N)
        else:
            tokens.append(_write(source, hub))
    assert seen == tokens


def test_a_refused_request_of_httpx_waits_in_its_own_thread_for_the_token_that_comes(
    hub: ScriptedHub, source: SyncTokenSource
) -> None:
    first, used = _write(source, hub), []

    def answer(request: httpx.Request) -> httpx.Response:
        used.append(request.headers["Authorization"])
        if len(used) == 1:
            threading.Thread(target=_write, args=(source, hub)).start()
        return httpx.Response(401 if len(used) == 1 else 200)

    with httpx.Client(transport=httpx.MockTransport(answer), **source.httpx(C, N)) as client:
        assert client.get("/api").status_code == 200
    assert used[0] == f"Bearer {first}" != used[1]


def test_a_source_that_is_not_open_says_so(hub: ScriptedHub) -> None:
    with pytest.raises(TokenError, match="is not open: use it within"):
        SyncTokenSource(hub=hub).get(C, N)


def test_a_source_that_is_closed_says_so(hub: ScriptedHub) -> None:
    with SyncTokenSource(hub=hub) as source:
        _write(source, hub)
        fresh_headers = source.headers(C, N)
    for call in (source.get, source.headers, source.follow, source.httpx, source.kubernetes, source.forget):
        with pytest.raises(TokenError, match="is not open"):
            call(C, N)
    with pytest.raises(TokenError, match="is not open"):
        source.find()
    with pytest.raises(TokenError, match="is not followed"):
        fresh_headers()


def test_one_that_could_not_be_opened_is_not_open(tmp_path: Path) -> None:
    source = SyncTokenSource(tmp_path / "none")
    with pytest.raises(TokenError, match="No such file"), source:
        pass
    with pytest.raises(TokenError, match="is not open"):
        source.get(C, N)


@pytest.mark.parametrize("where", ["waiting for a change", "at work on one"])
def test_closing_ends_a_loop_in_another_thread(hub: ScriptedHub, where: str) -> None:
    seen, closed, ended = Queue[object](), threading.Event(), Queue[BaseException | None]()

    def follow(changes: Iterator[object]) -> None:
        try:
            for credential in changes:
                seen.put(credential)
                if where == "at work on one":
                    closed.wait(_PATIENCE)
            ended.put(None)
        except BaseException as error:  # noqa: BLE001 - it is asserted on
            ended.put(error)

    with SyncTokenSource(hub=hub) as source:
        _write(source, hub)
        following = threading.Thread(target=follow, args=(source.follow(C, N),))
        following.start()
        seen.get(timeout=_PATIENCE)
    closed.set()
    assert ended.get(timeout=_PATIENCE) is None
    following.join()


def test_a_call_that_the_closing_cuts_short_tells_so(hub: ScriptedHub) -> None:
    asked, told = threading.Event(), Queue[BaseException]()

    class Silent(ScriptedHub):
        async def secret(self, cluster: str, name: str) -> Content:
            asked.set()
            await anyio.sleep_forever()
            return await super().secret(cluster, name)

    source = SyncTokenSource(hub=Silent(hub.now, hub.ca))

    def get() -> None:
        try:
            source.get(C, N)
        except BaseException as error:  # noqa: BLE001 - it is asserted on
            told.put(error)

    def fail() -> None:
        getting.start()
        asked.wait(_PATIENCE)
        raise KeyError("mine")

    getting = threading.Thread(target=get)
    with pytest.raises(KeyError), source:
        fail()
    error = told.get(timeout=_PATIENCE)
    getting.join()
    assert isinstance(error, TokenError)
    assert str(error) == "this source was closed meanwhile"


def test_leaving_ends_the_thread_and_what_the_program_raised_comes_out_as_it_is(hub: ScriptedHub) -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), SyncTokenSource(hub=hub):
        raise KeyError("mine")
    assert hub.state[-1] == "closed"
    assert threading.active_count() == before


def test_it_is_a_thin_wrapper() -> None:
    """Every public method of the source but the ones that only an event loop has a use for."""
    public = {name for name in vars(TokenSource) if not name.startswith("_")}
    assert {name for name in vars(SyncTokenSource) if not name.startswith("_")} == public - {
        "kubernetes_asyncio"
    }
