"""The status of a ManagedServiceAccount that is fanned out: a pure function, so equal inputs write nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from attrs import frozen
from msgspec.structs import replace

from msa.api import conditions
from msa.api.fleet_identity import FailingCluster, FanOut, FanOutStatus, FleetIdentity
from msa.api.meta import Condition
from msa.policy.addon_status import changes
from msa.policy.fanout import Health, Verdict, conflict, follows, is_child, judge
from msa.policy.reach import Unreached
from msa.policy.readiness import READY, TOKEN_REPORTED
from msa.policy.status import OURS

ALL_ACCOUNTS: Final = "AllServiceAccountsPresent"
ALL_TOKENS: Final = "AllTokensReported"
_TOLD = 20
_NAMED = 3


class ApiProblem(Protocol):
    """Why a request failed."""

    @property
    def reason(self) -> str: ...

    @property
    def message(self) -> str: ...


@frozen
class Spread:
    """How it stands on all clusters where it belongs.

    Attributes:
        verdicts: of each cluster.
        updated: clusters whose child says what the origin says.
        with_account: clusters that report the ServiceAccount.
        with_token: clusters that report a token.
    """

    verdicts: Mapping[str, Verdict]
    updated: frozenset[str]
    with_account: frozenset[str]
    with_token: frozenset[str]

    def having(self, health: Health) -> list[str]:
        return sorted(name for name, verdict in self.verdicts.items() if verdict.health is health)


def wanted(origin: FleetIdentity, found: Spread | Unreached, now: datetime) -> FanOutStatus:
    """The status to be stored. Conditions of others stay; those of an agent that was here before do not.

    Args:
        origin: with the stored status.
        found: how it stands; or why no clusters can be told.
        now: for transition times.
    """
    said = _unreached(found) if isinstance(found, Unreached) else _conditions(found)
    about = [replace(item, observed_generation=origin.metadata.generation) for item in said]
    ended = {*OURS, ALL_ACCOUNTS, ALL_TOKENS} - {item.type for item in about}
    before = tuple(item for item in origin.status.conditions if item.type not in ended)
    return FanOutStatus(
        conditions=conditions.merge(before, about, now),
        observed_generation=origin.metadata.generation,
        fan_out=_counts(found) if isinstance(found, Spread) else None,
    )


def spread(
    origin: FleetIdentity,
    clusters: frozenset[str],
    stored: Mapping[str, FleetIdentity],
    failed: Mapping[str, ApiProblem],
    now: datetime,
) -> Spread:
    """How it stands.

    Args:
        origin: what is fanned out.
        clusters: where it belongs.
        stored: what has its name there, by cluster.
        failed: why a child could not be written, by cluster.
        now: wall time.
    """
    ours = {name: item for name, item in stored.items() if is_child(item.metadata, origin)}
    return Spread(
        verdicts={
            **{name: Verdict(Health.WAITING) for name in clusters},
            **{name: judge(item, now) for name, item in ours.items()},
            **{name: conflict(stored[name], origin) for name in stored.keys() - ours.keys()},
            **{name: Verdict(Health.FAILING, item.reason, item.message) for name, item in failed.items()},
        },
        updated=frozenset(name for name, item in ours.items() if follows(item, origin)),
        with_account=frozenset(name for name, item in ours.items() if _has_account(item)),
        with_token=frozenset(name for name, item in ours.items() if _has_token(item)),
    )


def patch(before: FanOutStatus, after: FanOutStatus) -> dict[str, Any]:
    """The fields that must be written, by their names on the wire. An empty status may be one that could not be read: then all of them."""
    if before == FanOutStatus():
        fields = msgspec.structs.fields(after)
        return {field.encode_name: getattr(after, field.name) or None for field in fields}
    return changes(before, after)


def is_agents(origin: FleetIdentity) -> bool:
    """Whether its status is what an agent reported, and not the fan-out's."""
    return origin.status.fan_out is None and any(
        item.type == TOKEN_REPORTED for item in origin.status.conditions
    )


def relinquished(origin: FleetIdentity) -> FanOutStatus:
    """The status where its namespace has become a cluster's: all the rest is for the agent there to say."""
    kept = tuple(item for item in origin.status.conditions if item.type not in (ALL_ACCOUNTS, ALL_TOKENS))
    return replace(origin.status, conditions=kept, fan_out=None)


def _counts(found: Spread) -> FanOut:
    failing = found.having(Health.FAILING)
    told = (
        FailingCluster(name, found.verdicts[name].reason, found.verdicts[name].message[:500])
        for name in failing[:_TOLD]
    )
    return FanOut(
        desired=len(found.verdicts),
        updated=len(found.updated),
        ready=len(found.having(Health.READY)),
        failed=len(failing),
        failing=tuple(told),
    )


def _unreached(found: Unreached) -> list[Condition]:
    return [Condition(READY, "Unknown" if found.stay is None else "False", found.reason, found.message)]


def _conditions(found: Spread) -> list[Condition]:
    return [
        _summary(found),
        _all(ALL_ACCOUNTS, "ServiceAccountsMissing", found, found.with_account),
        _all(ALL_TOKENS, "TokensMissing", found, found.with_token),
    ]


def _summary(found: Spread) -> Condition:
    total, ready, failing = len(found.verdicts), found.having(Health.READY), found.having(Health.FAILING)
    if total == 0:
        return Condition(
            READY, "False", "NoClusters", "none of the clusters that this namespace may use is selected"
        )
    if failing:
        reasons = sorted({found.verdicts[name].reason for name in failing})
        why = ", ".join(reasons[:_NAMED])
        message = (
            f"{len(failing)}/{total} clusters failing ({_some(failing)}): {why}; see status.fanOut.failing"
        )
        return Condition(READY, "False", "ClustersFailing", message)
    if len(ready) < total or len(found.updated) < total:
        message = f"{len(found.updated)}/{total} clusters updated, {len(ready)}/{total} ready"
        return Condition(READY, "False", "RollingOut", message)
    return Condition(READY, "True", "AllClustersReady", f"{total}/{total} clusters ready")


def _has_account(child: FleetIdentity) -> bool:
    return child.status.service_account_ref is not None or _has_token(child)


def _has_token(child: FleetIdentity) -> bool:
    return any(item.type == TOKEN_REPORTED and item.status == "True" for item in child.status.conditions)


def _all(type_: str, reason: str, found: Spread, having: frozenset[str]) -> Condition:
    total, missing = len(found.verdicts), sorted(found.verdicts.keys() - having)
    if not total:
        return Condition(type_, "False", reason, "no cluster is selected")
    if missing:
        message = f"{len(having)}/{total} clusters; missing on {_some(missing)}"
        return Condition(type_, "False", reason, message)
    return Condition(type_, "True", type_, f"{total}/{total} clusters")


def clusters(count: int) -> str:
    """A number of them, for people."""
    return f"{count} cluster{'' if count == 1 else 's'}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    named = ", ".join(names[:_NAMED])
    return f"{named} and {more} more" if more > 0 else named
