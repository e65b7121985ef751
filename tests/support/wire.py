"""The bytes of a watch, cut and spoilt on the way, through the real line splitter and decoder."""

from collections import deque
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any, TypeVar, cast

import aiohttp
import msgspec
from msgspec import Struct

from msa.kube.decoding import Decoders
from msa.kube.resources import Stream
from msa.runtime.errors import Decode, Network
from msa.runtime.events import WatchEvent

R = TypeVar("R")

_GARBAGE = b'{"type":"NEWS","object":{}}\n'
_PIECES = 4
_PADDING = b'"metadata":{"managedFields":[{"manager":"' + b"x" * 5_000_000 + b'"}],'


class Meta(Struct, frozen=True, rename="camel"):
    namespace: str
    name: str
    uid: str
    resource_version: str


class Thing(Struct, frozen=True):
    metadata: Meta


_DECODERS = Decoders(Thing)


class Wire:
    """One open watch: what a server sends, as the client reads it."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._chunks: deque[bytes] = deque()
        self._stream = Stream[Thing](cast("aiohttp.StreamReader", self), _DECODERS)
        self.closed = False
        self._garbled = False
        self._mid_line = False

    @property
    def silent(self) -> bool:
        """Whether all that was sent has been read, and there may be more."""
        return not self._chunks and not self.closed

    def send(self, lines: bytes) -> None:
        if lines:
            self._chunks.append(lines)

    def send_last(self, lines: bytes) -> None:
        self.send(lines)
        self.closed = True

    def send_in_pieces(self, lines: bytes) -> None:
        """Cut anywhere; a read may bring no whole line, or parts of two."""
        cuts = sorted(self._rng.sample(range(1, len(lines)), _PIECES - 1))
        for start, end in zip((0, *cuts), (*cuts, len(lines)), strict=True):
            self._chunks.append(lines[start:end])

    def send_cut(self, lines: bytes) -> None:
        """The connection ends in the middle of the last line."""
        start = lines.rfind(b"\n", 0, -1) + 1
        self.send_last(lines[: self._rng.randrange(start + 1, len(lines))])

    def send_garbled(self, lines: bytes) -> None:
        """A line that is no event comes behind them."""
        self.send(lines + _GARBAGE)
        self._garbled = True

    def close(self) -> None:
        """The end, in good order; what was not read yet is lost."""
        self._chunks.clear()
        self.closed = True

    def receive(self) -> Sequence[WatchEvent[Thing]]:
        """What the real stream makes of the next bytes; called while there are some, or after the end."""
        try:
            events = _at_once(self._stream.receive())
        except Decode:
            assert self._garbled, "what was sent as events is read as events"
            raise
        except Network:
            assert self._mid_line, "a whole line is no reason to give up"
            raise
        assert events or not self._mid_line, "a line that was cut is noticed"
        return events

    async def readany(self) -> bytes:
        """What the real stream takes for its connection."""
        if not self._chunks:
            return b""
        self._mid_line = not self._chunks[0].endswith(b"\n")
        return self._chunks.popleft()


def lines_of(events: Sequence[WatchEvent[Thing]]) -> bytes:
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def pad(lines: bytes) -> bytes:
    """Makes the first line one of 5 MB."""
    return lines.replace(b'"metadata":{', _PADDING, 1)


def _at_once(coroutine: Coroutine[Any, Any, R]) -> R:
    """Runs what never waits; asyncio's `sleep(0)`, which no other loop understands, only yields."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
