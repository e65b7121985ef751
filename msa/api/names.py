"""Names that are fixed by contract: users, OCM and other programs know them."""

import re
from typing import Final

GROUP: Final = "authentication.open-cluster-management.io"
STORAGE_VERSION: Final = "v1beta1"
KIND: Final = "ManagedServiceAccount"
PLURAL: Final = "managedserviceaccounts"

ADDON: Final = "managed-serviceaccount"
"""Name of the ManagedClusterAddOn, of the agent's heartbeat Lease and of its own ServiceAccount."""

AGENT_LEADER_LEASE: Final = "managed-serviceaccount-addon-agent"
"""Lease that replicas of the agent compete for, in the install namespace."""

AGENT_DEPLOYMENT: Final = "managed-serviceaccount-addon-agent"
AGENT_CONTAINER: Final = "addon-agent"
AGENT_ROLE: Final = "managed-serviceaccount-addon-agent"
"""The agent's Role and RoleBinding in its cluster's namespace on the hub."""

ANCHOR: Final = "managed-serviceaccount-identities"
"""ConfigMap in the install namespace that the identities' ServiceAccounts hang on, beside the agent's own ServiceAccount."""

AGENT_SERVICE_ACCOUNT: Final = "managed-serviceaccount"
HUB_KUBECONFIG_SECRET: Final = "managed-serviceaccount-hub-kubeconfig"  # noqa: S105 - a Secret's name
PULL_SECRET: Final = "open-cluster-management-image-pull-credentials"  # noqa: S105 - a Secret's name
DEPLOY_WORK: Final = f"addon-{ADDON}-deploy-0"
IDENTITIES_WORK: Final = f"addon-{ADDON}-identities"
"""ManifestWork that carries the ConfigMap `ANCHOR`, apart from all the rest that is deployed."""

MANAGER_LEADER_LEASE: Final = "managed-serviceaccount-addon-manager"
"""Lease that replicas of the manager compete for, in its namespace."""

HUB_NAMESPACE: Final = "open-cluster-management-addon"
IMAGE: Final = "quay.io/open-cluster-management/managed-serviceaccount"
TAG_PREFIX: Final = "msa-v"
"""Of the tags of our images: under the image's name the Go addon has published v0.1.0 and others."""

DEFAULT_INSTALL_NAMESPACE: Final = "open-cluster-management-agent-addon"

NAMESPACE_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
"""What may be the name of a namespace (RFC 1123 label); for `fullmatch`."""

LABEL_MANAGED: Final = f"{GROUP}/is-managed-serviceaccount"
"""With the value "true" on every ServiceAccount and Secret that the addon made."""

MANAGED_LABELS: Final = {LABEL_MANAGED: "true"}
"""Shared by all objects in the caches that have it: 10,000 copies of one label are megabytes."""

LABEL_SYNC_TO_PROFILE: Final = f"{GROUP}/sync-to-clusterprofile"
"""On a ManagedServiceAccount: copy its credential to the ClusterProfiles of its cluster."""

LABEL_SYNCED_FROM: Final = f"{GROUP}/synced-from"
"""On such a copy: `<cluster>-<name of the ManagedServiceAccount>`."""

LABEL_ORIGIN_NAMESPACE: Final = f"{GROUP}/origin-namespace"
"""On a ManagedServiceAccount that was fanned out: the namespace of the one, of the same name, that it was made for."""

LABEL_ORIGIN_UID: Final = f"{GROUP}/origin-uid"
ANNOTATION_ROLLED_OUT: Final = f"{GROUP}/rolled-out-at"
"""On the same: when its spec was last written, RFC 3339."""

ANNOTATION_ORIGIN_GENERATION: Final = f"{GROUP}/origin-generation"
"""On the same: the generation of the one that it was made for, which it says the same as."""

FAN_OUT_FINALIZER: Final = f"{GROUP}/fan-out"
"""Keeps a ManagedServiceAccount until those that were made for it are gone."""

ANNOTATION_OWNER_UID: Final = f"{GROUP}/managedserviceaccount-uid"
"""On a ServiceAccount: UID of the ManagedServiceAccount that it was made for; proves it ours when the label is lost."""

ANNOTATION_RELEASE: Final = f"{GROUP}/release-held-deletions"
"""On what holds back deletions since too many were inferred at once, the agent's Deployment or the origin of a fan-out: those that were
inferred up to this time, RFC 3339, are meant."""

ANNOTATION_EXPIRATION: Final = f"{GROUP}/expirationTimestamp"
ANNOTATION_LAST_REFRESH: Final = f"{GROUP}/lastRefreshTimestamp"
ANNOTATION_REQUESTED: Final = f"{GROUP}/requested"
"""On a Secret: what its token was asked for, as `policy.rotation.Request` renders it."""

FIELD_MANAGER: Final = "msa"
"""What API servers record as our field manager: they take it from the User-Agent."""

SECRET_KEY_TOKEN: Final = "token"  # noqa: S105 - the name of a data entry, not a password
SECRET_KEY_CA: Final = "ca.crt"  # noqa: S105 - the name of a data entry, not a password
SECRET_KEYS: Final = frozenset((SECRET_KEY_TOKEN, SECRET_KEY_CA))
