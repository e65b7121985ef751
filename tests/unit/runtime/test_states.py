"""Where a reflector goes from each state, for each thing that can happen: the whole table."""

import pytest

from msa.runtime import errors
from msa.runtime.states import (
    Broke,
    Checked,
    Checking,
    Ended,
    Listed,
    Method,
    Moved,
    NoBookmark,
    Outcome,
    Position,
    Quiet,
    State,
    Syncing,
    Waited,
    Waiting,
    Watching,
    step,
)

STREAM, PAGES, WHOLE = Syncing(Method.STREAM, "7"), Syncing(Method.PAGES, "7"), Syncing(Method.WHOLE)
WATCHING, CHECKING = Watching("9"), Checking("9")
LOOK = Waiting(CHECKING)
RESUME, RELIST, FRESH = (
    Waiting(Watching("9")),
    Waiting(Syncing(Method.STREAM, "9")),
    Waiting(Syncing(Method.STREAM)),
)


@pytest.mark.parametrize(
    ("state", "outcome", "then"),
    [
        pytest.param(
            STREAM, Listed("8"), Watching("8"), id="a list leads to a watch from the list's version"
        ),
        pytest.param(
            STREAM, NoBookmark(), Syncing(Method.PAGES), id="a stream without its end leads to pages at once"
        ),
        pytest.param(
            STREAM,
            Broke(errors.Invalid()),
            PAGES,
            id="a server without streaming lists is asked for pages at once",
        ),
        pytest.param(STREAM, Broke(errors.Network()), Waiting(STREAM), id="a broken stream is tried again"),
        pytest.param(
            STREAM,
            Broke(errors.TooLargeResourceVersion()),
            Waiting(Syncing(Method.STREAM)),
            id="a restored server counts",
        ),
        pytest.param(
            STREAM,
            Broke(errors.Expired()),
            Waiting(Syncing(Method.STREAM)),
            id="an expired list version is dropped",
        ),
        pytest.param(
            PAGES,
            Broke(errors.Expired()),
            Waiting(WHOLE),
            id="pages that outlive the history are asked for at once",
        ),
        pytest.param(
            PAGES,
            Broke(errors.Throttled(retry_after=4)),
            Waiting(PAGES, 4),
            id="a throttled list waits as told",
        ),
        pytest.param(PAGES, Broke(errors.Forbidden()), Waiting(PAGES), id="a forbidden list is tried again"),
        pytest.param(
            STREAM,
            Broke(errors.Network(), "9"),
            LOOK,
            id="a stream that breaks after the list resumes its watch",
        ),
        pytest.param(
            WATCHING, Ended("12", 3, 0.1), Watching("12"), id="a watch that brought something goes on"
        ),
        pytest.param(WATCHING, Ended("9", 0, 400), Watching("9"), id="a long quiet watch goes on"),
        pytest.param(WATCHING, Ended("9", 0, 0.2), RESUME, id="a short empty watch is a failure"),
        pytest.param(
            WATCHING,
            Broke(errors.Expired(), "9"),
            RELIST,
            id="410 leads to a list not older than what was seen",
        ),
        pytest.param(
            WATCHING,
            Broke(errors.NotFound(), "9"),
            RELIST,
            id="a resource that is gone is listed until it is back",
        ),
        pytest.param(
            WATCHING,
            Broke(errors.TooLargeResourceVersion(), "9"),
            FRESH,
            id="a restored server is listed as it is",
        ),
        pytest.param(WATCHING, Broke(errors.Refused(), "9"), LOOK, id="a refused connection loses nothing"),
        pytest.param(WATCHING, Broke(errors.Network(), "9"), LOOK, id="a broken connection loses nothing"),
        pytest.param(
            WATCHING, Broke(errors.Unauthorized(), "9"), RESUME, id="a bad credential is waited out"
        ),
        pytest.param(WATCHING, Broke(errors.Forbidden(), "9"), RESUME, id="a lost permission is waited out"),
        pytest.param(WATCHING, Broke(errors.Throttled(), "9"), RESUME, id="429 resumes"),
        pytest.param(
            WATCHING,
            Broke(errors.Throttled(retry_after=8), "9"),
            Waiting(WATCHING, 8),
            id="429 resumes when told to",
        ),
        pytest.param(WATCHING, Broke(errors.ServerError(), "9"), LOOK, id="500 resumes"),
        pytest.param(WATCHING, Broke(errors.Decode(), "9"), RESUME, id="a garbled stream resumes"),
        pytest.param(
            WATCHING,
            Broke(errors.Throttled(retry_after=3600), "9"),
            Waiting(WATCHING, 30),
            id="a maintenance window is not waited out",
        ),
        pytest.param(
            PAGES,
            Broke(errors.ServerError(retry_after=3600)),
            Waiting(PAGES, 30),
            id="nor by a list",
        ),
        pytest.param(WATCHING, Quiet("9", prompt=False), CHECKING, id="after silence comes a cheap look"),
        pytest.param(STREAM, Quiet("9", prompt=True), CHECKING, id="after that of a list's stream too"),
        pytest.param(CHECKING, Checked("9"), WATCHING, id="a server as new as ours is watched on"),
        pytest.param(CHECKING, Checked("x"), WATCHING, id="what cannot be compared is watched on"),
        pytest.param(
            CHECKING, Checked("8"), Syncing(Method.STREAM), id="a server older than ours was restored"
        ),
        pytest.param(CHECKING, Broke(errors.Network(), "9"), LOOK, id="a look that fails is repeated"),
        pytest.param(
            CHECKING,
            Broke(errors.ServerError(retry_after=4), "9"),
            Waiting(CHECKING, 4),
            id="when told to",
        ),
        pytest.param(
            CHECKING, Broke(errors.Throttled(retry_after=5), "9"), Waiting(CHECKING, 5), id="also by a limit"
        ),
        pytest.param(
            CHECKING, Broke(errors.Unauthorized(), "9"), LOOK, id="a look with a bad credential is repeated"
        ),
        pytest.param(
            CHECKING, Broke(errors.Forbidden(), "9"), WATCHING, id="who may not look watches all the same"
        ),
        pytest.param(WATCHING, Moved(), Syncing(Method.STREAM), id="another server is listed as it is"),
        pytest.param(PAGES, Moved(), Syncing(Method.STREAM), id="even in the middle of a list"),
        pytest.param(RESUME, Waited(), WATCHING, id="after the wait comes what it was for"),
    ],
)
def test_each_outcome_leads_where_it_should(state: State, outcome: Outcome, then: State) -> None:
    assert step(Position(state=state), outcome).state == then


@pytest.mark.parametrize(
    "outcome", [Ended("9", 0, 0.1), Broke(errors.Decode(), "9"), Broke(errors.Invalid(), "9")]
)
def test_the_third_failure_in_a_row_that_points_at_the_version_leads_to_a_new_list(outcome: Outcome) -> None:
    position = Position(state=WATCHING)
    for _ in range(2):
        position = step(step(position, outcome), Waited())
        assert position.state == WATCHING
    assert step(position, outcome).state == FRESH


def test_a_watch_that_brings_something_clears_the_doubts() -> None:
    position = Position(state=WATCHING, doubts=2)
    assert step(position, Ended("10", 1, 0.1)).doubts == 0


def test_a_server_that_failed_to_stream_a_list_is_not_asked_to_again() -> None:
    position = step(Position(state=STREAM), NoBookmark())
    position = step(position, Listed("8"))
    assert step(position, Broke(errors.Expired(), "8")).state == Waiting(Syncing(Method.PAGES, "8"))


def test_after_two_silent_streams_in_a_row_watches_are_short_until_something_comes_promptly() -> None:
    position = step(Position(state=WATCHING), Quiet("9", prompt=True))
    position = step(position, Checked("9"))
    assert position.state == WATCHING, "one may be chance"
    position = step(step(position, Quiet("9", prompt=False)), Checked("12"))
    assert position.state == Watching("9", brief=True)
    position = step(position, Ended("10", 1, 50, prompt=False))
    assert position.state == Watching("10", brief=True), "what came at the end may have been held back"
    assert step(position, Ended("11", 1, 50, prompt=True)).state == Watching("11")


def test_a_streaming_list_whose_answer_did_not_begin_was_a_silent_stream() -> None:
    position = step(Position(), NoBookmark(answered=False))
    position = step(step(position, Listed("9")), Quiet("9", prompt=False, answered=False))
    assert step(position, Checked("9")).state == Watching("9", brief=True)
