"""The runtime alone: from the bytes of a watch to the queue, beside msgspec decoding the same bytes into the same types."""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import anyio
import anyio.lowlevel
import msgspec
from prometheus_client import CollectorRegistry

from msa.agent.ingest import slim_identity
from msa.api.managedserviceaccount import ManagedServiceAccount, StoredIdentity
from msa.kube.lines import LineSplitter
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.events import Added, Bookmark, Deleted, Failed, Modified, WatchEvent
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.ports import Page
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.result import Done, Key, Result
from msa.runtime.store import Store, StoreWriter

_EVENTS = 50_000
_CACHED = 100_000
_CHUNK = 64 * 1024
_DECODER = msgspec.json.Decoder(
    Added[ManagedServiceAccount]
    | Modified[ManagedServiceAccount]
    | Deleted[ManagedServiceAccount]
    | Bookmark
    | Failed
)


_STORED = msgspec.json.Decoder(Added[StoredIdentity])


def measure_runtime() -> dict[str, float]:
    """events_per_s, events_ratio, reconciles_per_s, bytes_per_object, stall_p99_ms."""
    lines = b"".join(_line(number) for number in range(_EVENTS))
    alone = min(_decode_alone(lines) for _ in range(3))
    runs = [anyio.run(_events, lines) for _ in range(3)]
    whole = min(seconds for seconds, _ in runs)
    stalls = sorted(stall for _, found in runs for stall in found)
    return {
        "events_per_s": round(_EVENTS / whole),
        "events_ratio": round(alone / whole, 2),
        "reconciles_per_s": round(_EVENTS / min(anyio.run(_reconciles) for _ in range(3))),
        "bytes_per_object": round(_bytes_per_object()),
        "stall_p99_ms": round(stalls[len(stalls) * 99 // 100] * 1000, 2),
    }


def _line(number: int) -> bytes:
    """A watch line as the hub sends it, managedFields and all: some 2 KB."""
    name, moment = f"identity-{number}", "2026-01-01T00:00:00Z"
    condition = {"lastTransitionTime": moment, "message": "", "observedGeneration": 1, "status": "True"}
    body = {
        "apiVersion": "authentication.open-cluster-management.io/v1beta1",
        "kind": "ManagedServiceAccount",
        "metadata": {
            "creationTimestamp": moment,
            "generation": 1,
            "managedFields": [
                {
                    "manager": "msa",
                    "operation": "Update",
                    "time": moment,
                    "fieldsV1": {"f:status": {"f:x" * 20: {}}},
                }
            ]
            * 3,
            "name": name,
            "namespace": "cluster1",
            "resourceVersion": str(number + 10),
            "uid": f"4860802d-fcd1-4619-9a3b-{number:012d}",
        },
        "spec": {"rotation": {"enabled": True, "validity": "8640h0m0s"}},
        "status": {
            "audiences": ["https://kubernetes.default.svc"],
            "conditions": [
                {**condition, "reason": type_, "type": type_}
                for type_ in ("Ready", "TokenReported", "SecretCreated")
            ],
            "expirationTimestamp": moment,
            "grantedValidity": "8640h0m0s",
            "observedGeneration": 1,
            "serviceAccountRef": {
                "name": name,
                "namespace": "install",
                "uid": f"f191d225-8eee-4049-8c29-{number:012d}",
            },
            "tokenSecretRef": {"lastRefreshTimestamp": moment, "name": name},
        },
    }
    return msgspec.json.encode({"type": "ADDED", "object": body}) + b"\n"


def _decode_alone(lines: bytes) -> float:
    gc.collect()
    start = time.perf_counter()
    kept = _DECODER.decode_lines(lines)
    seconds = time.perf_counter() - start
    assert len(kept) == _EVENTS  # noqa: S101 - it did the work
    return seconds


class _Replay:
    """A stream of bytes in chunks, as `kube.resources.Stream` reads them; then it stays open and says nothing."""

    resource = "identities"
    server = "https://one"

    def __init__(self, lines: bytes) -> None:
        self._chunks = [lines[start : start + _CHUNK] for start in range(0, len(lines), _CHUNK)]
        self._chunks.reverse()
        self._lines = LineSplitter()
        self._pending: list[WatchEvent[ManagedServiceAccount]] = []

    async def list(
        self, *, resource_version: str = "", limit: int = 0, continue_token: str = ""
    ) -> Page[ManagedServiceAccount]:
        raise NotImplementedError

    async def rest(self, seconds: float) -> bool:
        raise NotImplementedError

    @asynccontextmanager
    async def watch(
        self,
        *,
        resource_version: str,  # noqa: ARG002 - the port's signature
        initial_events: bool,
        timeout_seconds: int,  # noqa: ARG002 - as above
    ) -> AsyncIterator["_Replay"]:
        if initial_events:
            end = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}\n'
            self._pending = _DECODER.decode_lines(end)
        yield self

    async def receive(self) -> Sequence[WatchEvent[ManagedServiceAccount]]:
        while not self._pending:
            if not self._chunks:
                await anyio.sleep_forever()
            if complete := self._lines.feed(self._chunks.pop()):
                self._pending = _DECODER.decode_lines(complete)
        batch = self._pending[:256]
        del self._pending[:256]
        await anyio.lowlevel.checkpoint()
        return batch


async def _events(lines: bytes) -> tuple[float, list[float]]:
    """Seconds from bytes to queue, and how late the loop woke a sleeper meanwhile."""
    metrics = Metrics(CollectorRegistry())
    queue = WorkQueue("bench", Backoff(Random(1)), metrics)  # noqa: S311 - jitter
    informer = Informer[ManagedServiceAccount](_Replay(lines), Random(1), metrics)  # noqa: S311 - jitter
    informer.subscribe(lambda change: queue.add(Key(change.latest.metadata.name)))
    stalls: list[float] = []

    async def lag() -> None:
        while True:
            before = time.perf_counter()
            await anyio.lowlevel.checkpoint()
            stalls.append(time.perf_counter() - before)

    gc.collect()
    gc.set_threshold(50_000)
    async with anyio.create_task_group() as tasks:
        start = time.perf_counter()
        tasks.start_soon(informer.run)
        tasks.start_soon(lag)
        while len(informer.store) < _EVENTS:
            await anyio.sleep(0.001)
        seconds = time.perf_counter() - start
        tasks.cancel_scope.cancel()
    assert queue.statistics().ready[Lane.LIVE] == _EVENTS  # noqa: S101 - it did the work
    return seconds, stalls


async def _reconciles() -> float:
    metrics = Metrics(CollectorRegistry())
    queue = WorkQueue("bench", Backoff(Random(1)), metrics)  # noqa: S311 - jitter

    left = _EVENTS

    async def reconcile(_key: Key) -> Result:
        nonlocal left
        left -= 1
        if not left:
            queue.shut_down()
        return Done()

    for number in range(_EVENTS):
        queue.add(Key(f"identity-{number}"))
    controller = Controller(queue, reconcile, workers=32, freshness=Freshness(), metrics=metrics)
    start = time.perf_counter()
    await controller.run()
    return time.perf_counter() - start


def _bytes_per_object() -> float:
    """Of an identity in the agent's cache, slimmed as it comes, at 100,000 of them."""
    store: Store[ManagedServiceAccount] = Store()
    writer = StoreWriter(store)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(_CACHED):
        writer.put(slim_identity(_STORED.decode(_line(number)).object))
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / len(store)
    tracemalloc.stop()
    return size
