"""The addon's orderly end put together: settings -> client -> caches -> `hub.leave`."""

from functools import partial
from random import SystemRandom
from typing import Any

import anyio
import anyio.abc
from attrs import frozen

from msa.api import addon as addon_api
from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.hub.discovery import addon_version
from msa.hub.ingest import keep_addon, keep_identity
from msa.hub.leave import Leave, Say
from msa.hub.objects import Objects, Written, delete
from msa.hub.part import addons, hub_credential, identities
from msa.hub.settings import LeaveSettings
from msa.kube.discovery import served
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.errors import NotFound
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.registry import Registry
from msa.runtime.starting import first_answer, starting
from msa.runtime.supervisor import Addresses

_HOOK = "helm.sh/hook"


async def run(settings: LeaveSettings, say: Say) -> None:
    """Takes the addon off the hub in order; returns after the settings' time at the latest.

    Raises:
        ApiError: the hub refuses to say what it serves.
        CredentialError: the hub cannot be spoken to.
        StartError: the hub is not one of Open Cluster Management.
    """
    metrics = Metrics(Registry())
    hub = Transport(hub_credential(settings.kubeconfig), metrics)
    try:
        async with starting(Addresses("", "")):
            await hub.open()
            await _leave(settings, hub, metrics, say)
    finally:
        with anyio.CancelScope(shield=True):
            await hub.close()


async def _leave(settings: LeaveSettings, hub: Transport, metrics: Metrics, say: Say) -> None:
    end, version, server = anyio.current_time() + settings.timeout.total_seconds(), "", hub.credential.server
    with anyio.move_on_at(end):
        version = await first_answer(partial(addon_version, partial(served, hub)), server)
    if not version:
        say(f"gave up: no answer from the hub at {server}")
        return
    rng = SystemRandom()
    on_clusters = addons(hub, version)
    seen_addons = Informer(on_clusters, rng, metrics, transform=keep_addon)
    seen_identities = Informer(identities(hub), rng, metrics, transform=keep_identity)
    async with anyio.create_task_group() as tasks:
        leases, fleet = _leases(hub, settings.namespace), _fleet(hub, version)
        leaving = _Hub(server, leases, fleet, on_clusters, (seen_addons, seen_identities), tasks)
        await Leave(leaving, seen_addons.store, seen_identities.store, say)(end - anyio.current_time())
        tasks.cancel_scope.cancel()


def _leases(hub: Transport, namespace: str) -> Objects:
    return Resource(hub, Selection("coordination.k8s.io", "v1", "leases", namespace), Written)


def _fleet(hub: Transport, version: str) -> Objects:
    return Resource(hub, Selection(addon_api.GROUP, version, "clustermanagementaddons"), Written)


@frozen
class _Hub:
    """`hub.leave.LeavingHub` over the hub's API server.

    Attributes:
        server: its address, for the log.
        leases: in the manager's namespace.
        fleet: ClusterManagementAddOns.
        addons: ManagedClusterAddOns.
        tasks: where the informers run.
    """

    server: str
    leases: Objects
    fleet: Objects
    addons: Objects
    informers: tuple[Informer[Any], ...]
    tasks: anyio.abc.TaskGroup

    async def has_applied_hooks(self) -> bool:
        try:
            lease = await first_answer(
                partial(self.leases.get, names.MANAGER_LEADER_LEASE, into=Written), self.server
            )
        except NotFound:
            return False
        return bool(lease.metadata.annotation(_HOOK))

    async def follow(self) -> None:
        for informer in self.informers:
            self.tasks.start_soon(informer.run)
        for informer in self.informers:
            await informer.wait_synced()

    async def delete_addon(self) -> bool:
        try:
            stored = await self.fleet.get(names.ADDON, into=Written)
        except NotFound:
            return False
        return await delete(self.fleet, stored.metadata)

    async def delete_from_cluster(self, addon: ManagedClusterAddOn) -> None:
        await delete(self.addons, addon.metadata)
