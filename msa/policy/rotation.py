"""Does this identity need a new token, and why: an ordered list of small checks, the first that finds something decides.

Pure: the snapshot, the time and the jitter come in as values. The reason that comes out goes unchanged to the condition, the
Event, the log and the metric.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

import msgspec
from attrs import frozen

from msa.api import names
from msa.api.core import Credential, ServiceAccount
from msa.api.durations import parse, rfc3339
from msa.api.managedserviceaccount import ManagedServiceAccount, Spec
from msa.api.token import Claims, TokenFacts
from msa.policy.ownership import is_labelled

SHORTEST = timedelta(minutes=10)
"""TokenRequest's own lower bound."""

LONGEST = timedelta(seconds=2**32)
"""TokenRequest's own upper bound."""

_MIDDLE = 0.75
_SPANS = 8


class Reason(StrEnum):
    """Why a credential is not, or no longer, good."""

    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, no password
    TOKEN_MISSING = "TokenMissing"  # noqa: S105 - as above
    TOKEN_MALFORMED = "TokenMalformed"  # noqa: S105 - as above
    WRONG_ACCOUNT = "WrongServiceAccount"
    ACCOUNT_REPLACED = "ServiceAccountReplaced"
    WRONG_AUDIENCE = "WrongAudience"
    UNKNOWN_KEY = "UnknownSigningKey"
    REFUSED = "TokenRefused"
    REQUESTED_DIFFERENTLY = "SpecChanged"
    EXPIRED = "TokenExpired"
    DUE = "TokenDue"
    CA_CHANGED = "CAChanged"
    FOREIGN_DATA = "ForeignData"
    MARKS_LOST = "MarksLost"
    ADOPTED = "Adopted"


@frozen
class Reissue:
    """A new token is needed."""

    reason: Reason
    message: str


@frozen
class Repair:
    """The token is good; something around it must be written again."""

    reason: Reason
    message: str


Violation: TypeAlias = Reissue | Repair


class InvalidSpec(ValueError):
    """A spec that no token can be asked for; the message names the field and the remedy."""


@frozen
class Request:
    """What a token is asked for.

    Attributes:
        audiences: sorted; empty for the API server's own.
        seconds: of life.
    """

    audiences: tuple[str, ...]
    seconds: int

    @classmethod
    def from_spec(cls, spec: Spec) -> "Request":
        """The request that a spec stands for.

        Raises:
            InvalidSpec: it stands for none.
        """
        text = spec.rotation.validity
        try:
            validity = parse(text)
        except ValueError as error:
            raise InvalidSpec(
                f"spec.rotation.validity: {error}: write a Go duration such as 24h or 8640h"
            ) from None
        if not SHORTEST <= validity <= LONGEST:
            raise InvalidSpec(f"spec.rotation.validity: {text} must be between 10m and 1193046h28m16s")
        return cls(tuple(sorted(spec.audiences)), int(validity.total_seconds()))

    def render(self) -> str:
        """For the Secret's annotation; equal requests give equal text."""
        return json.dumps(
            {"audiences": self.audiences, "expirationSeconds": self.seconds}, separators=(",", ":")
        )


class _Requested(msgspec.Struct, frozen=True, rename="camel"):
    """`Request.render`, read back."""

    audiences: tuple[str, ...] = ()
    expiration_seconds: int = 0


@frozen
class Kind:
    """What tokens have in common that a reconfigured API server accepts or refuses together.

    Attributes:
        key_id: `kid` of the key that signed them.
    """

    issuer: str
    audiences: tuple[str, ...]
    key_id: str

    @classmethod
    def of(cls, token: TokenFacts) -> "Kind | None":
        """None for a token that cannot be read."""
        claims = token.claims
        return cls(claims.issuer, claims.audiences, token.key_id) if claims is not None else None


@frozen
class Cluster:
    """What the checks need to know of the managed cluster.

    Attributes:
        namespace: where the ServiceAccounts are.
        ca_digest: SHA-256 of the CA bundle that consumers shall trust.
        thumbprints: of the keys it signs tokens with; None where it does not tell.
        refused: kinds of tokens that it does not accept, each with the time of issue of the newest such token.
    """

    namespace: str
    ca_digest: str
    thumbprints: frozenset[str] | None
    refused: tuple[tuple[Kind, datetime], ...] = ()


@frozen
class Snapshot:
    """Everything a decision is made from, as it was at one moment."""

    identity: ManagedServiceAccount
    account: ServiceAccount
    credential: Credential | None
    cluster: Cluster
    request: Request


@frozen
class _Held:
    """A snapshot whose credential is there and readable."""

    snapshot: Snapshot
    credential: Credential
    token: TokenFacts
    claims: Claims
    now: datetime


Check: TypeAlias = Callable[[_Held], Violation | None]


def violation(snapshot: Snapshot, now: datetime) -> Violation | None:
    """The first thing wrong with the credential, None for a good one.

    Args:
        snapshot: what there is.
        now: on the managed cluster's clock, which its tokens' times are from.
    """
    credential = snapshot.credential
    if credential is None:
        return Reissue(Reason.SECRET_MISSING, "the Secret was missing")
    token = credential.token
    if token is None:
        return Reissue(Reason.TOKEN_MISSING, f"the Secret had no entry {names.SECRET_KEY_TOKEN!r}")
    if token.claims is None:
        return Reissue(
            Reason.TOKEN_MALFORMED, f"the Secret's token was not a service account token: {token.malformed}"
        )
    held = _Held(snapshot, credential, token, token.claims, now)
    return next((found for check in CHECKS if (found := check(held)) is not None), None)


def _wrong_account(held: _Held) -> Violation | None:
    name = held.snapshot.identity.metadata.name
    wanted = f"system:serviceaccount:{held.snapshot.cluster.namespace}:{name}"
    if held.claims.subject == wanted:
        return None
    return Reissue(Reason.WRONG_ACCOUNT, f"the token was for {held.claims.subject[:200]}, not for {wanted}")


def _account_replaced(held: _Held) -> Violation | None:
    if held.claims.account_uid == held.snapshot.account.metadata.uid:
        return None
    return Reissue(Reason.ACCOUNT_REPLACED, "the ServiceAccount was created again after the token was issued")


def _requested_differently(held: _Held) -> Violation | None:
    requested, wanted = requested_with(held.credential), held.snapshot.request
    if requested in ("", wanted.render()):  # "" where another agent issued it: adopted with its token
        return None
    return Reissue(Reason.REQUESTED_DIFFERENTLY, _changed(requested, wanted))


def _changed(requested: str, wanted: Request) -> str:
    try:
        before = msgspec.json.decode(requested, type=_Requested)
    except (msgspec.MsgspecError, RecursionError):
        return "the spec changed"
    found = []
    if before.expiration_seconds != wanted.seconds:
        found.append(f"validity changed from {_life(before.expiration_seconds)} to {_life(wanted.seconds)}")
    if before.audiences != wanted.audiences:
        found.append(f"audiences changed from {_listed(before.audiences)} to {_listed(wanted.audiences)}")
    return " and ".join(found) or "the spec changed"


def _life(seconds: int) -> str:
    """As people write it: 24h, 90m."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _listed(audiences: tuple[str, ...]) -> str:
    return ", ".join(audiences)[:200] or "the API server's own"


def _wrong_audience(held: _Held) -> Violation | None:
    wanted = held.snapshot.request.audiences
    if not wanted or set(wanted) == set(held.claims.audiences):
        return None
    return Reissue(
        Reason.WRONG_AUDIENCE,
        f"the token was for the audiences {_listed(held.claims.audiences)}, not for {_listed(wanted)}",
    )


def _unknown_key(held: _Held) -> Violation | None:
    trusted = held.snapshot.cluster.thumbprints
    if trusted is None or held.token.signed_by in trusted:
        return None
    return Reissue(Reason.UNKNOWN_KEY, "the token was not signed by a key of the managed cluster's key set")


def _refused(held: _Held) -> Violation | None:
    newest = dict(held.snapshot.cluster.refused).get(kind) if (kind := Kind.of(held.token)) else None
    if newest is None or held.claims.issued_at > newest:
        return None
    return Reissue(
        Reason.REFUSED,
        f"the managed cluster refused tokens of issuer {held.claims.issuer[:200]} "
        f"for the audiences {_listed(held.claims.audiences)}",
    )


def _expired(held: _Held) -> Violation | None:
    if held.now < held.claims.expires_at:
        return None
    return Reissue(Reason.EXPIRED, f"the token expired at {rfc3339(held.claims.expires_at)}")


def _due(held: _Held) -> Violation | None:
    if held.now < refresh_time(held.claims, held.snapshot.identity.metadata.uid):
        return None
    return Reissue(Reason.DUE, f"the token expires at {rfc3339(held.claims.expires_at)}")


def _ca_changed(held: _Held) -> Violation | None:
    if held.credential.ca_digest == held.snapshot.cluster.ca_digest:
        return None
    return Repair(Reason.CA_CHANGED, "the Secret's ca.crt was not the managed cluster's CA")


def _foreign_data(held: _Held) -> Violation | None:
    strangers = sorted(held.credential.keys - names.SECRET_KEYS)
    if not strangers:
        return None
    return Repair(Reason.FOREIGN_DATA, f"the Secret had other entries: {', '.join(strangers)[:200]}")


def _adopted(held: _Held) -> Violation | None:
    """Another agent wrote it, the Go addon's, say, and nothing else is wrong with it than that our annotations are missing or stale."""
    stored, marks = held.credential, held.credential.marks
    stale = marks.expires_at != held.claims.expires_at
    newer = marks.refreshed_at is None or held.claims.issued_at > marks.refreshed_at
    if (
        not _is_found(held)
        or stored.keys - names.SECRET_KEYS
        or not (marks.requested == "" or (stale and newer))
    ):
        return None
    return Repair(Reason.ADOPTED, "another agent wrote the Secret")


def _marks_lost(held: _Held) -> Violation | None:
    marks = held.credential.marks
    explained = marks.requested != "" and marks.refreshed_at is not None
    if _is_found(held) and explained and marks.expires_at == held.claims.expires_at:
        return None
    return Repair(
        Reason.MARKS_LOST, "a label, an annotation or the ownerReference of the Secret was missing or wrong"
    )


def _is_found(held: _Held) -> bool:
    """Whether the Secret has our label and belongs to the identity."""
    owned = held.snapshot.identity.metadata.uid in held.credential.owners
    return owned and is_labelled(held.credential.metadata)


CHECKS: tuple[Check, ...] = (
    _wrong_account,  # the token is this identity's
    _account_replaced,  # the account it speaks for still exists
    _requested_differently,  # it is what the spec asks for now
    _wrong_audience,  # whoever it is for takes it
    _unknown_key,  # the managed cluster takes its signature
    _refused,  # and its issuer and audiences
    _expired,  # it is still good
    _due,  # and will be for long enough
    _adopted,  # it is ours to keep
    _ca_changed,  # the cluster it is shown to can be verified
    _foreign_data,  # nothing else is in the Secret
    _marks_lost,  # it is found, owned and explained
)


def requested_with(credential: Credential) -> str:
    """What the token in the Secret was asked for; "" where the annotation is not about this token."""
    claims, marks = credential.claims, credential.marks
    return marks.requested if claims is not None and marks.expires_at == claims.expires_at else ""


def refreshed_at(credential: Credential, claims: Claims) -> datetime:
    """When the token was written: as the annotation says if that is about this token, and never before it was issued."""
    noted = credential.marks.refreshed_at
    if noted is None or credential.marks.expires_at != claims.expires_at:
        return claims.issued_at
    return max(noted, claims.issued_at)


def refresh_time(claims: Claims, uid: str) -> datetime:
    """When the token is to be replaced: between 0.7 and 0.8 of the life it was granted.

    Time is cut into spans, eight of which are 0.75 of a life; within a span, each identity has a place that its UID alone gives it, and
    the place nearest to 0.75 of the life is taken. So tokens issued together are renewed spread out, evenly and for ever; one that was
    late is back in its place the next time, and a restart of the agent changes no plan (docs/adr/0004).
    """
    life = (claims.expires_at - claims.issued_at).total_seconds()
    span = life * _MIDDLE / _SPANS
    if span <= 0:
        return claims.expires_at
    earliest = life * _MIDDLE - span / 2
    wait = (jitter(uid) * span - claims.issued_at.timestamp() - earliest) % span
    return claims.issued_at + timedelta(seconds=earliest + wait)


def jitter(uid: str) -> float:
    """A number in [0, 1) that depends on the UID alone."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=6).digest()) / 2**48


def shortened(claims: Claims, request: Request) -> bool:
    """Whether the server granted clearly less than was asked, as EKS does for more than 24 h."""
    return (claims.expires_at - claims.issued_at).total_seconds() < 0.95 * request.seconds
