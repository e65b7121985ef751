"""Where a reflector stands, and where it goes from there: a pure function, no IO, no clock, no chance.

    Syncing --listed--> Watching --ended--> Watching ...
       ^                    |
       +------ expired -----+         any failure: Waiting, then back to one of the two
       |                    |
       +-- older than ours - Checking <-- silence, or the connection was lost

A server that was restored takes a watch from a version that it has not reached yet, and says nothing: so a cheap look at its
version goes before a watch is resumed whose server may have been replaced. A stream that was silent for its whole inactivity
time is dead, buffered by a proxy, or healthy with nothing to say. It is opened anew, which costs the healthy one a request and no
more; after two of them watches are short: a proxy passes on what it holds when they end.

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
    Network,
    NotFound,
    ServerError,
    ShortWatch,
    Throttled,
    TooLargeResourceVersion,
    Unauthorized,
)

_SHORT_WATCH_SECONDS = 1.0
_PATIENCE = 3
"""So many failures in a row that point at the version itself (not at the network) lead to a new list."""

_SUSPICIOUS = 2
"""So many silent streams in a row may be a proxy's doing."""

_LONGEST_WAIT = 30.0
"""Of Retry-After: whole maintenance windows are announced in it, that end earlier."""


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
    """The list is complete up to `version`; changes follow it.

    Attributes:
        brief: the server shall end the watch before its silence would be judged.
    """

    version: str
    brief: bool = False


@frozen
class Checking:
    """The list is complete up to `version`, if the server that answers now has that version."""

    version: str


@frozen
class Waiting:
    """Something failed; the backoff's next delay, and at least `least` seconds, go by before `then`."""

    then: "Syncing | Watching | Checking"
    least: float = 0.0


State: TypeAlias = Syncing | Watching | Checking | Waiting


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
        prompt: something came well before its end, so nothing on the way holds events back.
    """

    version: str
    events: int
    seconds: float
    prompt: bool = True


@frozen
class Quiet:
    """A watch, perhaps after some events, brought no byte for its whole inactivity time.

    Attributes:
        version: the last one seen.
        prompt: as of `Ended`.
        answered: its answer had begun.
    """

    version: str
    prompt: bool
    answered: bool = True


@frozen
class Checked:
    """The server's newest version is this one."""

    version: str


@frozen
class Moved:
    """Requests go to another server now, whose versions are others."""


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
    """A streaming list did not say in time that it was complete; where not `answered`, nothing of the answer came at all."""

    answered: bool = True


@frozen
class Waited:
    """The delay is over."""


Outcome: TypeAlias = Listed | Ended | Quiet | Checked | Moved | Broke | NoBookmark | Waited


@frozen
class Position:
    """A state, and what is remembered across states.

    Attributes:
        method: how this server gives full lists, as far as is known.
        doubts: failures in a row that point at the version.
        silent: streams in a row that were silent for their whole inactivity time.
    """

    state: State = Syncing(Method.STREAM)
    method: Method = Method.STREAM
    doubts: int = 0
    silent: int = 0


def step(position: Position, outcome: Outcome) -> Position:
    """The next position. Every outcome is decided here, the worst first."""
    match position.state, outcome:
        case _, Moved():
            return Position()
        case Waiting(then=then), _:
            return evolve(position, state=then)
        case Syncing() as state, Broke(error=error, version=""):
            return _sync_failed(position, state, error)
        case Syncing(), NoBookmark(answered=answered):
            silent = position.silent + (not answered)
            return _by_pages(evolve(position, silent=silent), Syncing(Method.PAGES))
        case Checking(version=version), Checked(version=newest):
            return _checked(position, version, newest)
        case Checking(version=version), Broke(error=error):
            return _check_failed(position, version, error)
        case _:
            return _watched(position, outcome)


def _watched(position: Position, outcome: Outcome) -> Position:
    match outcome:
        case Broke(error=error, version=version):
            return _watch_failed(position, version, error)
        case Quiet(version=version, prompt=prompt):
            return evolve(position, state=Checking(version), silent=1 if prompt else position.silent + 1)
        case Ended(version=version, events=0, seconds=seconds) if seconds < _SHORT_WATCH_SECONDS:
            return _watch_failed(position, version, ShortWatch())
        case Ended(version=version, prompt=prompt):
            position = evolve(position, doubts=0, silent=0 if prompt else position.silent)
            return evolve(position, state=_watch(position, version))
        case Listed(version=version):
            return evolve(position, state=_watch(position, version), doubts=0)
        case _:
            raise AssertionError(f"{outcome} cannot follow {position.state}")


def _watch(position: Position, version: str) -> Watching:
    return Watching(version, brief=position.silent >= _SUSPICIOUS)


def _checked(position: Position, version: str, newest: str) -> Position:
    """Versions that are not numbers cannot be compared, and count as good."""
    if newest.isdecimal() and version.isdecimal() and int(newest) < int(version):
        return evolve(position, state=Syncing(position.method), doubts=0, silent=0)
    return evolve(position, state=_watch(position, version))


def _check_failed(position: Position, version: str, error: ApiError) -> Position:
    match error:
        case Throttled(
            retry_after=seconds
        ):  # not asked yet: a watch that is resumed now might be silent for ever
            return evolve(position, state=Waiting(Checking(version), _least(seconds)))
        case Unauthorized():
            return evolve(position, state=Waiting(Checking(version)))
        case ServerError() | Network() | Expired():
            return _watch_failed(position, version, error)
        case _:  # the watch itself says what is wrong, or is all that we may do
            return evolve(position, state=_watch(position, version))


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
            return evolve(position, state=Waiting(state, _least(seconds)))
        case _:
            return evolve(position, state=Waiting(state))


def _by_pages(position: Position, state: Syncing) -> Position:
    """At once, and from now on: a server that failed to stream a list once will again."""
    return evolve(position, state=state, method=Method.PAGES)


def _watch_failed(position: Position, version: str, error: ApiError) -> Position:
    resume, relist = _watch(position, version), Syncing(position.method, at_least=version)
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
        case Throttled(retry_after=seconds):
            return evolve(position, state=Waiting(resume, _least(seconds)))
        case ServerError(retry_after=seconds):
            return evolve(position, state=Waiting(Checking(version), _least(seconds)))
        case Network():
            return evolve(position, state=Waiting(Checking(version)))
        case _:
            return evolve(position, state=Waiting(resume))


def _least(retry_after: float | None) -> float:
    return min(retry_after or 0.0, _LONGEST_WAIT)
