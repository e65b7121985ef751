"""Turns objects from the wire into what is kept of them. Of a Secret that is facts about its content: the token is let go at once.

An agent may hold 10,000 identities, and one text (a name, a UID, an issuer) stands in several of an identity's objects or in all
identities: equal texts and times are kept once.
"""

import hashlib
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from sys import intern

import msgspec
from attrs import evolve
from msgspec.structs import replace

from msa.agent.keyset import KeySet
from msa.agent.ports import SecretContent
from msa.api import names
from msa.api.core import Credential, Marks, Secret, ServiceAccount, StoredServiceAccount
from msa.api.durations import parse_rfc3339
from msa.api.jwt import Malformed, parse
from msa.api.managedserviceaccount import (
    ManagedServiceAccount,
    Rotation,
    ServiceAccountRef,
    Status,
    StoredIdentity,
    TokenSecretRef,
)
from msa.api.meta import Condition, ObjectMeta, OwnerReference
from msa.api.token import Claims, TokenFacts
from msa.policy.ownership import MARKS, appliers, is_labelled

_COPY_LABELS = {**names.MANAGED_LABELS, names.LABEL_SYNCED_FROM: ""}
"""Shared by all copies for ClusterProfiles; whose they are does not matter here."""

_LATELY = 128
_LONGEST_MARK = 64
"""A UID has 36 characters; of other marks it matters that they are there."""

_STATUS = msgspec.json.Decoder(Status)


class CredentialIngest:
    """Reads Secrets.

    Args:
        keys: the managed cluster's keys at this moment; None while they are not known.
    """

    def __init__(self, keys: Callable[[], KeySet | None]) -> None:
        self._keys = keys
        self._lately: OrderedDict[bytes, TokenFacts] = OrderedDict()

    def __call__(self, secret: Secret) -> Credential:
        """The facts; garbage is a fact too, never an error."""
        data = secret.data or {}
        token = data.get(names.SECRET_KEY_TOKEN)
        ca = data.get(names.SECRET_KEY_CA)
        facts = None if token is None else self.facts(_plain(token))
        return Credential(
            metadata=_identity_of(secret.metadata),
            owners=tuple(intern(owner.uid) for owner in secret.metadata.owner_references),
            marks=_marks(secret.metadata, facts),
            type=intern(secret.type),
            immutable=secret.immutable,
            keys=_shared_keys(frozenset(data)),
            token=facts,
            ca_digest="" if ca is None else intern(digest(_plain(ca))),
        )

    def facts(self, token: bytes) -> TokenFacts:
        """What is kept of one token. A signature found good is not checked again when the watch shows the token that we just wrote."""
        fingerprint = hashlib.sha256(token).digest()
        if (known := self._lately.pop(fingerprint, None)) is not None:
            return known
        facts = self._read(token)
        if facts.signed_by:
            self._lately[fingerprint] = facts
            if len(self._lately) > _LATELY:
                self._lately.popitem(last=False)
        return facts

    def _read(self, token: bytes) -> TokenFacts:
        try:
            jwt = parse(token)
        except Malformed as error:
            return TokenFacts(malformed=str(error))
        keys = self._keys()
        return TokenFacts(
            key_id=intern(jwt.key_id),
            claims=_slim_claims(jwt.claims),
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
        ),
        owners=(identity.metadata.uid,),
        marks=content.marks,
        type="Opaque",
        immutable=False,
        keys=names.SECRET_KEYS,
        token=facts,
        ca_digest=digest(content.ca),
    )


def slim_account(account: StoredServiceAccount) -> ServiceAccount:
    """What is kept of a ServiceAccount: who it is, what it hangs on, and what proves it ours or somebody else's."""
    stored = account.metadata
    kept = _identity_of(stored)
    annotations = (names.ANNOTATION_OWNER_UID, *MARKS)
    return ServiceAccount(
        replace(
            kept,
            deletion_timestamp=stored.deletion_timestamp,
            finalizers=stored.finalizers if stored.deletion_timestamp is not None else (),
            labels=_with_marks(kept.labels, stored.labels, MARKS),
            # The label proves it ours: 10,000 copies of what would prove it besides are megabytes.
            annotations=_with_marks(None, stored.annotations, MARKS if kept.labels else annotations),
            owner_references=_shared_owners(stored.owner_references),
        ),
        tuple(intern(manager[:_LONGEST_MARK]) for manager in appliers(stored.managed_fields)),
    )


def _with_marks(
    kept: dict[str, str] | None, stored: dict[str, str] | None, wanted: Iterable[str]
) -> dict[str, str] | None:
    found = {key: stored[key][:_LONGEST_MARK] for key in wanted if key in stored} if stored else None
    return {**(kept or {}), **found} if found else kept


def slim_identity(identity: StoredIdentity) -> ManagedServiceAccount:
    """The same without users' labels and annotations. A status that cannot be read counts as empty, and so is written anew."""
    stored, spec = identity.metadata, identity.spec
    metadata = replace(
        stored,
        name=intern(stored.name),
        namespace=intern(stored.namespace),
        uid=intern(stored.uid),
        labels=None,
        annotations=None,
        owner_references=(),
    )
    asked = replace(
        spec, rotation=_shared_rotation(spec.rotation.validity), audiences=_shared_texts(spec.audiences)
    )
    try:
        status = _STATUS.decode(identity.status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        status = Status()
    return ManagedServiceAccount(metadata, asked, _slim_status(status))


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _identity_of(metadata: ObjectMeta) -> ObjectMeta:
    """Which object it is, at which version, and whether it has our label, and that of a copy besides."""
    return ObjectMeta(
        name=intern(metadata.name),
        namespace=intern(metadata.namespace),
        uid=intern(metadata.uid),
        resource_version=metadata.resource_version,
        labels=_labels_of(metadata),
    )


def _labels_of(metadata: ObjectMeta) -> dict[str, str] | None:
    if not is_labelled(metadata):
        return None
    return _COPY_LABELS if names.LABEL_SYNCED_FROM in (metadata.labels or {}) else names.MANAGED_LABELS


def _marks(metadata: ObjectMeta, facts: TokenFacts | None) -> Marks:
    claims = facts.claims if facts is not None else None
    expires = parse_rfc3339(metadata.annotation(names.ANNOTATION_EXPIRATION))
    return Marks(
        intern(metadata.annotation(names.ANNOTATION_REQUESTED)),
        claims.expires_at if claims is not None and claims.expires_at == expires else expires,
        parse_rfc3339(metadata.annotation(names.ANNOTATION_LAST_REFRESH)),
    )


def _slim_claims(claims: Claims) -> Claims:
    return evolve(
        claims,
        issuer=intern(claims.issuer),
        account_uid=intern(claims.account_uid),
        audiences=_shared_texts(claims.audiences),
    )


def _slim_status(status: Status) -> Status:
    times: dict[datetime | None, datetime | None] = {}
    secret, account = status.token_secret_ref, status.service_account_ref
    return Status(
        conditions=tuple(_slim_condition(condition, times) for condition in status.conditions),
        observed_generation=status.observed_generation,
        expiration_timestamp=status.expiration_timestamp,
        token_secret_ref=secret
        and TokenSecretRef(
            intern(secret.name),
            times.setdefault(secret.last_refresh_timestamp, secret.last_refresh_timestamp),
        ),
        service_account_ref=account
        and ServiceAccountRef(intern(account.namespace), intern(account.name), intern(account.uid)),
        audiences=_shared_texts(status.audiences),
        granted_validity=intern(status.granted_validity),
        next_refresh_timestamp=status.next_refresh_timestamp,
    )


def _slim_condition(condition: Condition, times: dict[datetime | None, datetime | None]) -> Condition:
    moment = condition.last_transition_time
    return replace(
        condition,
        type=intern(condition.type),
        status=intern(condition.status),
        reason=intern(condition.reason),
        last_transition_time=times.setdefault(moment, moment),
    )


@lru_cache(maxsize=256)
def _shared_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts


@lru_cache(maxsize=256)
def _shared_owners(owners: tuple[OwnerReference, ...]) -> tuple[OwnerReference, ...]:
    return owners


@lru_cache(maxsize=256)
def _shared_keys(keys: frozenset[str]) -> frozenset[str]:
    return keys


@lru_cache(maxsize=256)
def _shared_rotation(validity: str) -> Rotation:
    return Rotation(validity)


def _plain(text: str) -> bytes:
    """The content of a data entry; the API server stores nothing but base64, so anything else counts as empty."""
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""
