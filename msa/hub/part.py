"""Parts of the manager: reconcilers for one purpose each, and what they are all made from."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from msa.api import addon as addon_api
from msa.api import names, work
from msa.api.addon import ManagedClusterAddOn, StoredClusterAddOn
from msa.api.cluster import ManagedCluster
from msa.api.fleet_identity import FleetIdentity, StoredFleetIdentity
from msa.api.work import ManifestWork, Work
from msa.kube import credentials
from msa.kube.credentials import Credential
from msa.kube.resources import Resource, Selection
from msa.kube.transport import Transport
from msa.runtime.controller import Controller
from msa.runtime.informer import Informer
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder


@frozen
class Common:
    """What parts have in common.

    Attributes:
        rng: for jitter.
        metrics: where they count.
        recorder: of their Events.
        addons: ours, on each cluster.
        identities_works: the ManifestWorks that carry what identities hang on.
        stored: where ManagedServiceAccounts are written.
    """

    hub: Transport
    rng: Random
    metrics: Metrics
    recorder: EventRecorder
    clusters: Informer[ManagedCluster]
    addons: Informer[ManagedClusterAddOn]
    identities: Informer[FleetIdentity]
    identities_works: Informer[Work]
    stored: Resource[StoredFleetIdentity]


def hub_credential(kubeconfig: Path | None) -> Callable[[], Awaitable[Credential]]:
    """How the hub is reached; None means from inside the pod."""
    if kubeconfig is None:
        return partial(credentials.from_pod, "--kubeconfig")
    return partial(credentials.from_kubeconfig, kubeconfig)


def identities(hub: Transport) -> Resource[StoredFleetIdentity]:
    """The ManagedServiceAccounts of all namespaces."""
    return Resource(hub, Selection(names.GROUP, names.STORAGE_VERSION, names.PLURAL), StoredFleetIdentity)


def addons(hub: Transport, version: str) -> Resource[StoredClusterAddOn]:
    """Our addon on each cluster, in this version of OCM's API."""
    named = f"metadata.name={names.ADDON}"
    return Resource(
        hub, Selection(addon_api.GROUP, version, "managedclusteraddons", fields=named), StoredClusterAddOn
    )


def identities_works(hub: Transport) -> Resource[ManifestWork]:
    """The one on each cluster that carries what its identities hang on."""
    named = f"metadata.name={names.IDENTITIES_WORK}"
    return Resource(hub, Selection(work.GROUP, "v1", "manifestworks", fields=named), ManifestWork)


@frozen
class Part:
    """What the supervisor runs of one.

    Attributes:
        informers: of its own; those in common are not among them.
    """

    informers: tuple[Informer[Any], ...]
    controllers: tuple[Controller, ...]
