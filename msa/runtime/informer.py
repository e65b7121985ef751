"""A reflector, a store and those who want to be told: the local copy of one resource and its changes.

Handlers are told of every change in order, after the store has it. One that raises is a bug, which is logged with the object's key;
neither the watch nor the other handlers stop for it.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Generic, TypeVar

import anyio
import structlog

from msa.runtime.errors import ApiError, Forbidden, NotFound
from msa.runtime.events import Added, Deleted, Failed, KubeObject, Modified, Unreadable, WatchEvent
from msa.runtime.metrics import Metrics
from msa.runtime.ports import ListWatch
from msa.runtime.reflector import Reflector
from msa.runtime.result import Key
from msa.runtime.slices import Slices
from msa.runtime.store import Change, Index, Store, StoreWriter, key_of

T = TypeVar("T", bound=KubeObject)
Handler = Callable[[Change[T]], None]

SILENCE_SECONDS = 130.0
"""Twice the inactivity after which a silent stream is opened anew: by then there was at least an attempt."""

_REFUSALS = (NotFound, Forbidden)
_log = structlog.get_logger(__name__)


class Informer(Generic[T]):
    """One resource, cached and followed.

    Args:
        source: where it is read.
        rng: for jitter.
        metrics: where lists, watches and events are counted.
        transform: what is kept of an object, called once for each that comes; an exception from it means that the object
            cannot be read: it is counted, logged and kept out of the store, its last good state too, since that is history.
        indexes: by name, see `Store.by_index`.
        optional: the server may not know the resource, or not let us read it: nobody waits for its first list then, and it is
            listed once it can be.
    """

    def __init__(
        self,
        source: ListWatch[Any],
        rng: Random,
        metrics: Metrics,
        *,
        transform: Callable[[Any], T] | None = None,
        indexes: Mapping[str, Index[T]] | None = None,
        optional: bool = False,
    ) -> None:
        self.store: Store[T] = Store(indexes)
        self.resource = source.resource
        self._writer = StoreWriter(self.store)
        self._transform = transform
        self._malformed = metrics.malformed.labels(source.resource)
        self._handler_errors = metrics.handler_errors.labels(source.resource)
        self._told_malformed: dict[Key, str] = {}
        self._handlers: list[Handler[T]] = []
        self._synced = anyio.Event()
        self._optional = optional
        self._settled = anyio.Event()
        self._reflector = Reflector(source, self, rng, metrics, on_failure=self._failed)

    def subscribe(self, handler: Handler[T]) -> None:
        """Tells `handler` of every change from now on; called before `run`, it learns of everything."""
        self._handlers.append(handler)

    async def run(self) -> None:
        """Follows the resource for ever."""
        await self._reflector.run()

    async def wait_synced(self) -> None:
        """Returns once the store has been complete, and the handlers were told of all of it."""
        await self._synced.wait()

    async def wait_settled(self) -> None:
        """Returns once synced; of an optional resource also once the server said that it cannot be had."""
        await (self._settled if self._optional else self._synced).wait()

    def problem(self, now: float) -> str | None:
        """What is wrong with the watch, None while it is heard from.

        Args:
            now: monotonic seconds.
        """
        silence = now - self._reflector.heard.at
        if silence > SILENCE_SECONDS:
            return f"watch of {self.resource}: nothing heard for {silence:.0f} s"
        return None

    def trouble(self) -> str | None:
        """Why the copy may be behind at this moment: the last attempt failed, or it was never complete."""
        if (error := self._reflector.heard.error) is not None:
            return f"{self.resource}: {error.reason}: {error.message}"
        return self.not_synced()

    def age(self, now: float) -> float | None:
        """Seconds since the copy was surely not behind; None where it was never begun, or may be missing and is.

        Args:
            now: monotonic seconds.
        """
        age = now - self._reflector.heard.well
        missing = self._optional and not self.store.synced
        return None if missing or age < 0 else age

    def not_synced(self) -> str | None:
        """That it was never complete; None once it has been."""
        return None if self.store.synced or self._optional else f"{self.resource}: not listed yet"

    @property
    def replaced(self) -> bool:
        """Whether its server was ever found to be another one, or an earlier state of itself, than it was before."""
        return self._reflector.moved or self.store.rewound

    @property
    def refused(self) -> bool:
        """Whether the server refused the last attempt to follow, or does not know the kind: the copy is history."""
        return isinstance(self._reflector.heard.error, _REFUSALS)

    @property
    def interruptions(self) -> int:
        """How often a list or a watch broke."""
        return self._reflector.interruptions

    def keep(self, object_: Any) -> T | None:
        """What is kept of an object; None where it cannot be read."""
        if self._transform is None:
            kept: T = object_
            return kept
        try:
            return self._transform(object_)
        except Exception as error:  # noqa: BLE001 - whatever strangers put into an object, it is that object's trouble alone
            self._tell_malformed(object_, f"{type(error).__name__}: {error}")
            return None

    async def replace(self, objects: Sequence[T], version: str) -> None:
        """A full list from the reflector, of what is kept."""
        pause = Slices()
        for change in self._writer.replace(objects, version):
            self._tell(change)
            if pause.over():
                await pause.rest()
        self._synced.set()
        self._settled.set()

    async def apply(self, events: Sequence[WatchEvent[Any]]) -> None:
        """Changes from the reflector, in order."""
        pause = Slices()
        for event in events:
            change = self._fold(event)
            if change is not None:
                self._tell(change)
            if pause.over():
                await pause.rest()

    def _failed(self, error: ApiError) -> None:
        if isinstance(error, _REFUSALS):
            self._settled.set()

    def _fold(self, event: WatchEvent[Any]) -> Change[T] | None:
        change: Change[T] | None = None
        match event:
            case Added() | Modified():
                item = self.keep(event.object)
                change = (
                    self._writer.put(item) if item is not None else self._writer.drop(key_of(event.object))
                )
            case Deleted():
                self._told_malformed.pop(key_of(event.object), None)
                change = self._writer.remove(event.object)
            case Unreadable(object=named, problem=problem):
                self._tell_malformed(named, problem)
                change = self._writer.drop(key_of(named))
        if not isinstance(event, Failed):
            self._writer.progress(event.object.metadata.resource_version)
        return change

    def _tell_malformed(self, object_: KubeObject, problem: str) -> None:
        """Counts each time; says it once for each state of the object, though it is listed again."""
        self._malformed.inc()
        key, version = key_of(object_), object_.metadata.resource_version
        if self._told_malformed.get(key) != version:
            self._told_malformed[key] = version
            _log.error("object_unreadable", resource=self.resource, key=key, problem=problem[:300])

    def _tell(self, change: Change[T]) -> None:
        for handler in self._handlers:
            try:
                handler(change)
            except Exception:  # noqa: BLE001 - see the module
                self._handler_errors.inc()
                _log.exception("handler_failed", resource=self.resource, key=change.key)
