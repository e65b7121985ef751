"""A hub as the ports for ClusterProfiles show it, scripted: every write shows in the caches at once."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import anyio
import msgspec
from attrs import define, field
from msgspec.structs import replace

from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.api.clusterprofile import ClusterProfile, SecretFacts
from msa.api.clusterset import (
    BY_LABEL_SELECTOR,
    ClusterSelector,
    ClusterSetSpec,
    ManagedClusterSet,
    ManagedClusterSetBinding,
)
from msa.api.core import Secret
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import ObjectMeta
from msa.hub.cluster_sets import BINDINGS_BY_NAMESPACE, ClusterSets, by_namespace
from msa.hub.fanout_causes import Causes
from msa.hub.identity_notices import Notices
from msa.hub.leaving import Leavers
from msa.hub.profile_departures import Departures
from msa.hub.profile_ingest import keep_secret
from msa.hub.profile_pace import Pace
from msa.hub.profile_removals import CopyRemovals
from msa.hub.profile_triggers import BY_CLUSTER, cluster_of, name_of, namespace_of, published_of
from msa.hub.profiles import BY_NAME, BY_NAMESPACE, PUBLISHED, CopyReconciler, ProfileCaches
from msa.policy.profiles import Rejection
from msa.runtime.backoff import Backoff
from msa.runtime.errors import AlreadyExists, ApiError, Conflict, NotFound
from msa.runtime.freshness import Freshness
from msa.runtime.result import Key
from msa.runtime.store import Change, Store, StoreWriter, key_of
from tests.conftest import START
from tests.support.fanout_hub import binding
from tests.support.fleet import with_

PLACE = "argo/c1-argocd"


def wall_clock() -> datetime:
    """Of the virtual time."""
    return START + timedelta(seconds=anyio.current_time())


class Latest(Random):
    """Delays are as long as they may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


BOUND = ("argo", "fleet")
"""Namespaces that may use every cluster, from the start."""


def caches() -> ProfileCaches:
    """Nothing is known but a set of all clusters, and where it is bound."""
    return ProfileCaches(
        Store[FleetIdentity](),
        Store[ManagedCluster](),
        Store[ClusterProfile]({BY_NAME: name_of, BY_NAMESPACE: namespace_of, PUBLISHED: published_of}),
        Store[SecretFacts](),
        Store[SecretFacts]({BY_NAME: name_of, BY_CLUSTER: cluster_of}),
        groups(*BOUND),
    )


def groups(*namespaces: str) -> ClusterSets:
    """A set of all clusters that is bound to these namespaces."""
    sets: Store[ManagedClusterSet] = Store()
    bindings: Store[ManagedClusterSetBinding] = Store({BINDINGS_BY_NAMESPACE: by_namespace})
    everything = ClusterSetSpec(ClusterSelector(BY_LABEL_SELECTOR))
    StoreWriter(sets).replace([ManagedClusterSet(ObjectMeta(name="global"), everything)], "1")
    StoreWriter(bindings).replace([binding("global", namespace) for namespace in namespaces], "1")
    return ClusterSets(sets, bindings)


@define
class Hub:
    """As `ProfileHub` and `ProfileObserver`; every write shows in the caches at once.

    Attributes:
        secrets: all of them, by `namespace/name`, with their content.
        errors: what a request fails with, by verb and place.
        requests: what was asked, in order.
        told: what the observer was told.
        notices: what was written into the status of identities: which, and the messages there.
        replaced: the hub is another one than it was.
        stuck: deletions leave the Secret there, as a finalizer does.
        real: what a fresh read of the hub says; None for the same as the caches.
        holding_now: how many are held, by kind.
    """

    secrets: dict[str, Secret] = field(factory=dict)
    errors: dict[str, ApiError] = field(factory=dict)
    requests: list[str] = field(factory=list)
    bodies: list[dict[str, Any]] = field(factory=list)
    told: list[tuple[Any, ...]] = field(factory=list)
    notices: list[tuple[str, ...]] = field(factory=list)
    stuck: bool = False
    replaced: bool = False
    version: int = 100
    caches: ProfileCaches = field(factory=caches)
    freshness: Freshness = field(factory=Freshness)
    real: ProfileCaches | None = None
    holding_now: dict[str, int] = field(factory=dict)
    causes: Causes = field(init=False)
    reconcile: CopyReconciler = field(init=False)

    @causes.default
    def _nothing_seen(self) -> Causes:
        return Causes(self.caches.groups.sets, self.caches.groups.bindings)

    @reconcile.default
    def _new_manager(self) -> CopyReconciler:
        notices = Notices(self.caches.identities, self, self.freshness, lambda: START)
        copies = self.caches.copies
        leavers = Leavers(copies, lambda: len(copies), partial(self.holding, "copy"), lambda: self.replaced)
        removals = CopyRemovals(self.causes, self, Departures(leavers, self, wall_clock))
        pace = Pace(Backoff(Latest()))
        return CopyReconciler(self.caches, self, self.freshness, self, pace, notices, removals)

    def restart(self) -> None:
        self.requests.clear()
        self.told.clear()
        self.reconcile = self._new_manager()

    def sync(self, *items: ClusterProfile) -> None:
        """The first full list of profiles."""
        self.version += 1
        StoreWriter(self.caches.profiles).replace(items, str(self.version))

    def put(self, *items: Any) -> None:
        """Somebody else's writes."""
        for item in items:
            self.version += 1
            new = with_(item, resource_version=str(self.version))
            if isinstance(new, Secret):
                self.secrets[key_of(new)] = new
                self._show(new)
            else:
                self._tell(new, StoreWriter(self._store(new)).put(new))

    def take(self, *items: Any) -> None:
        """Somebody deletes them, and that is seen."""
        for item in items:
            if isinstance(item, Secret):
                del self.secrets[key_of(item)]
                for store in (self.caches.sources, self.caches.copies):
                    StoreWriter(store).drop(key_of(item))
            else:
                stored = self._store(item).get(key_of(item))
                self._tell(item, StoreWriter(self._store(item)).remove(stored))

    def lose(self, *items: Any) -> None:
        """They are in no list any more, and nobody saw them go."""
        for item in items:
            self._tell(item, StoreWriter(self._store(item)).drop(key_of(item)))

    def _tell(self, item: Any, change: Change[Any] | None) -> None:
        handlers: dict[type, Callable[[Change[Any]], None]] = {
            FleetIdentity: self.causes.identity,
            ManagedCluster: self.causes.cluster,
            ManagedClusterSet: self.causes.cluster_set,
            ManagedClusterSetBinding: self.causes.binding,
        }
        if change is not None and type(item) in handlers:
            handlers[type(item)](change)

    def _store(self, item: Any) -> Store[Any]:
        stores: dict[type, Store[Any]] = {
            FleetIdentity: self.caches.identities,
            ManagedCluster: self.caches.clusters,
            ManagedClusterSet: self.caches.groups.sets,
            ManagedClusterSetBinding: self.caches.groups.bindings,
            ClusterProfile: self.caches.profiles,
        }
        return stores[type(item)]

    def _show(self, secret: Secret) -> None:
        """In the caches whose selector it fits."""
        labels = secret.metadata.labels or {}
        synced = names.LABEL_SYNCED_FROM in labels
        made = labels.get(names.LABEL_MANAGED) == "true"
        for store, fits in ((self.caches.copies, synced), (self.caches.sources, made and not synced)):
            writer = StoreWriter(store)
            writer.put(keep_secret(secret)) if fits else writer.drop(key_of(secret))

    async def read(self, namespace: str, name: str) -> Secret:
        place = self._begin("get", namespace, name)
        if place not in self.secrets:
            raise NotFound(place)
        return self.secrets[place]

    async def create(self, body: dict[str, Any]) -> str:
        metadata = body["metadata"]
        place = self._begin("create", metadata["namespace"], metadata["name"])
        if place in self.secrets:
            raise AlreadyExists(place)
        self.bodies.append(body)
        self.put(with_(msgspec.convert(body, Secret), uid=f"uid-{len(self.requests)}"))
        return str(self.version)

    async def rewrite(self, stored: ObjectMeta, body: dict[str, Any]) -> str:
        place = self._begin("patch", stored.namespace, stored.name)
        if place not in self.secrets:
            raise NotFound(place)
        found = self.secrets[place]
        if found.metadata.resource_version != body["metadata"]["resourceVersion"]:
            raise Conflict(place)
        assert not found.immutable
        self.bodies.append(body)
        self.put(msgspec.convert(merged(json.loads(msgspec.json.encode(found)), body), Secret))
        return str(self.version)

    async def delete(self, stored: ObjectMeta) -> None:
        place = self._begin("delete", stored.namespace, stored.name)
        found = self.secrets.get(place)
        if found is not None and found.metadata.uid == stored.uid and not self.stuck:
            self.take(found)

    async def has(self, key: Key) -> bool:
        return (self.real or self.caches).identities.get(key) is not None

    async def may_use(self, namespace: str, cluster: str) -> bool:
        return (self.real or self.caches).may_use(namespace, cluster)

    async def whole(self, stored: ObjectMeta) -> FleetIdentity | None:
        raise NotImplementedError

    async def patch_status(self, stored: ObjectMeta, changes: dict[str, Any]) -> str:
        key = f"{stored.namespace}/{stored.name}"
        found = self.caches.identities.get(key)
        if found is None:
            raise NotFound(key)
        self.notices.append((key, *(item.message for item in changes["conditions"])))
        self.put(replace(found, status=replace(found.status, conditions=changes["conditions"])))
        return str(self.version)

    async def publish(self, profile: ClusterProfile, providers: Any) -> str:
        raise NotImplementedError

    def _begin(self, verb: str, namespace: str, name: str) -> str:
        place = f"{namespace}/{name}"
        self.requests.append(f"{verb} {place}")
        if (error := self.errors.get(f"{verb} {place}")) is not None:
            raise error
        return place

    def wrote(self, copy: str, *, new: bool) -> None:
        self.told.append(("wrote", copy, new))

    def deleted(self, copy: str) -> None:
        self.told.append(("deleted", copy))

    def held(self, profile: ClusterProfile) -> None:
        self.told.append(("held", profile.metadata.namespace, profile.metadata.name))

    def holding(self, kind: str, count: int) -> None:
        self.holding_now[kind] = count

    def refused(self, identity: FleetIdentity, rejection: Rejection, *, repeated: bool) -> None:
        self.told.append(("refused", identity.metadata.name, rejection.reason.value, repeated))

    def published(self, profile: str, *, withdrawn: bool) -> None:
        raise NotImplementedError

    def said(self, place: str = PLACE) -> dict[str, str]:
        return self.secrets[place].data or {}


def merged(stored: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(stored) if isinstance(stored, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def test_the_scripted_hub_merges_as_rfc_7386_says() -> None:
    assert merged({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}}) == {"b": {"c": 4, "d": 3}}
