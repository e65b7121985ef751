"""Snapshots for policy tests: a healthy one, of which a test changes what it is about."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from msa.api import names
from msa.api.core import Credential, Marks, ServiceAccount
from msa.api.managedserviceaccount import ManagedServiceAccount, Rotation, Spec
from msa.api.meta import ObjectMeta
from msa.api.token import Claims, TokenFacts
from msa.policy.rotation import Cluster, Request, Snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMESPACE = "install"


def identity(
    name: str = "one", *, validity: str = "24h", audiences: tuple[str, ...] = (), uid: str = "msa-uid"
) -> ManagedServiceAccount:
    metadata = ObjectMeta(
        name=name, namespace="cluster1", uid=uid, resource_version="5", generation=1, creation_timestamp=START
    )
    return ManagedServiceAccount(metadata, Spec(Rotation(validity), audiences))


def account(name: str = "one", uid: str = "sa-uid", **labels: str) -> ServiceAccount:
    return ServiceAccount(
        ObjectMeta(name=name, namespace=NAMESPACE, uid=uid, labels=labels or {names.LABEL_MANAGED: "true"})
    )


def claims(**changes: Any) -> Claims:
    plain = Claims(
        issuer="https://kubernetes.default.svc",
        subject=f"system:serviceaccount:{NAMESPACE}:one",
        account_uid="sa-uid",
        audiences=("https://kubernetes.default.svc",),
        issued_at=START,
        expires_at=START + 24 * HOUR,
    )
    return evolve(plain, **changes)


def credential(token: Claims | None = None, *, requested: str | None = None, **changes: Any) -> Credential:
    held = token or claims()
    metadata = ObjectMeta(
        name="one",
        namespace="cluster1",
        resource_version="6",
        labels={names.LABEL_MANAGED: "true"},
    )
    asked = Request.from_spec(identity().spec).render() if requested is None else requested
    keys = frozenset((names.SECRET_KEY_TOKEN, names.SECRET_KEY_CA))
    plain = Credential(
        metadata,
        owners=("msa-uid",),
        marks=Marks(asked, held.expires_at, held.issued_at),
        type="Opaque",
        immutable=False,
        keys=keys,
        token=TokenFacts("k", held, "key-1"),
        ca_digest="ca",
    )
    return evolve(plain, **changes)


def with_metadata(stored: Credential, **changes: Any) -> Credential:
    return evolve(stored, metadata=replace(stored.metadata, **changes))


def snapshot(
    stored: Credential | None, *, spec: ManagedServiceAccount | None = None, **cluster: Any
) -> Snapshot:
    owner = spec or identity()
    there = evolve(Cluster(NAMESPACE, "ca", frozenset(("key-1",))), **cluster)
    return Snapshot(owner, account(), stored, there, Request.from_spec(owner.spec))


def jwks(kid: str) -> bytes:
    """A key set with one new key of that id."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    x, y = (urlsafe_b64encode(part.to_bytes(32)).rstrip(b"=").decode() for part in (point.x, point.y))
    return json.dumps({"keys": [{"kty": "EC", "kid": kid, "crv": "P-256", "x": x, "y": y}]}).encode()
