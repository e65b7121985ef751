"""Turns objects from the wire into what is kept of them. Of a Secret that is facts about its content: the token is let go at once."""

import hashlib
from base64 import b64decode
from collections.abc import Callable
from sys import intern

from msgspec.structs import replace

from msa.agent.keyset import KeySet
from msa.agent.ports import SecretContent
from msa.api import names
from msa.api.core import Credential, Secret, ServiceAccount
from msa.api.jwt import Malformed, parse
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import Condition, ObjectMeta, OwnerReference
from msa.api.token import TokenFacts
from msa.policy.ownership import is_labelled

_OUR_ANNOTATIONS = (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH, names.ANNOTATION_REQUESTED)


class CredentialIngest:
    """Reads Secrets.

    Args:
        keys: the managed cluster's keys at this moment; None while they are not known.
    """

    def __init__(self, keys: Callable[[], KeySet | None]) -> None:
        self._keys = keys

    def __call__(self, secret: Secret) -> Credential:
        """The facts; garbage is a fact too, never an error."""
        data = secret.data or {}
        token = data.get(names.SECRET_KEY_TOKEN)
        ca = data.get(names.SECRET_KEY_CA)
        stored = secret.metadata
        metadata = replace(
            stored,
            namespace=intern(stored.namespace),
            labels=_labels(stored),
            annotations=_only(stored.annotations, _OUR_ANNOTATIONS),
            owner_references=tuple(OwnerReference(uid=owner.uid) for owner in stored.owner_references),
        )
        return Credential(
            metadata=metadata,
            type=intern(secret.type),
            immutable=secret.immutable,
            keys=_interned(data),
            token=None if token is None else self.facts(_plain(token)),
            ca_digest="" if ca is None else intern(digest(_plain(ca))),
        )

    def facts(self, token: bytes) -> TokenFacts:
        """What is kept of one token."""
        try:
            jwt = parse(token)
        except Malformed as error:
            return TokenFacts(malformed=str(error))
        keys = self._keys()
        return TokenFacts(
            key_id=intern(jwt.key_id),
            claims=jwt.claims,
            signed_by=intern(keys.signer(jwt)) if keys is not None else "",
        )


def written(
    identity: ManagedServiceAccount, content: SecretContent, facts: TokenFacts, version: str
) -> Credential:
    """What the Secret holds after our write, as the cache will show it."""
    return Credential(
        metadata=ObjectMeta(
            name=identity.metadata.name,
            namespace=identity.metadata.namespace,
            resource_version=version,
            labels=names.MANAGED_LABELS,
            annotations=dict(content.annotations),
            owner_references=(
                OwnerReference(kind=names.KIND, name=identity.metadata.name, uid=identity.metadata.uid),
            ),
        ),
        type="Opaque",
        immutable=False,
        keys=names.SECRET_KEYS,
        token=facts,
        ca_digest=digest(content.ca),
    )


def slim_account(account: ServiceAccount) -> ServiceAccount:
    """What is kept of a ServiceAccount: who it is, and that it is ours. Adoption reads the whole object anew."""
    metadata = account.metadata
    return ServiceAccount(
        ObjectMeta(
            name=metadata.name,
            namespace=intern(metadata.namespace),
            uid=metadata.uid,
            resource_version=metadata.resource_version,
            labels=_labels(metadata),
        )
    )


def slim_identity(identity: ManagedServiceAccount) -> ManagedServiceAccount:
    """The same, with the texts that all identities share held once, and users' labels and annotations let go."""
    metadata = replace(
        identity.metadata, namespace=intern(identity.metadata.namespace), labels=None, annotations=None
    )
    conditions = tuple(_slim_condition(condition) for condition in identity.status.conditions)
    status = replace(identity.status, conditions=conditions, audiences=_shared(identity.status.audiences))
    return replace(identity, metadata=metadata, status=status)


def _slim_condition(condition: Condition) -> Condition:
    texts = {name: intern(getattr(condition, name)) for name in ("type", "status", "reason")}
    return replace(condition, **texts)


def _shared(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(intern, texts))


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _interned(data: dict[str, str]) -> frozenset[str]:
    """Nearly all Secrets have the same two keys: one set serves them all. A stranger's keys are not remembered."""
    keys = frozenset(data)
    return names.SECRET_KEYS if keys == names.SECRET_KEYS else keys


def _labels(metadata: ObjectMeta) -> dict[str, str] | None:
    return names.MANAGED_LABELS if is_labelled(metadata) else None


def _plain(text: str) -> bytes:
    """The content of a data entry; the API server stores nothing but base64, so anything else counts as empty."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _only(marks: dict[str, str] | None, wanted: tuple[str, ...]) -> dict[str, str] | None:
    return {name: marks[name] for name in wanted if name in marks} if marks else None
