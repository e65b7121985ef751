"""The hub as the addon manager's ports show it, scripted: every write shows in the caches at once."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

import msgspec
from attrs import define, evolve, field, frozen
from msgspec import Raw
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import (
    DEPLOYMENT_CONFIGS,
    GROUP,
    V1BETA1,
    AddOnDeploymentConfig,
    AddonStatus,
    ClusterManagementAddOn,
    ConfigReference,
    ConfigReferent,
    DeploymentConfig,
    FleetStatus,
    ManagedClusterAddOn,
)
from msa.api.certificates import APPROVED, SigningRequest, SigningRequestStatus
from msa.api.cluster import ClusterSpec, ManagedCluster
from msa.api.core import Secret
from msa.api.meta import Condition, ObjectMeta, OwnerReference
from msa.api.rbac import RoleBinding
from msa.api.work import APPLIED, ManifestWork, Work
from msa.hub.addon import AddonReconciler, Caches, Deployment
from msa.hub.deletions import Deletions
from msa.hub.ingest import keep_config, keep_work
from msa.hub.ports import Kind
from msa.policy.doubts import Doubt
from msa.runtime.errors import AlreadyExists, ApiError, Conflict, Network
from msa.runtime.freshness import Freshness
from msa.runtime.ports import Reconcile
from msa.runtime.result import Key, Result
from msa.runtime.store import Change, Store, StoreWriter, key_of

T = TypeVar("T")
CLUSTER = Key("c1")
IMAGE = "quay.io/open-cluster-management/managed-serviceaccount:v1"
FLEET_OWNER = OwnerReference(
    "addon.open-cluster-management.io/v1alpha1", "ClusterManagementAddOn", names.ADDON, "fleet-uid"
)
_READ: dict[Kind, Callable[[bytes], Any]] = {
    Kind.ROLE_BINDING: msgspec.json.Decoder(RoleBinding).decode,
    Kind.WORK: lambda body: keep_work(msgspec.json.decode(body, type=ManifestWork)),
}
_NAMES = {
    Kind.ROLE_BINDING: names.AGENT_ROLE,
    Kind.WORK: names.DEPLOY_WORK,
}


@frozen
class Crash:
    """The manager is gone in the middle of a write.

    Attributes:
        at: number of that write.
        written: the hub has carried it out, and only the answer is lost.
    """

    at: int
    written: bool


@define
class Fleet:
    """One hub and its caches, as `hub.ports.Hub` and `hub.observers.Observer`.

    Attributes:
        held: the cluster's side holds its ManifestWork, by a finalizer, until it has removed the agent.
        crash: when the manager is killed, once.
        error: what every write fails with, while it is set.
        writes: what was written, in order.
        patches: the statuses that were sent.
        observed: what the observer was told.
        whole: ManagedClusterAddOns as they are on the hub, where the copy of them is cut; by cluster.
        reads: what was read whole.
    """

    now: Callable[[], datetime]
    held: bool = True
    crash: Crash | None = None
    error: ApiError | None = None
    writes: list[str] = field(factory=list)
    patches: list[dict[str, Any]] = field(factory=list)
    observed: list[tuple[str, ...]] = field(factory=list)
    whole: dict[str, ManagedClusterAddOn] = field(factory=dict)
    reads: list[str] = field(factory=list)
    version: int = 10
    clusters: Store[ManagedCluster] = field(factory=Store)
    addons: Store[ManagedClusterAddOn] = field(factory=Store)
    fleet: Store[ClusterManagementAddOn] = field(factory=Store)
    configs: Store[DeploymentConfig] = field(factory=Store)
    works: Store[Work] = field(factory=Store)
    identities_works: Store[Work] = field(factory=Store)
    bindings: Store[RoleBinding] = field(factory=Store)
    pull_secrets: Store[Secret] = field(factory=Store)
    requests: Store[SigningRequest] = field(factory=Store)
    deletions: Deletions = field(factory=Deletions)

    @property
    def caches(self) -> Caches:
        return Caches(
            self.clusters,
            self.addons,
            self.fleet,
            self.configs,
            self.works,
            self.identities_works,
            self.bindings,
            self.pull_secrets,
        )

    def put(self, *objects: Any) -> None:
        """Shows these in the caches, at a new version: somebody else's writes."""
        for item in objects:
            self.version += 1
            StoreWriter(self._store(item)).put(with_(item, resource_version=str(self.version)))

    def take(self, *objects: Any) -> None:
        """Takes these out, as somebody else's deletions."""
        for item in objects:
            change = StoreWriter(self._store(item)).drop(key_of(item))
            if change is not None:
                self._note(replace(change, missed=False))

    def miss(self, *objects: Any) -> None:
        """They are not in a full list any more."""
        for item in objects:
            change = StoreWriter(self._store(item)).drop(key_of(item))
            if change is not None:
                self._note(change)

    def _note(self, change: Change[Any]) -> None:
        handlers: dict[type, Callable[[Change[Any]], None]] = {
            ManagedCluster: self.deletions.cluster,
            ManagedClusterAddOn: self.deletions.addon,
            ClusterManagementAddOn: self.deletions.fleet_addon,
        }
        if (handler := handlers.get(type(change.latest))) is not None:
            handler(change)

    def get(self, kind: Kind, cluster: str = CLUSTER) -> Any:
        """What of ours is in the cluster's namespace; it must be there."""
        found = self._kept(kind).get(f"{cluster}/{_NAMES[kind]}")
        assert found is not None, f"there is no {kind.value}"
        return found

    def has(self, kind: Kind, cluster: str = CLUSTER) -> bool:
        return self._kept(kind).get(f"{cluster}/{_NAMES[kind]}") is not None

    def addon(self, cluster: str = CLUSTER) -> ManagedClusterAddOn:
        found = self.addons.get(f"{cluster}/{names.ADDON}")
        assert found is not None, "there is no addon"
        return found

    def conditions(self, cluster: str = CLUSTER) -> dict[str, Condition]:
        return {item.type: item for item in self.addon(cluster).status.conditions}

    def applied(self, status: str = "True", cluster: str = CLUSTER, **more: Any) -> None:
        """The cluster's side reports how it fared with the ManifestWork as it is now."""
        work: Work = self.get(Kind.WORK, cluster)
        said = Condition(APPLIED, status, "R", "", self.now(), work.metadata.generation)
        self.put(with_(work, conditions=(said,), **more))

    async def create(self, kind: Kind, body: dict[str, Any]) -> str:
        self._begin()
        namespace = body["metadata"]["namespace"]
        if self.has(kind, namespace):
            raise AlreadyExists(kind.value)
        self._store_body(kind, body, uid=f"{kind.value}-{len(self.writes)}", generation=1)
        return self._wrote(f"create {kind.value}")

    async def rewrite(self, kind: Kind, stored: ObjectMeta, body: dict[str, Any]) -> str:
        self._begin()
        _check(self.get(kind, stored.namespace), stored)
        metadata = body["metadata"]
        merged = {
            **metadata,
            "labels": {**(stored.labels or {}), **metadata["labels"]},
            "annotations": {**(stored.annotations or {}), **metadata.get("annotations", {})},
        }
        generation = stored.generation + 1
        self._store_body(kind, {**body, "metadata": merged}, uid=stored.uid, generation=generation)
        return self._wrote(f"rewrite {kind.value}")

    async def delete(self, kind: Kind, stored: ObjectMeta) -> bool:
        self._begin()
        found = self.get(kind, stored.namespace)
        assert found.metadata.uid == stored.uid
        if kind is Kind.WORK and self.held:
            self.put(with_(found, deletion_timestamp=self.now()))
        else:
            self.take(found)
        self._wrote(f"delete {kind.value}")
        return True

    async def whole_addon(self, addon: ManagedClusterAddOn) -> ManagedClusterAddOn | None:
        self.reads.append(addon.metadata.namespace)
        return self.whole.get(addon.metadata.namespace)

    async def patch_addon_status(self, addon: ManagedClusterAddOn, changes: dict[str, Any]) -> str:
        self._begin()
        stored = self.addon(addon.metadata.namespace)
        _check(stored, addon.metadata)
        self.patches.append(changes)
        self.put(replace(stored, status=_merged(stored.status, changes, AddonStatus)))
        return self._wrote("status")

    async def patch_fleet_status(self, fleet: ClusterManagementAddOn, changes: dict[str, Any]) -> str:
        self._begin()
        stored = self.fleet.get(names.ADDON)
        assert stored is not None
        _check(stored, fleet.metadata)
        self.patches.append(changes)
        self.put(replace(stored, status=_merged(stored.status, changes, FleetStatus)))
        return self._wrote("fleet status")

    async def approve(self, request: SigningRequest) -> None:
        self._begin()
        self.put(replace(request, status=SigningRequestStatus((Condition(APPROVED, "True"),))))
        self._wrote(f"approve {request.metadata.name}")

    def wrote(self, cluster: str, kind: Kind, *, new: bool) -> None:
        self.observed.append(("wrote", cluster, kind.value, "new" if new else "old"))

    def deleted(self, cluster: str, kind: Kind) -> None:
        self.observed.append(("deleted", cluster, kind.value))

    def withdrawn(self, cluster: str, why: str) -> None:
        self.observed.append(("withdrawn", cluster, why))

    def condition(self, addon: ManagedClusterAddOn, condition: Condition) -> None:
        cluster = addon.metadata.namespace
        self.observed.append(("condition", cluster, condition.type, condition.status, condition.reason))

    def approved(self, request: SigningRequest) -> None:
        self.observed.append(("approved", request.metadata.name))

    def doubted(self, request: SigningRequest, doubt: Doubt, *, logged: bool) -> None:
        self.observed.append(("doubted", request.metadata.name, doubt.reason))

    def _begin(self) -> None:
        if self.error is not None:
            raise self.error
        if self.crash == Crash(len(self.writes), written=False):
            self.crash = None
            raise Network("crashed before the write")

    def _wrote(self, what: str) -> str:
        self.writes.append(what)
        if self.crash == Crash(len(self.writes) - 1, written=True):
            self.crash = None
            raise Network("crashed after the write")
        return str(self.version)

    def _store_body(self, kind: Kind, body: dict[str, Any], **metadata: Any) -> None:
        """Through JSON, as the API server would give it back."""
        self.put(with_(_READ[kind](msgspec.json.encode(body)), **metadata))

    def _kept(self, kind: Kind) -> Store[Any]:
        stores: dict[Kind, Store[Any]] = {
            Kind.ROLE_BINDING: self.bindings,
            Kind.WORK: self.works,
        }
        return stores[kind]

    def _store(self, item: Any) -> Store[Any]:
        stores: dict[type, Store[Any]] = {
            ManagedCluster: self.clusters,
            ManagedClusterAddOn: self.addons,
            ClusterManagementAddOn: self.fleet,
            DeploymentConfig: self.configs,
            Work: self.works,
            RoleBinding: self.bindings,
            Secret: self.pull_secrets,
            SigningRequest: self.requests,
        }
        return stores[type(item)]


def _check(stored: Any, read: ObjectMeta) -> None:
    if stored.metadata.resource_version != read.resource_version:
        raise Conflict("it changed since it was read")


def _merged(stored: Any, changes: dict[str, Any], into: type[Any]) -> Any:
    """What a JSON merge patch makes of a status: lists are replaced whole."""
    sent = msgspec.json.decode(msgspec.json.encode(changes))
    return msgspec.convert({**msgspec.to_builtins(stored), **sent}, into)


def with_(item: T, **changes: Any) -> T:
    """The same object, but for this; metadata by its fields."""
    thing: Any = item
    ours = {name: value for name, value in changes.items() if hasattr(thing, name)}
    of_metadata = {name: value for name, value in changes.items() if name not in ours}
    ours["metadata"] = replace(thing.metadata, **of_metadata)
    changed: Any = replace(thing, **ours) if isinstance(thing, msgspec.Struct) else evolve(thing, **ours)
    return cast("T", changed)


def cluster(name: str = CLUSTER, **changes: Any) -> ManagedCluster:
    """One that the hub has accepted."""
    return with_(
        ManagedCluster(ObjectMeta(name=name, uid=f"{name}-uid"), ClusterSpec(hub_accepts_client=True)),
        **changes,
    )


def addon(name: str = CLUSTER, **changes: Any) -> ManagedClusterAddOn:
    """As OCM makes it on that cluster."""
    metadata = ObjectMeta(
        name=names.ADDON, namespace=name, uid=f"{name}-addon-uid", owner_references=(FLEET_OWNER,)
    )
    return with_(ManagedClusterAddOn(metadata), **changes)


def fleet_addon(**changes: Any) -> ClusterManagementAddOn:
    return with_(
        ClusterManagementAddOn(ObjectMeta(name=names.ADDON, uid="fleet-uid", generation=1)), **changes
    )


def config(name: str = "slim", *, generation: int = 1, **spec: Any) -> DeploymentConfig:
    """An AddOnDeploymentConfig of the namespace `hub`, its spec as it is on the wire."""
    metadata = ObjectMeta(name=name, namespace="hub", uid=f"{name}-uid", generation=generation)
    return keep_config(AddOnDeploymentConfig(metadata, Raw(msgspec.json.encode(spec))))


def reference(stored: DeploymentConfig, spec_hash: str | None = None) -> ConfigReference:
    """As OCM's rollout writes it, with the hash of that configuration unless another is given."""
    found = stored.spec_hash if spec_hash is None else spec_hash
    name, namespace = stored.metadata.name, stored.metadata.namespace
    return ConfigReference(GROUP, DEPLOYMENT_CONFIGS, desired_config=ConfigReferent(name, namespace, found))


def reconciler_of(
    fleet: Fleet, *, version: str = V1BETA1, image: str = IMAGE, **deployment: Any
) -> AddonReconciler:
    """That of a manager which has just been started."""
    return AddonReconciler(
        caches=fleet.caches,
        hub=fleet,
        deployment=Deployment(image, **deployment),
        version=version,
        freshness=Freshness(),
        observer=fleet,
        now=fleet.now,
        deletions=fleet.deletions,
    )


class Hub(Protocol):
    """What is written there, in order."""

    @property
    def writes(self) -> list[str]: ...


async def settle(fleet: Hub, reconcile: Reconcile, key: Key = CLUSTER) -> Result:
    """Looks as the events of its own writes would make it look, until a look writes nothing."""
    for _ in range(10):
        before = len(fleet.writes)
        result = await reconcile(key)
        if len(fleet.writes) == before:
            return result
    raise AssertionError(f"it does not come to rest: {fleet.writes}")


async def install(fleet: Fleet, **deployment: Any) -> None:
    """The agent runs on the cluster and nothing is left to do; what was written and told so far is forgotten."""
    reconcile = reconciler_of(fleet, **deployment)
    await settle(fleet, reconcile)
    fleet.applied()
    await settle(fleet, reconcile)
    fleet.writes.clear()
    fleet.patches.clear()
    fleet.observed.clear()
