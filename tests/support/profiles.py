"""ClusterProfiles, identities and their copies, as tests want them."""

from typing import Any

import msgspec
from attrs import evolve

from msa.api import names
from msa.api.cluster import ClientConfig, ClusterSpec, ManagedCluster
from msa.api.clusterprofile import Access, ClusterProfile
from msa.api.core import Secret
from msa.api.fleet_identity import FleetIdentity
from msa.api.meta import ObjectMeta, OwnerReference
from msa.hub.profile_bodies import new_copy
from msa.policy.profiles import providers_digest
from tests.support.fleet import cluster, with_

TOKEN = "dG9rZW4x"
SYNC = names.LABEL_SYNC_TO_PROFILE


def identity(name: str = "argocd", where: str = "c1", **changes: Any) -> FleetIdentity:
    """One whose copies are asked for."""
    metadata = ObjectMeta(name=name, namespace=where, uid=f"{where}-{name}-uid", labels={SYNC: "true"})
    return with_(FleetIdentity(metadata), **changes)


def source(of: FleetIdentity, token: str = TOKEN, **changes: Any) -> Secret:
    """The Secret that the agent has written for it."""
    metadata = ObjectMeta(
        name=of.metadata.name,
        namespace=of.metadata.namespace,
        uid="source-uid",
        resource_version="7",
        labels=names.MANAGED_LABELS,
        annotations={names.ANNOTATION_EXPIRATION: "2026-01-02T00:00:00Z", names.ANNOTATION_REQUESTED: "r"},
        owner_references=(OwnerReference("g/v1", names.KIND, of.metadata.name, of.metadata.uid),),
    )
    return with_(Secret(metadata, data={"token": token, "ca.crt": "Y2E="}), **changes)


def profile(namespace: str = "argo", of: str = "c1", **changes: Any) -> ClusterProfile:
    """As OCM makes it."""
    marks = {
        "x-k8s.io/cluster-manager": "open-cluster-management",
        "open-cluster-management.io/cluster-name": of,
    }
    metadata = ObjectMeta(
        name=of, namespace=namespace, uid=f"{namespace}-{of}-uid", resource_version="5", labels=marks
    )
    return with_(ClusterProfile(metadata), **changes)


def copy_of(of: Secret, beside: ClusterProfile, **changes: Any) -> Secret:
    """As we make it, and the API server gives it back."""
    name = f"{of.metadata.namespace}-{of.metadata.name}"
    made = msgspec.convert(new_copy(beside, name, of), Secret)
    return with_(made, **{"uid": f"{beside.metadata.namespace}-copy-uid", "resource_version": "9", **changes})


IDENTITY = identity()
SOURCE = source(IDENTITY)
PROFILE = profile()
COPY = copy_of(SOURCE, PROFILE)


SERVER, CA = "https://c1.example.com:6443", "Q0E="


def reached(*configs: ClientConfig) -> ManagedCluster:
    """A cluster with these addresses."""
    return with_(cluster(), spec=ClusterSpec(hub_accepts_client=True, managed_cluster_client_configs=configs))


REACHED = reached(ClientConfig(SERVER, CA), ClientConfig("https://other"))
WANTED = [
    {
        "name": "open-cluster-management",
        "cluster": {
            "server": SERVER,
            "certificate-authority-data": CA,
            "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"clusterName": "c1"}}],
        },
    }
]
OURS = Access(("open-cluster-management",), frozenset(("msa",)), providers_digest(WANTED))


def shown(access: Access, **changes: Any) -> ClusterProfile:
    return evolve(profile(**changes), access=access)
