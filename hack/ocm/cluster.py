"""OCM on a managed cluster, put together: registration agent, work agent, and a kubelet's part for the addon's pods."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import anyio
from attrs import field, frozen

from hack.ocm import kinds
from hack.ocm.api import Api, Object
from hack.ocm.conditions import condition, merged
from hack.ocm.health import LeaseHealth
from hack.ocm.install import served_version
from hack.ocm.loops import Loops
from hack.ocm.manifests import Manifests
from hack.ocm.pods import PodRunner, PodSettings
from hack.ocm.registration import RegistrationAgent, RegistrationSettings
from hack.ocm.work import WorkAgent
from msa.api import names
from msa.runtime.queue import WorkQueue
from msa.runtime.result import Key
from msa.runtime.store import Change, Store


@frozen
class ClusterSettings:
    """One managed cluster.

    Attributes:
        managed_kubeconfig: its administrator's.
        folder: of its processes' state.
        patience: how old the renewal of an addon's Lease may be.
        run_pods: whether the addon's pods are run here.
    """

    registration: RegistrationSettings
    managed_kubeconfig: Path
    folder: Path
    patience: timedelta
    run_pods: bool = True

    @property
    def name(self) -> str:
        return self.registration.cluster


async def run(settings: ClusterSettings, hub: Api, managed: Api) -> None:
    """Runs for ever; on the way out the pods are stopped."""
    parts = _Parts(settings, hub, managed, await served_version(hub))
    parts.register()
    parts.apply_works()
    runner = parts.run_pods() if settings.run_pods else None
    await _join(hub, settings.name)
    try:
        await parts.loops.run()
    finally:
        if runner is not None:
            with anyio.CancelScope(shield=True):
                await runner.stop_all()


@frozen
class _Parts:
    """What the parts are made from."""

    settings: ClusterSettings
    hub: Api
    managed: Api
    version: str
    loops: Loops = field(factory=Loops)

    def register(self) -> None:
        settings, key = self.settings, Key(names.ADDON)
        selected = kinds.addons(self.version).selected(settings.name, name=names.ADDON)
        addons = self.loops.follow(self.hub, selected)
        secrets = self.loops.follow(self.managed, kinds.SECRETS.selected(name=names.HUB_KUBECONFIG_SECRET))
        leases = self.loops.follow(self.managed, kinds.LEASES.selected(name=names.ADDON))
        agent = RegistrationAgent(
            settings.registration, self.version, self.hub, self.managed, addons.store, secrets.store
        )
        health = LeaseHealth(
            settings.name, self.version, self.hub, addons.store, leases.store, settings.patience
        )
        registrations = self.loops.control(self.hub, "registration", agent, 1)
        availability = self.loops.control(self.hub, "health", health, 1)
        addons.subscribe(lambda _change: registrations.add(key))
        addons.subscribe(lambda _change: availability.add(key))
        secrets.subscribe(lambda _change: registrations.add(key))
        leases.subscribe(lambda _change: availability.add(key))

    def apply_works(self) -> None:
        """A work is looked at when it changes, and all are when a Deployment does: their status is what is asked for."""
        works = self.loops.follow(self.hub, kinds.WORKS.selected(self.settings.name))
        deployments = self.loops.follow(self.managed, kinds.DEPLOYMENTS.selected(name=names.AGENT_DEPLOYMENT))
        agent = WorkAgent(self.hub, self.managed, works.store, Manifests(self.managed))
        queue = self.loops.control(self.hub, "work", agent, 2)
        works.subscribe(lambda change: queue.add(change.key))
        deployments.subscribe(_adds_all(works.store, queue))

    def run_pods(self) -> PodRunner:
        settings = PodSettings(self.settings.name, self.settings.folder, self.settings.managed_kubeconfig)
        pods = self.loops.follow(self.managed, kinds.PODS.selected(labels=f"addon-agent={names.ADDON}"))
        secrets = self.loops.follow(self.managed, kinds.SECRETS.selected(name=names.HUB_KUBECONFIG_SECRET))
        runner = PodRunner(settings, self.managed, pods.store)
        queue = self.loops.control(self.managed, "pod", runner)
        pods.subscribe(lambda change: queue.add(change.key))
        secrets.subscribe(_adds_all(pods.store, queue))
        return runner


def _adds_all(store: Store[Object], queue: WorkQueue) -> Callable[[Change[Object]], None]:
    def add(_change: Change[Object]) -> None:
        for key in store.keys():  # noqa: SIM118 - a Store is no dict
            queue.add(key)

    return add


async def _join(hub: Api, cluster: str) -> None:
    """Says on the hub that the cluster is there."""
    path = kinds.CLUSTERS.at("", cluster)
    stored = await hub.get(path)
    if stored is None:
        return
    said = [
        condition(
            "HubAcceptedManagedCluster", "True", "HubClusterAdminAccepted", "Accepted by hub cluster admin"
        ),
        condition("ManagedClusterJoined", "True", "ManagedClusterJoined", "Managed cluster joined"),
        condition(
            "ManagedClusterConditionAvailable",
            "True",
            "ManagedClusterAvailable",
            "Managed cluster is available",
        ),
    ]
    conditions = merged(stored.get("status", {}).get("conditions", []), said)
    await hub.patch_status(path, stored["metadata"]["resourceVersion"], {"conditions": conditions})
