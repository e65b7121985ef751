"""ClusterProfile, multicluster.x-k8s.io/v1alpha1, as it comes over the wire and as what is kept of it; and what is kept of Secrets for it."""

from typing import Final

from attrs import frozen
from msgspec import Raw, Struct

from msa.api.meta import ObjectMeta

GROUP: Final = "multicluster.x-k8s.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ClusterProfile"
PLURAL: Final = "clusterprofiles"

LABEL_MANAGER: Final = "x-k8s.io/cluster-manager"
MANAGER: Final = "open-cluster-management"
"""Value of that label on OCM's profiles, and name of the access provider that leads to `cp-creds`."""

EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"
"""What a client hands on to its credential plugin as `spec.cluster.config`."""


class FieldsOf(Struct, frozen=True, gc=False, rename={"fields": "fieldsV1"}):
    """Which fields a field manager was the last to write."""

    manager: str = ""
    fields: Raw = Raw(b"{}")


class OwnedMeta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    """With the managedFields, which are read and never kept."""

    managed_fields: tuple[FieldsOf, ...] = ()


class StoredStatus(Struct, frozen=True, gc=False, rename="camel"):
    """Not read yet: whoever publishes access writes it.

    Attributes:
        credential_providers: the older name of `access_providers`.
    """

    access_providers: Raw = Raw(b"[]")
    credential_providers: Raw = Raw(b"[]")


class StoredClusterProfile(Struct, frozen=True, gc=False, rename="camel"):
    metadata: OwnedMeta
    status: StoredStatus = StoredStatus()


@frozen
class Access:
    """Who says how the cluster is reached.

    Attributes:
        names: of all providers, under both of their names.
        publishers: field managers that wrote them.
        digest: of `accessProviders`, as `policy.profiles.providers_digest` makes it; "" where there are none.
    """

    names: tuple[str, ...] = ()
    publishers: frozenset[str] = frozenset()
    digest: str = ""


@frozen
class ClusterProfile:
    """What is kept of one. Its name is its cluster's."""

    metadata: ObjectMeta
    access: Access = Access()


@frozen
class SecretFacts:
    """What is kept of a Secret with a credential, the agent's or a copy: facts about its content, never the content.

    Attributes:
        keys: the names of its data entries.
        digest: SHA-256, hexadecimal, of token and `ca.crt`; "" where one of them is missing.
    """

    metadata: ObjectMeta
    type: str
    immutable: bool
    keys: frozenset[str]
    digest: str
