"""What the agent sends: request bodies as plain values, built without asking anybody."""

from base64 import b64encode
from typing import Any

import msgspec

from msa.agent.ports import SecretContent
from msa.api import names
from msa.api.core import Credential, Marks, ServiceAccount
from msa.api.durations import rfc3339
from msa.api.managedserviceaccount import ManagedServiceAccount, Status
from msa.api.meta import OwnerReference
from msa.api.token import Token
from msa.policy.rotation import Request

Body = dict[str, Any]

_API_VERSION = f"{names.GROUP}/{names.STORAGE_VERSION}"

_LONGEST_STEM = 200
"""With a UID after it, it is still a name."""


def service_account(identity: ManagedServiceAccount, owners: tuple[OwnerReference, ...]) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": identity.metadata.name, **_account_marks(identity, owners, ())},
    }


def service_account_marks(
    identity: ManagedServiceAccount, account: ServiceAccount, owners: tuple[OwnerReference, ...]
) -> Body:
    """A merge patch (RFC 7386) that fails with Conflict if the account is no longer at that version."""
    stored = account.metadata
    marks = _account_marks(identity, owners, stored.owner_references)
    return {"metadata": {"resourceVersion": stored.resource_version, **marks}}


def _account_marks(
    identity: ManagedServiceAccount,
    owners: tuple[OwnerReference, ...],
    stored: tuple[OwnerReference, ...],
) -> Body:
    marks: Body = {
        "labels": names.MANAGED_LABELS,
        "annotations": {names.ANNOTATION_OWNER_UID: identity.metadata.uid},
    }
    if owners:
        ours = {(owner.kind, owner.name) for owner in owners}
        others = [owner for owner in stored if (owner.kind, owner.name) not in ours]
        marks["ownerReferences"] = [*others, *owners]
    return marks


def token_request(request: Request) -> Body:
    spec: Body = {"expirationSeconds": request.seconds}
    if request.audiences:
        spec["audiences"] = list(request.audiences)
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def token_review(token: Token, audiences: tuple[str, ...]) -> Body:
    spec = {"token": token.reveal(), "audiences": list(audiences)}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def secret(identity: ManagedServiceAccount, content: SecretContent) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": identity.metadata.name, **_secret_marks(identity, content)},
        "data": _data(content),
    }


def rehearsed_secret(identity: ManagedServiceAccount, content: SecretContent) -> Body:
    """One more Secret beside the identity's, for a dry run: of a name that nobody uses, and the same each time, since refusals quote it."""
    body, metadata = secret(identity, content), identity.metadata
    name = f"{metadata.name[:_LONGEST_STEM].rstrip('.-')}-{metadata.uid}"
    return {**body, "metadata": {"name": name, **_secret_marks(identity, content)}}


def secret_patch(identity: ManagedServiceAccount, stored: Credential, content: SecretContent) -> Body:
    """A merge patch: our marks and entries over the stored ones, entries that are not ours away, foreign marks untouched."""
    strangers = dict.fromkeys(sorted(stored.keys - names.SECRET_KEYS))
    return {
        "metadata": {"resourceVersion": stored.metadata.resource_version, **_secret_marks(identity, content)},
        "data": {**strangers, **_data(content)},
    }


def revoked_secret(stored: Credential) -> Body:
    """A merge patch: the token away, and what our annotations say of it; all the rest stays."""
    annotations = dict.fromkeys(
        (names.ANNOTATION_EXPIRATION, names.ANNOTATION_LAST_REFRESH, names.ANNOTATION_REQUESTED)
    )
    return {
        "metadata": {"resourceVersion": stored.metadata.resource_version, "annotations": annotations},
        "data": {names.SECRET_KEY_TOKEN: None},
    }


def _secret_marks(identity: ManagedServiceAccount, content: SecretContent) -> Body:
    owner = {
        "apiVersion": _API_VERSION,
        "kind": names.KIND,
        "name": identity.metadata.name,
        "uid": identity.metadata.uid,
    }
    return {
        "labels": names.MANAGED_LABELS,
        "annotations": _annotations(content.marks),
        "ownerReferences": [owner],
    }


def _annotations(marks: Marks) -> dict[str, str]:
    times = {names.ANNOTATION_EXPIRATION: marks.expires_at, names.ANNOTATION_LAST_REFRESH: marks.refreshed_at}
    said = {name: rfc3339(moment) for name, moment in times.items() if moment is not None}
    return {names.ANNOTATION_REQUESTED: marks.requested, **said}


def _data(content: SecretContent) -> dict[str, str]:
    data = {names.SECRET_KEY_CA: b64encode(content.ca).decode()}
    if content.token is not None:
        data[names.SECRET_KEY_TOKEN] = b64encode(content.token.reveal().encode()).decode()
    return data


_STATUS_FIELDS = tuple((field.name, field.encode_name) for field in msgspec.structs.fields(Status))


def status_patch(identity: ManagedServiceAccount, status: Status) -> Body:
    """A merge patch of the status subresource: the whole status, fields that no longer hold set to null.

    Its times are in UTC and whole seconds, as the API server stores them, or the stored status would never equal the wanted one.
    """
    return {
        "metadata": {"resourceVersion": identity.metadata.resource_version},
        "status": {wire: getattr(status, name) or None for name, wire in _STATUS_FIELDS},
    }
