"""The status that an identity shall have, from what there is and what went wrong: a pure function, so equal inputs write nothing."""

from datetime import datetime

from attrs import frozen
from msgspec.structs import replace

from msa.api import conditions
from msa.api.conditions import find
from msa.api.core import Credential, ServiceAccount
from msa.api.durations import render
from msa.api.managedserviceaccount import ManagedServiceAccount, ServiceAccountRef, Status, TokenSecretRef
from msa.api.meta import Condition
from msa.api.token import Claims
from msa.policy.readiness import READY, TOKEN_REPORTED, fresh, leaves_ready
from msa.policy.rotation import Request, refresh_time, refreshed_at, requested_with, shortened

SECRET_CREATED = "SecretCreated"  # noqa: S105 - the name of a condition
LIFETIME_SHORTENED = "LifetimeShortened"
TTL_IGNORED = "TTLIgnored"
OURS = (TOKEN_REPORTED, SECRET_CREATED, READY, LIFETIME_SHORTENED, TTL_IGNORED)


@frozen
class Trouble:
    """Why an identity is not as it should be.

    Attributes:
        reason: CamelCase, stable.
        message: what is wrong and what would help; stable while the cause is, or every attempt would write a status.
    """

    reason: str
    message: str


@frozen
class Holding:
    """What an identity has at this moment; None for what it has not."""

    account: ServiceAccount | None
    credential: Credential | None

    @property
    def claims(self) -> Claims | None:
        """What the token in the Secret says of itself; None where there is none that can be read."""
        return self.credential.claims if self.credential is not None else None


def wanted(
    identity: ManagedServiceAccount,
    holding: Holding,
    request: Request | None,
    trouble: Trouble | None,
    now: datetime,
    *,
    ephemeral: bool = True,
) -> Status:
    """The status to be stored.

    Args:
        identity: with the stored status.
        holding: its account and credential.
        request: what its tokens are asked for; None where the spec is invalid.
        trouble: None when all is well.
        now: for transition times.
        ephemeral: whether the agent heeds `ttlSecondsAfterCreation`.
    """
    generation, stored = identity.metadata.generation, identity.status
    status = Status(observed_generation=generation, service_account_ref=_account_ref(holding.account))
    status = _with_token(status, identity, holding.credential)
    found = _conditions(status, holding, request, trouble)
    if identity.spec.ttl_seconds_after_creation is not None and not ephemeral:
        found = (*found, _ttl_ignored(generation))
    if (ready := find(stored.conditions, READY)) is not None and leaves_ready(
        stored, replace(status, conditions=found)
    ):
        found = (ready, *(item for item in found if item.type != READY))
    ours = {condition.type for condition in found}
    kept = tuple(item for item in stored.conditions if item.type not in OURS or item.type in ours)
    return replace(status, conditions=conditions.merge(kept, found, now))


def says(stored: Status, trouble: Trouble) -> bool:
    """Whether a status tells of that trouble, whoever wrote it: an agent that starts finds what the one before has told."""
    reported = find(stored.conditions, TOKEN_REPORTED)
    return reported is not None and (reported.status, reported.reason) == ("False", trouble.reason)


def newly(type_: str, before: Status, after: Status) -> str | None:
    """The message of a condition of that type that did not hold before; None where it did, or does not hold."""
    held, holds = (find(status.conditions, type_) for status in (before, after))
    return holds.message if holds is not None and (held is None or held.status != holds.status) else None


def _account_ref(account: ServiceAccount | None) -> ServiceAccountRef | None:
    if account is None:
        return None
    metadata = account.metadata
    return ServiceAccountRef(namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)


def _with_token(status: Status, identity: ManagedServiceAccount, credential: Credential | None) -> Status:
    if credential is None or (claims := credential.claims) is None:
        return status
    return replace(
        status,
        expiration_timestamp=claims.expires_at,
        token_secret_ref=TokenSecretRef(
            name=credential.metadata.name, last_refresh_timestamp=refreshed_at(credential, claims)
        ),
        audiences=claims.audiences,
        granted_validity=render(claims.expires_at - claims.issued_at),
        next_refresh_timestamp=refresh_time(claims, identity.metadata.uid).replace(microsecond=0),
    )


def _conditions(
    status: Status, holding: Holding, request: Request | None, trouble: Trouble | None
) -> tuple[Condition, ...]:
    generation = status.observed_generation

    def condition(type_: str, *, holds: bool, reason: str, message: str = "") -> Condition:
        return Condition(type_, "True" if holds else "False", reason, message, None, generation)

    if trouble is None:
        found = [
            fresh(status),
            condition(TOKEN_REPORTED, holds=True, reason=TOKEN_REPORTED),
            condition(SECRET_CREATED, holds=True, reason=SECRET_CREATED),
        ]
    else:
        has_secret = holding.credential is not None
        found = [
            condition(READY, holds=False, reason=trouble.reason, message=trouble.message),
            condition(TOKEN_REPORTED, holds=False, reason=trouble.reason, message=trouble.message),
            condition(SECRET_CREATED, holds=True, reason=SECRET_CREATED)
            if has_secret
            else condition(SECRET_CREATED, holds=False, reason=trouble.reason, message=trouble.message),
        ]
    if (message := _shortening(holding.credential, request)) is not None:
        found.append(
            condition(LIFETIME_SHORTENED, holds=True, reason="GrantedLessThanRequested", message=message)
        )
    return tuple(found)


def _ttl_ignored(generation: int) -> Condition:
    message = (
        "spec.ttlSecondsAfterCreation has no effect: the feature gate EphemeralIdentity is off in this cluster's agent. "
        "Enable it (chart value featureGates.ephemeralIdentity), or remove the field"
    )
    return Condition(TTL_IGNORED, "True", "EphemeralIdentityGateOff", message, None, generation)


def _shortening(credential: Credential | None, request: Request | None) -> str | None:
    """Of a token that was asked for what the spec says now; one from before an edit of the spec tells nothing of the cluster."""
    if credential is None or (claims := credential.claims) is None or request is None:
        return None
    if requested_with(credential) not in ("", request.render()) or not shortened(claims, request):
        return None
    granted = render(claims.expires_at - claims.issued_at)
    return (
        f"the managed cluster grants {granted} of the requested {request.seconds} s; tokens are renewed by what was granted. "
        f"Ask for no more in spec.rotation.validity, or raise the limit there (--service-account-max-token-expiration)"
    )
