"""The resources that OCM's parts meet, and its names for things."""

from typing import Final

from hack.ocm.api import Kind

ADDON_GROUP: Final = "addon.open-cluster-management.io"

CLUSTERS: Final = Kind("cluster.open-cluster-management.io", "v1", "managedclusters")
WORKS: Final = Kind("work.open-cluster-management.io", "v1", "manifestworks")
APPLIED_WORKS: Final = Kind("work.open-cluster-management.io", "v1", "appliedmanifestworks")
NAMESPACES: Final = Kind("", "v1", "namespaces")
SECRETS: Final = Kind("", "v1", "secrets")
CONFIG_MAPS: Final = Kind("", "v1", "configmaps")
SERVICE_ACCOUNTS: Final = Kind("", "v1", "serviceaccounts")
PODS: Final = Kind("", "v1", "pods")
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments")
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases")
SIGNING_REQUESTS: Final = Kind("certificates.k8s.io", "v1", "certificatesigningrequests")
CLUSTER_ROLES: Final = Kind("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS: Final = Kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
ROLES: Final = Kind("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS: Final = Kind("rbac.authorization.k8s.io", "v1", "rolebindings")

CLUSTER_FINALIZER: Final = "cluster.open-cluster-management.io/api-resource-cleanup"
WORK_FINALIZER: Final = "cluster.open-cluster-management.io/manifest-work-cleanup"
LABEL_CLUSTER: Final = "open-cluster-management.io/cluster-name"
LABEL_ADDON: Final = "open-cluster-management.io/addon-name"


def addons(version: str) -> Kind:
    return Kind(ADDON_GROUP, version, "managedclusteraddons")


def fleet_addons(version: str) -> Kind:
    return Kind(ADDON_GROUP, version, "clustermanagementaddons")
