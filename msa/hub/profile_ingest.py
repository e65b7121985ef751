"""Turns ClusterProfiles and the Secrets that are copied for them into what is kept of them. Of a token that is a digest, never the token."""

import hashlib
from functools import lru_cache
from itertools import islice
from sys import intern
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from msa.api import names
from msa.api.addon import LABEL_CLUSTER
from msa.api.clusterprofile import (
    LABEL_MANAGER,
    Access,
    ClusterProfile,
    OwnedMeta,
    SecretFacts,
    StoredClusterProfile,
)
from msa.api.core import Secret
from msa.api.meta import ObjectMeta, OwnerReference
from msa.hub import bounds
from msa.policy.profiles import MARKS, providers_digest

_LONGEST_MARK = 64
_MOST_KEYS = 64
_MOST_OWNERS = 16
_LARGEST_PROVIDERS = 64 * 1024
"""In bytes: what is larger was not written by us, and is not read."""

_UNREADABLE = Access(names=("",))
_PROVIDER_FIELDS = (b'"f:accessProviders"', b'"f:credentialProviders"')


class _Named(Struct, frozen=True):
    name: str = ""


def keep_secret(secret: Secret) -> SecretFacts:
    """The facts of a Secret; garbage is a fact too, never an error.

    What tenants may write is kept within bounds: of more data entries the others show once these are gone.
    """
    data = secret.data or {}
    return SecretFacts(
        metadata=_slim(secret.metadata, (names.LABEL_MANAGED, names.LABEL_SYNCED_FROM), MARKS),
        type=intern(secret.type[:_LONGEST_MARK]),
        immutable=secret.immutable,
        keys=_shared_keys(frozenset(sorted(data)[:_MOST_KEYS])),
        digest=_digest(data),
    )


def keep_profile(stored: StoredClusterProfile) -> ClusterProfile:
    """What is kept of a profile; providers of a shape that we do not know are somebody else's."""
    metadata = replace(
        _slim(stored.metadata, (LABEL_MANAGER, LABEL_CLUSTER), (names.ANNOTATION_RELEASE,)),
        owner_references=(),
    )
    return ClusterProfile(metadata, _access(stored))


def _digest(data: dict[str, str]) -> str:
    """Of the base64 text: that is what is copied."""
    token, ca = data.get(names.SECRET_KEY_TOKEN), data.get(names.SECRET_KEY_CA)
    return hashlib.sha256(f"{token}\n{ca}".encode()).hexdigest() if token and ca else ""


def _access(stored: StoredClusterProfile) -> Access:
    status = stored.status
    if (
        max(bounds.size(status.access_providers), bounds.size(status.credential_providers))
        > _LARGEST_PROVIDERS
    ):
        return _UNREADABLE
    try:
        found = [
            item.name
            for providers in (status.access_providers, status.credential_providers)
            for item in _decode(providers, tuple[_Named, ...])
        ]
        digest = providers_digest(_decode(status.access_providers, list[Any]))
    except bounds.UNREADABLE:
        return _UNREADABLE
    told = tuple(name[:_LONGEST_MARK] for name in found[:_MOST_KEYS])
    return Access(told, _shared_keys(_publishers(stored.metadata)), digest)


def _publishers(metadata: OwnedMeta) -> frozenset[str]:
    """More than one are already too many to count as ours."""
    wrote = (
        entry.manager[:_LONGEST_MARK]
        for entry in metadata.managed_fields
        if any(field in bytes(entry.fields) for field in _PROVIDER_FIELDS)
    )
    return frozenset(islice(wrote, _MOST_KEYS))


def _decode(raw: Raw, into: Any) -> Any:
    return msgspec.json.decode(raw, type=into | None) or ()


def _slim(metadata: ObjectMeta, labels: tuple[str, ...], annotations: tuple[str, ...]) -> ObjectMeta:
    return ObjectMeta(
        name=intern(metadata.name),
        namespace=intern(metadata.namespace),
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        deletion_timestamp=metadata.deletion_timestamp,
        labels=_only(metadata.labels, labels),
        annotations=_only(metadata.annotations, annotations),
        owner_references=tuple(_slim_owner(owner) for owner in metadata.owner_references[:_MOST_OWNERS]),
    )


def _only(marks: dict[str, str] | None, wanted: tuple[str, ...]) -> dict[str, str] | None:
    """Those of these names, cut, None where that is none of them."""
    if not marks:
        return None
    return {name: intern(marks[name][:_LONGEST_MARK]) for name in wanted if name in marks} or None


def _slim_owner(owner: OwnerReference) -> OwnerReference:
    return OwnerReference(
        api_version=intern(owner.api_version),
        kind=intern(owner.kind),
        name=intern(owner.name),
        uid=intern(owner.uid),
        controller=owner.controller,
    )


@lru_cache(maxsize=256)
def _shared_keys(keys: frozenset[str]) -> frozenset[str]:
    return keys
