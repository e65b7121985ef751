"""The resources that OCM's parts meet, and its names for things."""

from typing import Final

from hack.ocm.api import Body, Kind

ADDON_GROUP: Final = "addon.open-cluster-management.io"
ADDON_MANAGER: Final = "system:serviceaccount:open-cluster-management-hub:addon-manager-controller-sa"
"""Who OCM's own addon manager is on the hub."""

CLUSTERS: Final = Kind("cluster.open-cluster-management.io", "v1", "managedclusters")
TEMPLATES: Final = Kind(ADDON_GROUP, "v1alpha1", "addontemplates")
CONFIGS: Final = Kind(ADDON_GROUP, "v1alpha1", "addondeploymentconfigs")
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


def is_template(reference: Body) -> bool:
    """Whether a reference to a configuration means an AddOnTemplate, and its hash is known."""
    known = bool(reference.get("desiredConfig", {}).get("specHash"))
    return known and (reference.get("group"), reference["resource"]) == TEMPLATES.resource
