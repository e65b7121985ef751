"""The agent put together: settings -> clients -> caches -> reconciler -> tasks. The one place here that knows `kube`."""

import math
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from random import Random, SystemRandom
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import structlog
from attrs import frozen

import msa
from msa.agent.anchor import Anchor, ConfigMap
from msa.agent.cluster import ManagedCluster
from msa.agent.failures import Side
from msa.agent.ingest import CredentialIngest, slim_account, slim_identity
from msa.agent.reconciler import Caches, TokenReconciler
from msa.agent.recovery import Recovery
from msa.agent.release import Release
from msa.agent.settings import AgentSettings
from msa.agent.sweep import TokenSweep
from msa.agent.telemetry import CacheCollector, Telemetry
from msa.agent.writes import HubWrites, ManagedWrites, TokenReviews
from msa.api import names
from msa.api.core import Credential, Secret, ServiceAccount, StoredServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, StoredIdentity
from msa.kube import credentials
from msa.kube.candidate import candidate
from msa.kube.events import KubeEvents
from msa.kube.lease import KubeLease
from msa.kube.resources import Resource, Selection
from msa.kube.skew import wall_clock
from msa.kube.transport import Transport
from msa.runtime.backoff import Backoff
from msa.runtime.controller import Controller
from msa.runtime.errors import ApiError
from msa.runtime.freshness import Freshness
from msa.runtime.heartbeat import Heartbeat
from msa.runtime.informer import Informer
from msa.runtime.leader import Fence, LeaderElector
from msa.runtime.metrics import Metrics
from msa.runtime.queue import Lane, WorkQueue
from msa.runtime.recorder import EventRecorder
from msa.runtime.registry import Registry
from msa.runtime.result import Key
from msa.runtime.starting import first_answer, starting
from msa.runtime.store import Change
from msa.runtime.supervisor import Addresses, StartError, Supervisor, Task

_log = structlog.get_logger(__name__)


async def run(settings: AgentSettings) -> None:
    """Runs one agent.

    Raises:
        StartError: it cannot start as it was told to.
        CredentialError: one of the two clusters cannot be spoken to.
    """
    metrics = Metrics(Registry())
    fence = Fence()
    if not settings.leader_elect:
        fence.open_until(math.inf)  # a single replica may always write
    hub_credential = partial(
        credentials.from_kubeconfig, settings.hub_kubeconfig, also_trusted=settings.proxy_ca
    )
    hub = Transport(hub_credential, metrics, fence.check)
    managed = Transport(_spoke_credential(settings), metrics, fence.check)
    try:
        async with starting(Addresses(settings.metrics_address, settings.health_address)) as start:
            await hub.open()
            await managed.open()
        if start.cancel_called:
            return
        _log.info(
            "starting",
            version=msa.__version__,
            commit=msa.__commit__,
            cluster=settings.cluster_name,
            hub=hub.credential.server,
            managed_cluster=managed.credential.server,
            namespace=settings.install_namespace,
            feature_gates=settings.feature_gates.on,
        )
        await _Agent.build(settings, metrics, hub, managed, fence).run()
    finally:
        with anyio.CancelScope(shield=True):
            await hub.close()
            await managed.close()


def _spoke_credential(settings: AgentSettings) -> Callable[[], Awaitable[credentials.Credential]]:
    if settings.spoke_kubeconfig is None:
        return partial(credentials.from_pod, "--spoke-kubeconfig")
    return partial(credentials.from_kubeconfig, settings.spoke_kubeconfig)


@frozen
class _Sources:
    """The resources that are read and written."""

    identities: Resource[StoredIdentity]
    secrets: Resource[Secret]
    accounts: Resource[StoredServiceAccount]
    reviews: Resource[ServiceAccount]
    anchors: Resource[ConfigMap]
    deployments: Resource[ConfigMap]

    @classmethod
    def of(cls, settings: AgentSettings, hub: Transport, managed: Transport) -> "_Sources":
        labels, there = f"{names.LABEL_MANAGED}=true", settings.cluster_name
        identities = Selection(names.GROUP, names.STORAGE_VERSION, names.PLURAL, there)
        # All of them: one that lost our label is still ours, and what has an identity's name and is not ours is seen at once.
        accounts = Selection("", "v1", "serviceaccounts", settings.install_namespace)
        deployments = Selection("apps", "v1", "deployments", settings.install_namespace)
        anchor = f"metadata.name={names.ANCHOR}"
        anchors = Selection("", "v1", "configmaps", settings.install_namespace, fields=anchor)
        return cls(
            identities=Resource(hub, identities, StoredIdentity),
            secrets=Resource(hub, Selection("", "v1", "secrets", there, labels=labels), Secret),
            accounts=Resource(managed, accounts, StoredServiceAccount),
            reviews=Resource(
                managed, Selection("authentication.k8s.io", "v1", "tokenreviews"), ServiceAccount
            ),
            anchors=Resource(managed, anchors, ConfigMap),
            deployments=Resource(managed, deployments, ConfigMap),
        )


def _managed_cluster(
    settings: AgentSettings, managed: Transport, interruptions: Callable[[], int]
) -> ManagedCluster:
    return ManagedCluster(
        settings.install_namespace,
        partial(managed.send, "GET", "/openid/v1/jwks", accept="application/jwk-set+json"),
        ca=lambda: managed.credential.ca,
        now=wall_clock,
        skew=lambda: managed.clock_skew,
        interruptions=interruptions,
    )


def _elector(
    settings: AgentSettings, managed: Transport, fence: Fence, metrics: Metrics, anchor: Anchor
) -> LeaderElector | None:
    """None where a single replica needs no lead."""
    if not settings.leader_elect:
        return None
    lock = KubeLease(
        managed,
        settings.install_namespace,
        names.AGENT_LEADER_LEASE,
        owners=lambda: anchor.owners,
        fenced=False,
    )
    return LeaderElector(
        lock,
        candidate(names.AGENT_LEADER_LEASE),
        fence,
        name=names.AGENT_LEADER_LEASE,
        now=wall_clock,
        rng=SystemRandom(),
        metrics=metrics,
    )


@frozen
class _Agent:
    """All parts, before anything runs."""

    settings: AgentSettings
    metrics: Metrics
    hub: Transport
    managed: Transport
    cluster: ManagedCluster
    identities: Informer[ManagedServiceAccount]
    secrets: Informer[Credential]
    accounts: Informer[ServiceAccount]
    anchors: Informer[ConfigMap]
    queue: WorkQueue
    controller: Controller
    reconciler: TokenReconciler
    recorder: EventRecorder
    elector: LeaderElector | None
    sweep: TokenSweep

    @classmethod
    def build(
        cls, settings: AgentSettings, metrics: Metrics, hub: Transport, managed: Transport, fence: Fence
    ) -> "_Agent":
        rng: Random = SystemRandom()
        sources = _Sources.of(settings, hub, managed)
        cluster = _managed_cluster(settings, managed, lambda: accounts.interruptions)
        ingest = CredentialIngest(lambda: cluster.keys)
        identities = Informer[ManagedServiceAccount](
            sources.identities, rng, metrics, transform=slim_identity
        )
        secrets = Informer[Credential](sources.secrets, rng, metrics, transform=ingest)
        accounts = Informer[ServiceAccount](sources.accounts, rng, metrics, transform=slim_account)
        # Optional: an agent that was deployed by hand may have neither the object nor the right to look for it.
        anchors = Informer[ConfigMap](sources.anchors, rng, metrics, optional=True)
        anchor = Anchor(anchors.store, accounts.store, settings.install_namespace)
        caches = Caches(identities.store, secrets.store, accounts.store)
        events = KubeEvents(hub, "managed-serviceaccount-agent", socket.gethostname())
        recorder = EventRecorder(
            events, wall_clock, metrics, busy=lambda: hub.under_way + managed.under_way > 0
        )
        reconciler = TokenReconciler(
            namespace=settings.cluster_name,
            caches=caches,
            hub=HubWrites(sources.identities, sources.secrets, ingest),
            managed=ManagedWrites(sources.accounts, sources.deployments, anchor),
            cluster=cluster,
            anchor=anchor,
            ingest=ingest,
            freshness=Freshness(),
            observer=Telemetry(metrics, recorder, settings.cluster_name),
            now=wall_clock,
            hub_now=hub.server_time,
            rng=rng,
            ephemeral=settings.feature_gates.ephemeral_identity,
            hub_replaced=lambda: identities.replaced,
        )
        queue = WorkQueue("managedserviceaccount", Backoff(rng), metrics)
        collector = CacheCollector(
            caches,
            lambda: {"hub": hub.clock_skew, "managed": managed.clock_skew},
            held=lambda: len(reconciler.retirement.held),
        )
        metrics.registry.register(collector)
        return cls(
            settings=settings,
            metrics=metrics,
            hub=hub,
            managed=managed,
            cluster=cluster,
            identities=identities,
            secrets=secrets,
            accounts=accounts,
            anchors=anchors,
            queue=queue,
            controller=Controller(
                queue,
                reconciler,
                workers=settings.workers,
                freshness=reconciler.freshness,
                metrics=metrics,
                bind=lambda key: {
                    "cluster": settings.cluster_name,
                    "namespace": settings.cluster_name,
                    "name": key,
                },
            ),
            reconciler=reconciler,
            recorder=recorder,
            elector=_elector(settings, managed, fence, metrics, anchor),
            sweep=TokenSweep(cluster, caches, TokenReviews(sources.secrets, sources.reviews), queue.add),
        )

    async def run(self) -> None:
        """Runs until it is told to stop."""
        self.identities.subscribe(self._note_absence)
        for informer in self._informers():
            informer.subscribe(self._enqueue)
        self.accounts.subscribe(self._follow_own_account)
        self.anchors.subscribe(self._enqueue_all)
        self.cluster.on_change = self._enqueue_all
        # Events, the heartbeat and the sweep write, so they begin with the lead, as the workers do.
        leading: dict[str, Task] = {
            "sending of Events": self.recorder.run,
            "review of tokens": self.sweep.run,
            "watching for servers that are back": self._recovery().run,
            "watching for a release of held deletions": self._release().run,
        }
        if self.settings.lease_health_check:
            leading["heartbeat"] = self._heartbeat().run
        await Supervisor(
            metrics=self.metrics,
            addresses=Addresses(self.settings.metrics_address, self.settings.health_address),
            informers=(*self._informers(), self.anchors),
            controllers=(self.controller,),
            always={
                "reloading of the hub's credential": self.hub.run,
                "reloading of the managed cluster's credential": self.managed.run,
                "watching over the managed cluster's keys": self.cluster.run,
            },
            leading=leading,
            elector=self.elector,
            servers=(self.hub.connectivity, self.managed.connectivity),
            checks=(self.recorder.problem,),
            prepare=self._prepare,
        ).run()

    async def _prepare(self) -> None:
        await self._check_managed_cluster()
        await self.cluster.refresh()  # before the Secrets come: their signatures are checked as they are read

    def _informers(
        self,
    ) -> tuple[Informer[ManagedServiceAccount], Informer[Credential], Informer[ServiceAccount]]:
        return (self.identities, self.secrets, self.accounts)

    def _enqueue(
        self, change: Change[ManagedServiceAccount] | Change[Credential] | Change[ServiceAccount]
    ) -> None:
        self.queue.add(Key(change.latest.metadata.name), Lane.INITIAL if change.initial else Lane.LIVE)

    def _note_absence(self, change: Change[ManagedServiceAccount]) -> None:
        self.reconciler.absences.changed(Key(change.latest.metadata.name), change)

    def _follow_own_account(self, change: Change[ServiceAccount]) -> None:
        """The identities' accounts hang on it."""
        if change.latest.metadata.name == names.AGENT_SERVICE_ACCOUNT:
            self._enqueue_all()

    def _enqueue_all(self, *_: object) -> None:
        for identity in self.identities.store.values():
            self.queue.add(Key(identity.metadata.name), Lane.INITIAL)

    async def _check_managed_cluster(self) -> None:
        try:
            ask = partial(self.managed.send, "GET", "/api/v1")
            resources = await first_answer(ask, self.managed.credential.server)
        except ApiError as error:
            raise StartError(
                f"the managed cluster at {self.managed.credential.server} refuses the agent: {error.reason}: {error.message}"
            ) from None
        if b'"serviceaccounts/token"' not in resources:
            raise StartError(
                "the managed cluster does not serve serviceaccounts/token: Kubernetes 1.22 or later is needed there"
            )

    def _heartbeat(self) -> Heartbeat:
        anchor = self.reconciler.anchor
        lock = KubeLease(
            self.managed, self.settings.install_namespace, names.ADDON, owners=lambda: anchor.owners
        )
        return Heartbeat(lock, socket.gethostname(), self._trouble, wall_clock)

    def _recovery(self) -> Recovery:
        on_hub = (self.identities, self.secrets)
        return Recovery(
            {Side.HUB: lambda: _trouble(on_hub), Side.MANAGED: lambda: _trouble((self.accounts,))},
            self._recovered,
        )

    def _release(self) -> Release:
        retirement = self.reconciler.retirement
        return Release(self.reconciler.managed, retirement, wall_clock, self.queue.add)

    def _recovered(self, side: Side) -> None:
        for key in self.reconciler.recovered(side):
            self.queue.add(key)

    def _trouble(self) -> str | None:
        """Why the hub must not believe that this agent does its work."""
        if self.reconciler.anchor.lifted:
            return "the addon is being removed"  # and the Lease with it: it must not come back
        return _trouble(self._informers())


def _trouble(informers: Iterable[Informer[Any]]) -> str | None:
    """Why these caches may be behind; None while they are not."""
    now = anyio.current_time()
    found = (informer.trouble() or informer.problem(now) for informer in informers)
    return next((trouble for trouble in found if trouble is not None), None)
