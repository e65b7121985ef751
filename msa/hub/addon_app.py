"""The addon on every cluster put together: caches -> reconcilers -> queues."""

from typing import Any

from attrs import frozen

from msa.api import addon as addon_api
from msa.api import certificates, names, rbac, work
from msa.api.addon import (
    AddOnDeploymentConfig,
    ClusterManagementAddOn,
    DeploymentConfig,
    ManagedClusterAddOn,
    StoredClusterAddOn,
)
from msa.api.certificates import SigningRequest
from msa.api.cluster import ManagedCluster
from msa.api.core import Secret
from msa.api.rbac import RoleBinding, StoredRoleBinding
from msa.api.work import ManifestWork, Work
from msa.hub.addon import AddonReconciler, Caches, Deployment
from msa.hub.approval import SELECTOR, ApprovalReconciler
from msa.hub.config_hashes import ConfigHashReconciler
from msa.hub.deletions import Deletions
from msa.hub.ingest import keep_binding, keep_config, keep_fleet, keep_work
from msa.hub.objects import Objects
from msa.hub.part import Common, Part, addons
from msa.hub.ports import Kind
from msa.hub.request_texts import RequestTexts
from msa.hub.settings import ManagerSettings
from msa.hub.telemetry import FleetCollector, Telemetry
from msa.hub.triggers import BY_CLUSTER, Triggers, cluster_of
from msa.hub.writes import HubWrites
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.freshness import Freshness
from msa.runtime.informer import Informer
from msa.runtime.queue import WorkQueue
from msa.runtime.store import Store

_NAMED = f"metadata.name={names.ADDON}"


def part(common: Common, settings: ManagerSettings, *, version: str) -> Part:
    """The addon.

    Args:
        common: what all parts are made from.
        settings: how agents are deployed.
        version: of OCM's addon API that the hub serves.
    """
    sources, metrics = _Sources.of(settings, common.hub, version), common.metrics
    texts = RequestTexts()
    informers = sources.informers(common, texts, with_pull_secret=bool(settings.pull_secret))
    metrics.registry.register(FleetCollector(informers.addons.store))
    telemetry, freshness = Telemetry(metrics, common.recorder, version), Freshness()
    clusters, fleet, requests = (
        WorkQueue(name, Backoff(common.rng), metrics)
        for name in ("managedclusteraddon", "clustermanagementaddon", "certificatesigningrequest")
    )
    caches, writes = informers.caches, sources.writes()
    deletions = Deletions()
    informers.note(deletions)
    informers.requests.subscribe(texts.changed)
    informers.subscribe(Triggers(caches, informers.requests.store, texts.text, clusters, fleet, requests))
    reconciler = AddonReconciler(
        caches,
        writes,
        _deployment(settings),
        version=version,
        freshness=freshness,
        observer=telemetry,
        now=wall_clock,
        deletions=deletions,
    )
    hashes = ConfigHashReconciler(caches.fleet, caches.configs, writes, freshness)
    approval = ApprovalReconciler(
        informers.requests.store, caches.clusters, caches.addons, writes, telemetry, texts.text, wall_clock()
    )
    controllers = (
        Controller(
            clusters,
            reconciler,
            workers=settings.workers,
            freshness=freshness,
            metrics=metrics,
            bind=lambda key: {"cluster": key},
        ),
        Controller(fleet, hashes, workers=1, freshness=freshness, metrics=metrics),
        Controller(requests, approval, workers=4, freshness=freshness, metrics=metrics),
    )
    return Part(informers.own, controllers)


def _deployment(settings: ManagerSettings) -> Deployment:
    secret = f"{settings.namespace}/{settings.pull_secret}" if settings.pull_secret else ""
    return Deployment(settings.agent_image, secret, ephemeral=settings.feature_gates.ephemeral_identity)


@frozen
class _Informers:
    """What is read from the hub."""

    clusters: Informer[ManagedCluster]
    addons: Informer[ManagedClusterAddOn]
    fleet: Informer[ClusterManagementAddOn]
    configs: Informer[DeploymentConfig]
    works: Informer[Work]
    identities_works: Informer[Work]
    bindings: Informer[RoleBinding]
    requests: Informer[SigningRequest]
    pull_secrets: Informer[Secret] | None

    @property
    def own(self) -> tuple[Informer[Any], ...]:
        """Those that are not shared with others."""
        found = (
            *(self.fleet, self.configs, self.works),
            *(self.bindings, self.requests, self.pull_secrets),
        )
        return tuple(informer for informer in found if informer is not None)

    def note(self, deletions: Deletions) -> None:
        """Told first: reconcilers that other handlers bring ask it."""
        self.clusters.subscribe(deletions.cluster)
        self.addons.subscribe(deletions.addon)
        self.fleet.subscribe(deletions.fleet_addon)

    def subscribe(self, triggers: Triggers) -> None:
        self.clusters.subscribe(triggers.cluster)
        self.addons.subscribe(triggers.addon)
        self.fleet.subscribe(triggers.fleet_addon)
        self.configs.subscribe(triggers.config)
        self.works.subscribe(triggers.work)
        self.identities_works.subscribe(triggers.identities_work)
        self.bindings.subscribe(triggers.binding)
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
            identities_works=self.identities_works.store,
            bindings=self.bindings.store,
            pull_secrets=self.pull_secrets.store if self.pull_secrets is not None else Store(),
        )


@frozen
class _Sources:
    """The resources that are read and written."""

    addons: Resource[StoredClusterAddOn]
    fleet: Resource[ClusterManagementAddOn]
    configs: Resource[AddOnDeploymentConfig]
    works: Resource[ManifestWork]
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
            addons=addons(hub, version),
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

    def writes(self) -> HubWrites:
        kinds: dict[Kind, Objects] = {
            Kind.ROLE_BINDING: self.bindings,
            Kind.WORK: self.works,
        }
        return HubWrites(kinds, self.addons, self.fleet, self.requests, self.addons.within, wall_clock)

    def informers(self, common: Common, texts: RequestTexts, *, with_pull_secret: bool) -> _Informers:
        rng, metrics = common.rng, common.metrics
        return _Informers(
            clusters=common.clusters,
            addons=common.addons,
            fleet=Informer(self.fleet, rng, metrics, transform=keep_fleet),
            configs=Informer(self.configs, rng, metrics, transform=keep_config, optional=True),
            works=Informer(self.works, rng, metrics, transform=keep_work),
            identities_works=common.identities_works,
            bindings=Informer(self.bindings, rng, metrics, transform=keep_binding),
            requests=Informer(
                self.requests, rng, metrics, transform=texts.keep, indexes={BY_CLUSTER: cluster_of}
            ),
            pull_secrets=Informer(self.pull_secrets, rng, metrics) if with_pull_secret else None,
        )
