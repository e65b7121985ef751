"""Where a reflector stands, and where it goes from there: a pure function, no IO, no clock, no chance.

    Syncing --listed--> Watching --ended--> Watching ...
       ^                    |
       +------ expired -----+         any failure: Waiting, then back to one of the two

The driver (`reflector`) does what a state says and hands the outcome to `step`.
"""

from enum import Enum
from typing import TypeAlias

from attrs import evolve, frozen

from msa.runtime.errors import (
    ApiError,
    Decode,
    Expired,
    Invalid,
    NotFound,
    ServerError,
    ShortWatch,
    Throttled,
    TooLargeResourceVersion,
)

_SHORT_WATCH_SECONDS = 1.0
_PATIENCE = 3
"""So many failures in a row that point at the version itself (not at the network) lead to a new list."""


class Method(Enum):
    """How a full list is had."""

    STREAM = "watchlist"
    PAGES = "pages"
    WHOLE = "whole"


@frozen
class Syncing:
    """A full list is needed.

    Attributes:
        at_least: the version it must not be older than; "" means as new as etcd.
    """

    method: Method
    at_least: str = ""


@frozen
class Watching:
    """The list is complete up to `version`; changes follow it."""

    version: str


@frozen
class Waiting:
    """Something failed; the backoff's next delay, and at least `least` seconds, go by before `then`."""

    then: "Syncing | Watching"
    least: float = 0.0


State: TypeAlias = Syncing | Watching | Waiting


@frozen
class Listed:
    """The list was complete and has been swapped in; nothing follows on that connection (pages)."""

    version: str


@frozen
class Ended:
    """A watch ended in good order.

    Attributes:
        version: the last one seen.
        events: how many it brought, bookmarks counted.
        seconds: how long it lasted.
    """

    version: str
    events: int
    seconds: float


@frozen
class Broke:
    """A list or a watch failed.

    Attributes:
        version: the last one seen on it, "" if the list was never complete.
    """

    error: ApiError
    version: str = ""


@frozen
class NoBookmark:
    """A streaming list did not say in time that it was complete."""


@frozen
class Waited:
    """The delay is over."""


Outcome: TypeAlias = Listed | Ended | Broke | NoBookmark | Waited


@frozen
class Position:
    """A state, and what is remembered across states.

    Attributes:
        method: how this server gives full lists, as far as is known.
        doubts: failures in a row that point at the version.
    """

    state: State = Syncing(Method.STREAM)
    method: Method = Method.STREAM
    doubts: int = 0


def step(position: Position, outcome: Outcome) -> Position:
    """The next position. Every outcome is decided here, the worst first."""
    match position.state, outcome:
        case Waiting(then=then), _:
            return evolve(position, state=then)
        case Syncing() as state, Broke(error=error, version=""):
            return _sync_failed(position, state, error)
        case Syncing(), NoBookmark():
            return _by_pages(position, Syncing(Method.PAGES))
        case _, NoBookmark():
            raise AssertionError("only a streaming list waits for its bookmark")
        case _, Broke(error=error, version=version):
            return _watch_failed(position, version, error)
        case _, Ended(version=version, events=0, seconds=seconds) if seconds < _SHORT_WATCH_SECONDS:
            return _watch_failed(position, version, ShortWatch())
        case _, Ended(version=version) | Listed(version=version):
            return evolve(position, state=Watching(version), doubts=0)
        case _:
            raise AssertionError(f"{outcome} cannot follow {position.state}")


def _sync_failed(position: Position, state: Syncing, error: ApiError) -> Position:
    match error:
        case TooLargeResourceVersion():  # the server was restored, or lags: its own word counts now (k8s#107133)
            return evolve(position, state=Waiting(evolve(state, at_least="")))
        case Expired() if state.method is Method.PAGES:  # the pages outlived the history: ask for all at once
            return evolve(position, state=Waiting(Syncing(Method.WHOLE)))
        case Expired():
            return evolve(position, state=Waiting(evolve(state, at_least="")))
        case Invalid() | Decode() if state.method is Method.STREAM:  # it knows no streaming lists
            return _by_pages(position, evolve(state, method=Method.PAGES))
        case Throttled(retry_after=seconds) | ServerError(retry_after=seconds):
            return evolve(position, state=Waiting(state, seconds or 0.0))
        case _:
            return evolve(position, state=Waiting(state))


def _by_pages(position: Position, state: Syncing) -> Position:
    """At once, and from now on: a server that failed to stream a list once will again."""
    return evolve(position, state=state, method=Method.PAGES)


def _watch_failed(position: Position, version: str, error: ApiError) -> Position:
    resume, relist = Watching(version), Syncing(position.method, at_least=version)
    match error:
        case TooLargeResourceVersion():
            return evolve(position, state=Waiting(Syncing(position.method)), doubts=0)
        case Expired() | NotFound():
            return evolve(position, state=Waiting(relist), doubts=0)
        case ShortWatch() | Decode() | Invalid() if (
            position.doubts + 1 >= _PATIENCE
        ):  # 200 and closed may mean 410 (k8s#137307)
            return evolve(position, state=Waiting(Syncing(position.method)), doubts=0)
        case ShortWatch() | Decode() | Invalid():
            return evolve(position, state=Waiting(resume), doubts=position.doubts + 1)
        case Throttled(retry_after=seconds) | ServerError(retry_after=seconds):
            return evolve(position, state=Waiting(resume, seconds or 0.0))
        case _:
            return evolve(position, state=Waiting(resume))
