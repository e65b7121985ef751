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
            raise InvalidSpec(
                f"spec.rotation.validity: {text} is not within 10m and 1193046h28m16s: choose a life in between"
            )
        return cls(tuple(sorted(spec.audiences)), int(validity.total_seconds()))

    def render(self) -> str:
        """For the Secret's annotation; equal requests give equal text."""
        return json.dumps(
            {"audiences": self.audiences, "expirationSeconds": self.seconds}, separators=(",", ":")
        )


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
        return Reissue(Reason.SECRET_MISSING, "there is no Secret with a token yet")
    token = credential.token
    if token is None:
        return Reissue(Reason.TOKEN_MISSING, f"the Secret has no entry {names.SECRET_KEY_TOKEN!r}")
    if token.claims is None:
        return Reissue(Reason.TOKEN_MALFORMED, f"the Secret's token is none: {token.malformed}")
    held = _Held(snapshot, credential, token, token.claims, now)
    return next((found for check in CHECKS if (found := check(held)) is not None), None)


def _wrong_account(held: _Held) -> Violation | None:
    name = held.snapshot.identity.metadata.name
    wanted = f"system:serviceaccount:{held.snapshot.cluster.namespace}:{name}"
    if held.claims.subject == wanted:
        return None
    return Reissue(Reason.WRONG_ACCOUNT, f"the token is for {held.claims.subject[:200]}, not for {wanted}")


def _account_replaced(held: _Held) -> Violation | None:
    if held.claims.account_uid == held.snapshot.account.metadata.uid:
        return None
    return Reissue(Reason.ACCOUNT_REPLACED, "the ServiceAccount was made anew since the token was issued")


def _requested_differently(held: _Held) -> Violation | None:
    requested = held.credential.marks.requested
    wanted = held.snapshot.request.render()
    if requested in ("", wanted):  # "" where another agent issued it: taken over as it is
        return None
    return Reissue(
        Reason.REQUESTED_DIFFERENTLY,
        f"spec asks for {wanted}, the token was requested with {requested[:200]}",
    )


def _wrong_audience(held: _Held) -> Violation | None:
    wanted = held.snapshot.request.audiences
    if not wanted or set(wanted) == set(held.claims.audiences):
        return None
    return Reissue(
        Reason.WRONG_AUDIENCE, f"the token is for the audiences {', '.join(held.claims.audiences)[:200]}"
    )


def _unknown_key(held: _Held) -> Violation | None:
    trusted = held.snapshot.cluster.thumbprints
    if trusted is None or held.token.signed_by in trusted:
        return None
    return Reissue(Reason.UNKNOWN_KEY, "no key of the managed cluster's key set made the token's signature")


def _refused(held: _Held) -> Violation | None:
    newest = dict(held.snapshot.cluster.refused).get(kind) if (kind := Kind.of(held.token)) else None
    if newest is None or held.claims.issued_at > newest:
        return None
    return Reissue(
        Reason.REFUSED,
        f"the managed cluster refused tokens of issuer {held.claims.issuer[:200]} "
        f"for the audiences {', '.join(held.claims.audiences)[:200]}",
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
    return Repair(Reason.CA_CHANGED, "the Secret's ca.crt is not the managed cluster's CA")


def _foreign_data(held: _Held) -> Violation | None:
    strangers = sorted(held.credential.keys - names.SECRET_KEYS)
    if not strangers:
        return None
    return Repair(
        Reason.FOREIGN_DATA, f"the Secret has entries that are not ours: {', '.join(strangers)[:200]}"
    )


def _marks_lost(held: _Held) -> Violation | None:
    marks, owned = held.credential.marks, held.snapshot.identity.metadata.uid in held.credential.owners
    explained = marks.requested != "" and marks.refreshed_at is not None
    if (
        owned
        and is_labelled(held.credential.metadata)
        and explained
        and marks.expires_at == held.claims.expires_at
    ):
        return None
    return Repair(
        Reason.MARKS_LOST, "a label, an annotation or the ownerReference of the Secret is missing or wrong"
    )


CHECKS: tuple[Check, ...] = (
    _wrong_account,  # the token is this identity's
    _account_replaced,  # the account it speaks for still exists
    _requested_differently,  # it is what the spec asks for now
    _wrong_audience,  # whoever it is for takes it
    _unknown_key,  # the managed cluster takes its signature
    _refused,  # and its issuer and audiences
    _expired,  # it is still good
    _due,  # and will be for long enough
    _ca_changed,  # the cluster it is shown to can be verified
    _foreign_data,  # nothing else is in the Secret
    _marks_lost,  # it is found, owned and explained
)


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


def retry_delay(attempt: int, life_left: timedelta | None, chance: float) -> float:
    """Seconds until a failed rotation is tried again.

    Full jitter below a ceiling that doubles from 1 s to 5 min, and is never more than a tenth of the life that is left; a minute
    once it is over: somebody is locked out by then.

    Args:
        attempt: failures so far, from 0.
        life_left: of the token that is being replaced, not positive when it has expired; None when there is none.
        chance: in [0, 1).
    """
    ceiling = min(300.0, 2.0 ** min(attempt, 9))
    if life_left is not None and life_left > timedelta():
        ceiling = min(ceiling, max(1.0, life_left.total_seconds() / 10))
    elif life_left is not None:
        ceiling = min(ceiling, 60.0)
    return max(0.5, ceiling * chance)
