"""A hub for the fan-out, scripted: what is written goes through JSON, as on an API server, and shows in the caches at once."""

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any

import msgspec
from attrs import define, field, frozen

from msa.api.cluster import ClusterSpec, ManagedCluster
from msa.api.clusterset import (
    LABEL_CLUSTER_SET,
    LABEL_PLACEMENT,
    BindingSpec,
    Decision,
    Decisions,
    ManagedClusterSet,
    ManagedClusterSetBinding,
    PlacementDecision,
)
from msa.api.durations import rfc3339
from msa.api.fleet_identity import FleetIdentity, StoredFleetIdentity
from msa.api.meta import Condition, ObjectMeta
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE, by_namespace
from msa.hub.fanout import FanOutReconciler
from msa.hub.fanout_caches import DECISIONS_BY_PLACEMENT, IDENTITY_INDEXES, FanOutCaches, by_placement
from msa.hub.fanout_causes import Causes
from msa.hub.fanout_children import Children
from msa.hub.fanout_departures import Departures
from msa.hub.ingest import keep_identity, whole_identity
from msa.runtime.backoff import Backoff
from msa.runtime.errors import AlreadyExists, ApiError, Conflict, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Key, Result
from msa.runtime.store import Change, Store, StoreWriter, key_of
from tests.support import fleet

TEAM = "team"
ORIGIN = Key(f"{TEAM}/robot")
Body = dict[str, Any]


@define
class FanOutHub:
    """One hub and its caches, as `IdentityHub` and `FanOutObserver`.

    Attributes:
        refuses: what a write to a namespace fails with, while it is set.
        writes: what was written, in order: the verb and the object.
        reads: what was read again before it was written.
        stored: every ManagedServiceAccount as it is on the wire.
        replaced: the hub is another one than it was.
        real: what a fresh read of the hub says; None for the same as the caches.
    """

    now: Callable[[], datetime]
    refuses: dict[str, ApiError] = field(factory=dict)
    writes: list[str] = field(factory=list)
    reads: list[str] = field(factory=list)
    observed: list[tuple[str, ...]] = field(factory=list)
    stored: dict[Key, Body] = field(factory=dict)
    version: int = 10
    real: FanOutCaches | None = None
    replaced: bool = False
    caches: FanOutCaches = field(init=False)
    causes: Causes = field(init=False)

    @causes.default
    def _no_causes(self) -> Causes:
        return Causes(self.caches.sets, self.caches.bindings)

    @caches.default
    def _empty(self) -> FanOutCaches:
        return FanOutCaches(
            Store(IDENTITY_INDEXES),
            Store(),
            Store(),
            Store({BINDINGS_BY_NAMESPACE: by_namespace}),
            Store({DECISIONS_BY_PLACEMENT: by_placement}),
        )

    def synced(self) -> None:
        """OCM's kinds have been listed."""
        for store in (self.caches.sets, self.caches.bindings, self.caches.decisions):
            writer: StoreWriter[Any] = StoreWriter(store)
            writer.replace([], str(self.version))

    def put(self, *objects: Any) -> None:
        """Shows these in the caches: somebody else's writes."""
        for item in objects:
            self.version += 1
            metadata = msgspec.structs.replace(item.metadata, resource_version=str(self.version))
            self._tell(
                item, StoreWriter(self._store(item)).put(msgspec.structs.replace(item, metadata=metadata))
            )

    def take(self, *objects: Any) -> None:
        """Somebody deletes them, and that is seen."""
        for item in objects:
            writer, stored = StoreWriter(self._store(item)), self._store(item).get(key_of(item))
            self._tell(item, writer.remove(stored) if stored is not None else None)

    def lose(self, *objects: Any) -> None:
        """They are in no list any more, and nobody saw them go."""
        for item in objects:
            self._tell(item, StoreWriter(self._store(item)).drop(key_of(item)))

    def _tell(self, item: Any, change: Change[Any] | None) -> None:
        handlers: dict[type, Callable[[Change[Any]], None]] = {
            ManagedCluster: self.causes.cluster,
            ManagedClusterSet: self.causes.cluster_set,
            ManagedClusterSetBinding: self.causes.binding,
            PlacementDecision: self.causes.decision,
            FleetIdentity: self.causes.identity,
        }
        if change is not None:
            handlers[type(item)](change)

    def apply(self, key: str, **content: Any) -> None:
        """Somebody writes a ManagedServiceAccount; content by the names on the wire, metadata merged."""
        namespace, _, name = key.partition("/")
        body = self.stored.get(Key(key)) or {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{self.version}",
                "generation": 1,
                "creationTimestamp": rfc3339(self.now()),
            }
        }
        self._save(Key(key), _merge(body, content))

    def remove(self, key: str) -> None:
        """Somebody deletes a ManagedServiceAccount; a finalizer holds it."""
        body = self.stored[Key(key)]
        if body["metadata"].get("finalizers"):
            self.apply(key, metadata={"deletionTimestamp": rfc3339(self.now())})
        else:
            self._forget(Key(key))

    def report(self, cluster: str, status: str = "True", reason: str = "R", **more: Any) -> None:
        """The agent on a cluster says how the child fares as it is now."""
        key = f"{cluster}/robot"
        generation = self.stored[Key(key)]["metadata"]["generation"]
        conditions = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": f"{reason}!",
                "lastTransitionTime": rfc3339(self.now()),
                "observedGeneration": generation,
            }
            for kind in ("Ready", "TokenReported")
        ]
        self.apply(key, status={"conditions": conditions, **more})

    def get(self, key: str) -> FleetIdentity:
        found = self.caches.identities.get(key)
        assert found is not None, f"there is no {key}"
        return found

    def children(self) -> list[str]:
        """Where there are children, by labels."""
        return sorted(item.metadata.namespace for item in self.caches.children(ORIGIN))

    def said(self, kind: str = "Ready") -> Condition:
        """A condition of the origin."""
        return {item.type: item for item in self.get(ORIGIN).status.conditions}[kind]

    def counts(self) -> tuple[int, int, int, int]:
        """Desired, updated, ready, failed."""
        told = self.get(ORIGIN).status.fan_out
        assert told is not None, "it says nothing of clusters"
        return (told.desired, told.updated, told.ready, told.failed)

    async def create(self, body: Body) -> str:
        metadata = body["metadata"]
        key = Key(f"{metadata['namespace']}/{metadata['name']}")
        self._begin(key)
        if key in self.stored:
            raise AlreadyExists(key)
        self.writes.append(f"create {key}")
        self.apply(key, **{name: body[name] for name in ("metadata", "spec")})
        return str(self.version)

    async def patch(self, stored: ObjectMeta, changes: Body) -> str:
        return self._patch(stored, changes, "patch")

    async def whole(self, stored: ObjectMeta) -> FleetIdentity | None:
        key = Key(f"{stored.namespace}/{stored.name}")
        self._begin(key)
        if key not in self.stored:
            raise NotFound(key)
        self.reads.append(key)
        return whole_identity(_on_the_wire(self.stored[key]))

    async def patch_status(self, stored: ObjectMeta, changes: Body) -> str:
        return self._patch(stored, {"status": changes}, "status")

    async def delete(self, stored: ObjectMeta) -> None:
        key = Key(f"{stored.namespace}/{stored.name}")
        self._begin(key)
        self.writes.append(f"delete {key}")
        if key in self.stored and self.stored[key]["metadata"]["uid"] == stored.uid:
            self.remove(key)

    def wrote(self, verb: str) -> None:
        self.observed.append((verb,))

    def fanned_out(self, origin: FleetIdentity, *, created: int, rewritten: int) -> None:
        self.observed.append(("fanned out", origin.metadata.name, str(created), str(rewritten)))

    def withdrawn(self, origin: FleetIdentity, count: int, why: str) -> None:
        self.observed.append(("withdrawn", origin.metadata.name, str(count), why))

    def restored(self, child: FleetIdentity, origin: FleetIdentity, edits: Sequence[str]) -> None:
        self.observed.append(("restored", child.metadata.namespace, origin.metadata.name, *edits))

    def held(self, origin: FleetIdentity, count: int) -> None:
        self.observed.append(("held", origin.metadata.name, str(count)))

    def holding(self, count: int) -> None:
        self.observed.append(("holding", str(count)))

    def swept(self, origin: str, count: int) -> None:
        self.observed.append(("swept", origin, str(count)))

    def condition(self, origin: FleetIdentity, condition: Condition) -> None:
        self.observed.append(("condition", origin.metadata.name, condition.status, condition.reason))

    def _patch(self, stored: ObjectMeta, changes: Body, verb: str) -> str:
        key = Key(f"{stored.namespace}/{stored.name}")
        self._begin(key)
        if key not in self.stored:
            raise NotFound(key)
        if self.get(key).metadata.resource_version != stored.resource_version:
            raise Conflict(key)
        self.writes.append(f"{verb} {key}")
        self._save(key, _merge(self.stored[key], msgspec.to_builtins(changes)))
        return str(self.version)

    def _begin(self, key: Key) -> None:
        if (error := self.refuses.get(key.partition("/")[0])) is not None:
            raise error

    def _save(self, key: Key, body: Body) -> None:
        before = self.stored.get(key, {})
        metadata = body["metadata"]
        if before and before.get("spec") != body.get("spec"):
            metadata = {**metadata, "generation": metadata["generation"] + 1}
        self.version += 1
        body = {**body, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self._forget(key)
            return
        self.stored[key] = body
        kept = keep_identity(_on_the_wire(body))
        self._tell(kept, StoreWriter(self.caches.identities).put(kept))

    def _forget(self, key: Key) -> None:
        del self.stored[key]
        kept = self.get(key)
        self._tell(kept, StoreWriter(self.caches.identities).remove(kept))

    def _store(self, item: Any) -> Store[Any]:
        stores: dict[type, Store[Any]] = {
            ManagedCluster: self.caches.clusters,
            ManagedClusterSet: self.caches.sets,
            ManagedClusterSetBinding: self.caches.bindings,
            PlacementDecision: self.caches.decisions,
        }
        return stores[type(item)]


def _on_the_wire(body: Body) -> StoredFleetIdentity:
    return msgspec.json.decode(msgspec.json.encode(body), type=StoredFleetIdentity)


def _merge(stored: Any, changes: Any) -> Any:
    """RFC 7386."""
    if not isinstance(changes, dict):
        return changes
    merged = dict(stored) if isinstance(stored, dict) else {}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def cluster(name: str, group: str = "edge", **labels: str) -> ManagedCluster:
    metadata = ObjectMeta(name=name, uid=f"{name}-uid", labels={LABEL_CLUSTER_SET: group, **labels})
    return ManagedCluster(metadata, ClusterSpec(hub_accepts_client=True))


def binding(group: str = "edge", namespace: str = TEAM, name: str = "") -> ManagedClusterSetBinding:
    return ManagedClusterSetBinding(
        ObjectMeta(name=name or group, namespace=namespace, uid=f"{group}-binding"), BindingSpec(group)
    )


def cluster_set(name: str = "edge") -> ManagedClusterSet:
    return ManagedClusterSet(ObjectMeta(name=name, uid=f"{name}-set"))


def decision(placement: str, *clusters: str, name: str = "d1") -> PlacementDecision:
    metadata = ObjectMeta(name=name, namespace=TEAM, uid=name, labels={LABEL_PLACEMENT: placement})
    return PlacementDecision(metadata, Decisions(tuple(Decision(item) for item in clusters)))


@frozen
class Fresh:
    """What the hub says when it is asked at once."""

    hub: FanOutHub

    async def caches(self) -> FanOutCaches:
        return self.hub.real or self.hub.caches

    async def has(self, key: Key) -> bool:
        return key in self.hub.stored


def reconciler_of(hub: FanOutHub, *, ephemeral: bool = False) -> FanOutReconciler:
    """That of a manager which has just been started."""
    return FanOutReconciler(
        hub.caches,
        hub,
        Children(hub, hub, hub.now, Backoff(Random(1))),
        Departures(hub.caches, hub.causes, Fresh(hub), hub, hub.now, lambda: hub.replaced),
        Freshness(),
        hub,
        now=hub.now,
        hub_now=hub.now,
        ephemeral=ephemeral,
    )


async def settle(hub: FanOutHub, reconcile: FanOutReconciler, key: Key = ORIGIN) -> Result:
    """As `fleet.settle`, for the origin."""
    return await fleet.settle(hub, reconcile, key)
