"""The addon manager put together: settings -> client -> caches -> reconcilers -> tasks. The one place here that knows `kube`."""

import math
import socket
from functools import partial
from random import Random, SystemRandom
from typing import Any
from uuid import uuid4

import anyio
from attrs import field, frozen
from prometheus_client import CollectorRegistry

from msa.api import addon as addon_api
from msa.api import certificates, names, rbac, work
from msa.api import cluster as cluster_api
from msa.api.addon import AddOnDeploymentConfig, ClusterManagementAddOn, DeploymentConfig, ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.rbac import Role, RoleBinding, StoredRole, StoredRoleBinding
from msa.api.work import ManifestWork, Work
from msa.hub.addon import AddonReconciler, Caches, Deployment
from msa.hub.approval import SELECTOR, ApprovalReconciler
from msa.hub.config_hashes import ConfigHashReconciler
from msa.hub.discovery import addon_version
from msa.hub.ingest import keep_binding, keep_config, keep_role, keep_work
from msa.hub.ports import Kind
from msa.hub.settings import DeployMode, ManagerSettings
from msa.hub.telemetry import FleetCollector, Telemetry
from msa.hub.triggers import BY_CLUSTER, Triggers, cluster_of
from msa.hub.writes import HubWrites
from msa.kube import credentials
from msa.kube.discovery import served
from msa.kube.events import KubeEvents
from msa.kube.lease import KubeLease
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.errors import ApiError
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.leader import Fence, LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.queue import WorkQueue
from msa.runtime.recorder import EventRecorder
from msa.runtime.store import Store
from msa.runtime.supervisor import Addresses, StartError, Supervisor

_NAMED = f"metadata.name={names.ADDON}"


async def run(settings: ManagerSettings) -> None:
    """Runs one addon manager.

    Raises:
        StartError: it cannot start as it was told to.
        CredentialError: the hub cannot be spoken to.
    """
    metrics = Metrics(CollectorRegistry())
    fence = Fence()
    if not settings.leader_elect:
        fence.open_until(math.inf)  # a single replica may always write
    load = (
        partial(credentials.from_pod, "--kubeconfig")
        if settings.kubeconfig is None
        else partial(credentials.from_kubeconfig, settings.kubeconfig)
    )
    hub = Transport(load, metrics, fence.check)
    try:
        await hub.open()
        await _Manager(settings, metrics, hub, fence).run()
    finally:
        with anyio.CancelScope(shield=True):
            await hub.close()


@frozen
class _Informers:
    """What is read from the hub."""

    clusters: Informer[ManagedCluster]
    addons: Informer[ManagedClusterAddOn]
    fleet: Informer[ClusterManagementAddOn]
    configs: Informer[DeploymentConfig]
    works: Informer[Work]
    roles: Informer[Role]
    bindings: Informer[RoleBinding]
    requests: Informer[SigningRequest]
    pull_secrets: Informer[Secret] | None

    @property
    def all(self) -> tuple[Informer[Any], ...]:
        found = (
            *(self.clusters, self.addons, self.fleet, self.configs, self.works),
            *(self.roles, self.bindings, self.requests, self.pull_secrets),
        )
        return tuple(informer for informer in found if informer is not None)

    def subscribe(self, triggers: Triggers) -> None:
        self.clusters.subscribe(triggers.cluster)
        self.addons.subscribe(triggers.addon)
        self.fleet.subscribe(triggers.fleet_addon)
        self.configs.subscribe(triggers.config)
        self.works.subscribe(triggers.owned)
        self.roles.subscribe(triggers.owned)
        self.bindings.subscribe(triggers.owned)
        self.requests.subscribe(triggers.request)
        if self.pull_secrets is not None:
            self.pull_secrets.subscribe(triggers.pull_secret)

    @property
    def caches(self) -> Caches:
        return Caches(
            clusters=self.clusters.store,
            addons=self.addons.store,
            fleet=self.fleet.store,
            configs=self.configs.store,
            works=self.works.store,
            roles=self.roles.store,
            bindings=self.bindings.store,
            pull_secrets=self.pull_secrets.store if self.pull_secrets is not None else Store(),
        )


@frozen
class _Sources:
    """The resources that are read and written."""

    clusters: Resource[ManagedCluster]
    addons: Resource[ManagedClusterAddOn]
    fleet: Resource[ClusterManagementAddOn]
    configs: Resource[AddOnDeploymentConfig]
    works: Resource[ManifestWork]
    roles: Resource[StoredRole]
    bindings: Resource[StoredRoleBinding]
    requests: Resource[SigningRequest]
    pull_secrets: Resource[Secret]

    @classmethod
    def of(cls, settings: ManagerSettings, hub: Transport, version: str) -> "_Sources":
        ours = addon_api.GROUP
        role = f"metadata.name={names.AGENT_ROLE}"
        named_work = f"metadata.name={names.DEPLOY_WORK}"
        secret = f"metadata.name={settings.pull_secret}"
        return cls(
            clusters=Resource(hub, Selection(cluster_api.GROUP, "v1", "managedclusters"), ManagedCluster),
            addons=Resource(
                hub, Selection(ours, version, "managedclusteraddons", fields=_NAMED), ManagedClusterAddOn
            ),
            fleet=Resource(
                hub,
                Selection(ours, version, "clustermanagementaddons", fields=_NAMED),
                ClusterManagementAddOn,
            ),
            configs=Resource(
                hub, Selection(ours, addon_api.V1ALPHA1, addon_api.DEPLOYMENT_CONFIGS), AddOnDeploymentConfig
            ),
            works=Resource(
                hub, Selection(work.GROUP, "v1", "manifestworks", fields=named_work), ManifestWork
            ),
            roles=Resource(hub, Selection(rbac.GROUP, "v1", "roles", fields=role), StoredRole),
            bindings=Resource(
                hub, Selection(rbac.GROUP, "v1", "rolebindings", fields=role), StoredRoleBinding
            ),
            requests=Resource(
                hub,
                Selection(certificates.GROUP, "v1", "certificatesigningrequests", labels=SELECTOR),
                SigningRequest,
            ),
            pull_secrets=Resource(
                hub, Selection("", "v1", "secrets", settings.namespace, fields=secret), Secret
            ),
        )

    def informers(self, rng: Random, metrics: Metrics, *, with_pull_secret: bool) -> _Informers:
        return _Informers(
            clusters=Informer(self.clusters, rng, metrics),
            addons=Informer(self.addons, rng, metrics),
            fleet=Informer(self.fleet, rng, metrics),
            configs=Informer(self.configs, rng, metrics, transform=keep_config, optional=True),
            works=Informer(self.works, rng, metrics, transform=keep_work),
            roles=Informer(self.roles, rng, metrics, transform=keep_role),
            bindings=Informer(self.bindings, rng, metrics, transform=keep_binding),
            requests=Informer(self.requests, rng, metrics, indexes={BY_CLUSTER: cluster_of}),
            pull_secrets=Informer(self.pull_secrets, rng, metrics) if with_pull_secret else None,
        )


@frozen
class _Manager:
    """What all parts are made from."""

    settings: ManagerSettings
    metrics: Metrics
    hub: Transport
    fence: Fence
    rng: Random = field(factory=SystemRandom)

    async def run(self) -> None:
        """Runs until it is told to stop."""
        if self.settings.deploy_mode is DeployMode.ADD_ON_TEMPLATE:
            await self._supervisor((), (), None).run()
            return
        version = await self._version()
        sources = _Sources.of(self.settings, self.hub, version)
        informers = sources.informers(
            self.rng, self.metrics, with_pull_secret=bool(self.settings.pull_secret)
        )
        recorder = EventRecorder(
            KubeEvents(self.hub, "managed-serviceaccount-addon-manager", socket.gethostname()),
            wall_clock,
            self.metrics,
            busy=lambda: self.hub.under_way > 0,
        )
        telemetry = Telemetry(self.metrics, recorder, version)
        controllers = self._controllers(sources, informers, telemetry, version)
        self.metrics.registry.register(FleetCollector(informers.addons.store))
        await self._supervisor(informers.all, controllers, recorder).run()

    async def _version(self) -> str:
        """Of OCM's addon API. Raises StartError."""
        try:
            return await addon_version(partial(served, self.hub))
        except ApiError as error:
            raise StartError(
                f"the hub at {self.hub.credential.server} does not answer: {error.reason}: {error.message}"
            ) from None

    def _controllers(
        self, sources: _Sources, informers: _Informers, telemetry: Telemetry, version: str
    ) -> tuple[Controller, ...]:
        caches, settings = informers.caches, self.settings
        secret = f"{settings.namespace}/{settings.pull_secret}" if settings.pull_secret else ""
        writes = HubWrites(
            {Kind.ROLE: sources.roles, Kind.ROLE_BINDING: sources.bindings, Kind.WORK: sources.works},
            sources.addons,
            sources.fleet,
            sources.requests,
            wall_clock,
        )
        freshness = Freshness()
        addons, fleet, requests = (
            WorkQueue(name, Backoff(self.rng), self.metrics)
            for name in ("managedclusteraddon", "clustermanagementaddon", "certificatesigningrequest")
        )
        informers.subscribe(Triggers(caches, informers.requests.store, addons, fleet, requests))
        reconciler = AddonReconciler(
            caches,
            writes,
            Deployment(settings.agent_image, secret, ephemeral=settings.feature_gates.ephemeral_identity),
            version=version,
            freshness=freshness,
            observer=telemetry,
            now=wall_clock,
        )
        hashes = ConfigHashReconciler(caches.fleet, caches.configs, writes, freshness)
        approval = ApprovalReconciler(
            informers.requests.store, caches.clusters, caches.addons, writes, telemetry
        )
        return (
            Controller(
                addons,
                reconciler,
                workers=settings.workers,
                freshness=freshness,
                metrics=self.metrics,
                bind=lambda key: {"cluster": key},
            ),
            Controller(fleet, hashes, workers=1, freshness=freshness, metrics=self.metrics),
            Controller(requests, approval, workers=4, freshness=freshness, metrics=self.metrics),
        )

    def _supervisor(
        self,
        informers: tuple[Informer[Any], ...],
        controllers: tuple[Controller, ...],
        recorder: EventRecorder | None,
    ) -> Supervisor:
        settings = self.settings
        return Supervisor(
            metrics=self.metrics,
            addresses=Addresses(settings.metrics_address, settings.health_address),
            informers=informers,
            controllers=controllers,
            always={"reloading of the hub's credential": self.hub.run},
            leading={"sending of Events": recorder.run} if recorder is not None else {},
            checks=(recorder.problem,) if recorder is not None else (),
            elector=self._elector() if settings.leader_elect else None,
        )

    def _elector(self) -> LeaderElector:
        lease = names.MANAGER_LEADER_LEASE
        lock = KubeLease(self.hub, self.settings.namespace, lease, fenced=False)
        identity = f"{socket.gethostname()}_{uuid4().hex}"
        return LeaderElector(
            lock, identity, self.fence, name=lease, now=wall_clock, rng=self.rng, metrics=self.metrics
        )
