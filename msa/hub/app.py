"""The addon manager put together: settings -> client -> caches -> parts -> tasks. With its parts' roots the only place that knows `kube`."""

import math
import socket
from collections.abc import Sequence
from functools import partial
from random import Random, SystemRandom

import anyio
import structlog
from attrs import field, frozen

import msa
from msa.api import cluster as cluster_api
from msa.api import names
from msa.api.cluster import ManagedCluster
from msa.hub import addon_app, fanout_app, identities_work_app, profiles_app, readiness_app
from msa.hub.discovery import addon_version
from msa.hub.fanout_caches import IDENTITY_INDEXES
from msa.hub.ingest import keep_addon, keep_cluster, keep_identity, keep_work
from msa.hub.part import Common, Part, addons, hub_credential, identities, identities_works
from msa.hub.settings import DeployMode, ManagerSettings
from msa.kube.candidate import candidate
from msa.kube.discovery import served
from msa.kube.events import KubeEvents
from msa.kube.lease import KubeLease
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.runtime.errors import ApiError
from msa.runtime.informer import Informer
from msa.runtime.leader import Fence, LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder
from msa.runtime.registry import Registry
from msa.runtime.starting import first_answer, starting
from msa.runtime.supervisor import Addresses, StartError, Supervisor

_log = structlog.get_logger(__name__)


async def run(settings: ManagerSettings) -> None:
    """Runs one addon manager.

    Raises:
        StartError: it cannot start as it was told to.
        CredentialError: the hub cannot be spoken to.
    """
    metrics = Metrics(Registry())
    fence = Fence()
    if not settings.leader_elect:
        fence.open_until(math.inf)  # a single replica may always write
    hub = Transport(hub_credential(settings.kubeconfig), metrics, fence.check)
    try:
        async with starting(Addresses(settings.metrics_address, settings.health_address)) as start:
            await hub.open()
            _log.info(
                "starting",
                version=msa.__version__,
                commit=msa.__commit__,
                hub=hub.credential.server,
                namespace=settings.namespace,
                deploy_mode=settings.deploy_mode.value,
                feature_gates=settings.feature_gates.on,
            )
            version = await _version(hub)
        if not start.cancel_called:
            await _Manager(settings, metrics, hub, fence, version).run()
    finally:
        with anyio.CancelScope(shield=True):
            await hub.close()


@frozen
class _Manager:
    """What all parts are made from."""

    settings: ManagerSettings
    metrics: Metrics
    hub: Transport
    fence: Fence
    version: str
    rng: Random = field(factory=SystemRandom)

    async def run(self) -> None:
        """Runs until it is told to stop."""
        recorder = EventRecorder(
            KubeEvents(self.hub, "managed-serviceaccount-addon-manager", socket.gethostname()),
            wall_clock,
            self.metrics,
            busy=lambda: self.hub.under_way > 0,
        )
        common = self._common(recorder)
        gates, groups = self.settings.feature_gates, fanout_app.SetInformers.of(common)
        parts = [
            fanout_app.part(common, groups, gates),
            readiness_app.part(common),
            identities_work_app.part(common),
        ]
        if gates.cluster_profile:
            publish = self.settings.publish_access_providers
            parts.append(profiles_app.part(common, groups, publish=publish))
        if self.settings.deploy_mode is DeployMode.DEPLOYMENT:
            parts.append(addon_app.part(common, self.settings, version=self.version))
        await self._supervisor(common, parts).run()

    def _common(self, recorder: EventRecorder) -> Common:
        clusters = Selection(cluster_api.GROUP, "v1", "managedclusters")
        stored = identities(self.hub)
        return Common(
            self.hub,
            self.rng,
            self.metrics,
            recorder,
            clusters=Informer(
                Resource(self.hub, clusters, ManagedCluster), self.rng, self.metrics, transform=keep_cluster
            ),
            addons=Informer(addons(self.hub, self.version), self.rng, self.metrics, transform=keep_addon),
            identities=Informer(
                stored, self.rng, self.metrics, transform=keep_identity, indexes=IDENTITY_INDEXES
            ),
            identities_works=Informer(
                identities_works(self.hub), self.rng, self.metrics, transform=keep_work
            ),
            stored=stored,
        )

    def _supervisor(self, common: Common, parts: Sequence[Part]) -> Supervisor:
        settings = self.settings
        informers = (informer for part in parts for informer in part.informers)
        return Supervisor(
            metrics=self.metrics,
            addresses=Addresses(settings.metrics_address, settings.health_address),
            informers=(
                common.clusters,
                common.addons,
                common.identities,
                common.identities_works,
                *informers,
            ),
            controllers=tuple(controller for part in parts for controller in part.controllers),
            always={"reloading of the hub's credential": self.hub.run},
            leading={"sending of Events": common.recorder.run},
            checks=(common.recorder.problem,),
            servers=(self.hub.connectivity,),
            elector=self._elector() if settings.leader_elect else None,
        )

    def _elector(self) -> LeaderElector:
        lease = names.MANAGER_LEADER_LEASE
        lock = KubeLease(self.hub, self.settings.namespace, lease, fenced=False)
        return LeaderElector(
            lock, candidate(lease), self.fence, name=lease, now=wall_clock, rng=self.rng, metrics=self.metrics
        )


async def _version(hub: Transport) -> str:
    """Of OCM's addon API. Raises StartError."""
    server = hub.credential.server
    try:
        return await first_answer(partial(addon_version, partial(served, hub)), server)
    except ApiError as error:
        raise StartError(
            f"the hub at {server} refuses the manager: {error.reason}: {error.message}"
        ) from None
