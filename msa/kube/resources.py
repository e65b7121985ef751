"""One resource of one API server: typed lists and watches straight from the bytes, and the writes."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from attrs import evolve, frozen

from msa.kube.decoding import Decoders, decode
from msa.kube.errors import TRANSPORT_ERRORS, from_exception
from msa.kube.lines import LineSplitter
from msa.kube.transport import Transport
from msa.runtime.errors import Network
from msa.runtime.events import KubeObject, WatchEvent
from msa.runtime.ports import Page

T = TypeVar("T", bound=KubeObject)
R = TypeVar("R")

_BATCH = 256
_LARGEST_PAGE = 8 * 1024 * 1024
"""Bytes. 500 objects may have 1.5 MB each, and whoever lists them some 100 MB."""
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"


@frozen
class Selection:
    """Which objects of which resource.

    Attributes:
        group: API group, "" for core.
        namespace: "" for all namespaces, or for what has none.
        labels: label selector.
        fields: field selector.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    @property
    def path(self) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return (
            f"{root}/namespaces/{self.namespace}/{self.plural}" if self.namespace else f"{root}/{self.plural}"
        )

    def query(self, **parameters: object) -> str:
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        chosen = {
            key: str(value)
            for key, value in {**selectors, **parameters}.items()
            if value not in ("", 0, None)
        }
        return f"{self.path}?{urlencode(chosen)}" if chosen else self.path


class Resource(Generic[T]):
    """A resource, for reading as `runtime.ports.ListWatch[T]` and for writing. Errors are `ApiError`s.

    Args:
        transport: to its API server.
        selection: which objects.
        into: their type; managedFields and whatever else it does not name is skipped over, never built.
        fenced: writes ask the transport's fence first.
    """

    def __init__(
        self,
        transport: Transport,
        selection: Selection,
        into: type[T],
        *,
        fenced: bool = True,
    ) -> None:
        self._transport = transport
        self._fenced = fenced
        self._selection = selection
        self._decoders = Decoders(into)

    @property
    def resource(self) -> str:
        return f"{self._selection.plural}.{self._selection.group}".rstrip(".")

    @property
    def server(self) -> str:
        return self._transport.server

    def within(self, namespace: str) -> "Resource[T]":
        """The same in one namespace: what was read from all of them is written there."""
        narrowed = copy(self)
        narrowed._selection = evolve(self._selection, namespace=namespace)  # noqa: SLF001 - a copy of itself
        return narrowed

    async def list(self, *, resource_version: str = "", limit: int = 0, continue_token: str = "") -> Page[T]:
        query = self._selection.query(
            resourceVersion="" if continue_token else resource_version,
            limit=limit,
            **{"continue": continue_token},
        )
        # All at once, or a single object, cannot be had in smaller parts.
        body = await self._transport.send("GET", query, most=_LARGEST_PAGE if limit > 1 else math.inf)
        return await self._decoders.page(body)

    async def rest(self, seconds: float) -> bool:
        return await self._transport.connectivity.rest(seconds)

    @asynccontextmanager
    async def watch(
        self, *, resource_version: str, initial_events: bool, timeout_seconds: int
    ) -> AsyncIterator["Stream[T]"]:
        query = self._selection.query(
            watch="true",
            allowWatchBookmarks="true",
            timeoutSeconds=timeout_seconds,
            resourceVersion=resource_version,
            sendInitialEvents="true" if initial_events else "",
            resourceVersionMatch="NotOlderThan" if initial_events else "",
        )
        async with self._transport.stream(query) as reader:
            yield Stream(reader, self._decoders)

    async def get(self, name: str, *, into: type[R]) -> R:
        return decode(await self._transport.send("GET", self._path(name)), into)

    async def create(self, body: object, *, into: type[R], dry_run: bool = False) -> R:
        """Creates it, or with `dry_run` asks for all that would be said, and stores nothing."""
        path = f"{self._selection.path}?dryRun=All" if dry_run else self._selection.path
        return decode(await self._write("POST", path, body), into)

    async def update(self, name: str, body: object, *, into: type[R]) -> R:
        return decode(await self._write("PUT", self._path(name), body), into)

    async def patch(self, name: str, body: object, *, into: type[R], subresource: str = "") -> R:
        """Sends a JSON merge patch (RFC 7386)."""
        return decode(await self._write("PATCH", self._path(name, subresource), body, _MERGE_PATCH), into)

    async def json_patch(self, name: str, operations: object, *, into: type[R]) -> R:
        """Sends a JSON patch (RFC 6902), where a part must be replaced whole."""
        return decode(await self._write("PATCH", self._path(name), operations, _JSON_PATCH), into)

    async def delete(self, name: str, *, uid: str = "", version: str = "") -> None:
        """Deletes it; with `uid` only if it is still that very object, with `version` only if it is still as it was, else Conflict."""
        told = {"uid": uid, "resourceVersion": version}
        conditions = {key: value for key, value in told.items() if value}
        await self._write("DELETE", self._path(name), {"preconditions": conditions} if conditions else {})

    async def create_subresource(self, name: str, subresource: str, body: object, *, into: type[R]) -> R:
        return decode(await self._write("POST", self._path(name, subresource), body), into)

    async def _write(self, method: str, path: str, body: object, content_type: str = _JSON) -> bytes:
        encoded = msgspec.json.encode(body)
        return await self._transport.send(
            method, path, body=encoded, content_type=content_type, fenced=self._fenced
        )

    def _path(self, name: str, subresource: str = "") -> str:
        path = f"{self._selection.path}/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path


class Stream(Generic[T]):
    """An open watch: `runtime.ports.WatchStream[T]`."""

    def __init__(self, reader: aiohttp.StreamReader, decoders: Decoders[T]) -> None:
        self._reader = reader
        self._decoders = decoders
        self._lines = LineSplitter()
        self._pending: list[WatchEvent[T]] = []

    async def receive(self) -> Sequence[WatchEvent[T]]:
        """See `runtime.ports.WatchStream.receive`."""
        while not self._pending:
            chunk = await self._read()
            if not chunk:
                return self._end()
            if complete := self._lines.feed(chunk):
                self._pending = self._decoders.events(complete)
        batch = self._pending[:_BATCH]
        del self._pending[:_BATCH]
        await asyncio.sleep(0)
        return batch

    async def _read(self) -> bytes:
        try:
            return await self._reader.readany()
        except TRANSPORT_ERRORS as error:
            raise from_exception(error) from None

    def _end(self) -> Sequence[WatchEvent[T]]:
        if self._lines.unfinished:
            raise Network("the watch was cut in the middle of a line")
        return ()
