"""The status that a cluster's ManagedClusterAddOn shall have: a pure function, so equal inputs write nothing.

OCM writes the same object: of its fields and conditions none is touched.
"""

from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from attrs import frozen
from msgspec.structs import replace

from msa.api import addon as api
from msa.api import conditions, names, work
from msa.api.addon import AddonStatus, HealthCheck, ManagedClusterAddOn
from msa.api.meta import Condition
from msa.api.texts import shown
from msa.api.work import Work
from msa.policy.registration import SUPPORTED_CONFIGS, Obstacle, registrations

REGISTRATION_APPLIED: Final = "RegistrationApplied"
MANIFEST_APPLIED: Final = "ManifestApplied"
DEGRADED: Final = "Degraded"
OURS: Final = frozenset((REGISTRATION_APPLIED, MANIFEST_APPLIED, DEGRADED))
INVALID_CONFIGURATION: Final = "InvalidConfiguration"
S = TypeVar("S", bound=msgspec.Struct)
_SETTLED: Final = ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
"""Reasons of a Deployment's condition Progressing: it has come up before, or has not for too long. Else it is on its way."""

_REGISTERED: Final = Condition(
    REGISTRATION_APPLIED, "True", "SetPermissionApplied", "Registration of the addon agent is configured"
)
_LEASE: Final = HealthCheck("Lease")


@frozen
class Findings:
    """What there is to report of one cluster.

    Attributes:
        namespace: where the agent is installed, "" where that cannot be told yet.
        obstacle: why nobody has the agent's rights yet; None where somebody has.
        references: the configurations, with their hashes.
        problem: why the agent's manifests cannot be made; None where they can.
        work: what is stored for the cluster; None where it is not what was last rendered.
        identities_work: the other ManifestWork, which carries what identities hang on.
    """

    namespace: str
    obstacle: Obstacle | None
    references: tuple[api.ConfigReference, ...]
    problem: str | None
    work: Work | None
    identities_work: Work | None = None


def wanted(addon: ManagedClusterAddOn, found: Findings, version: str, now: datetime) -> AddonStatus:
    """The status to be stored.

    Args:
        addon: with the stored status.
        found: what there is to say.
        version: of the API that it is written in.
        now: for transition times.
    """
    said = [*_registration(found.obstacle, addon), *_deployment(found, addon.status.conditions)]
    return replace(
        addon.status,
        conditions=conditions.merge(addon.status.conditions, map(_bounded, said), now),
        config_references=found.references,
        health_check=_LEASE,
        namespace=found.namespace,
        registrations=registrations(addon, version),
        supported_configs=SUPPORTED_CONFIGS,
    )


def changes(before: S, after: S) -> dict[str, Any]:
    """The fields of a status that must be written, by their names on the wire."""
    names_of_fields = zip(after.__struct_fields__, after.__struct_encode_fields__, strict=True)
    return {
        encoded: getattr(after, name)
        for name, encoded in names_of_fields
        if getattr(after, name) != getattr(before, name)
    }


def state(addon: ManagedClusterAddOn) -> str:
    """How the addon fares on a cluster, in one word: the first thing that is not as it should be."""
    if addon.metadata.deletion_timestamp is not None:
        return "removing"
    stands = {item.type: item.status for item in addon.status.conditions}
    if stands.get(REGISTRATION_APPLIED) != "True":
        return "registering"
    if stands.get(MANIFEST_APPLIED) != "True":
        return _undeployed(addon, stands)
    if stands.get(DEGRADED) == "True":
        return "degraded"
    return {"True": "available", "False": "unavailable"}.get(stands.get("Available", ""), "unknown")


def _undeployed(addon: ManagedClusterAddOn, stands: dict[str, str]) -> str:
    """A wrong configuration changes nothing for an agent that runs already."""
    if stands.get(MANIFEST_APPLIED) != "False":
        return "deploying"
    wrong = any(
        (item.type, item.reason) == (MANIFEST_APPLIED, INVALID_CONFIGURATION)
        for item in addon.status.conditions
    )
    if not wrong:
        return "failing"
    return "unavailable" if stands.get("Available") == "False" else "misconfigured"


def _bounded(condition: Condition) -> Condition:
    """Names and messages of others are in it, and an API server refuses what is too long, with all else that there is to say."""
    return replace(condition, message=shown(condition.message))


def _registration(obstacle: Obstacle | None, addon: ManagedClusterAddOn) -> list[Condition]:
    if obstacle is None or (obstacle.granted and _stood(addon, _REGISTERED)):
        return [_REGISTERED]
    return [Condition(REGISTRATION_APPLIED, "False", obstacle.reason, obstacle.message)]


def _stood(addon: ManagedClusterAddOn, condition: Condition) -> bool:
    stored = ((item.type, item.status) for item in addon.status.conditions)
    return (condition.type, condition.status) in stored


def _deployment(found: Findings, before: tuple[Condition, ...]) -> list[Condition]:
    if found.problem is not None:
        return [Condition(MANIFEST_APPLIED, "False", INVALID_CONFIGURATION, found.problem)]
    if found.work is not None and (applied := _applied(found.work)) is not None:
        beside = _applied(found.identities_work) if found.identities_work is not None else None
        said = beside if beside is not None and beside.status == "False" else applied
        return [said, *_health(found.work)]
    if any((item.type, item.reason) == (MANIFEST_APPLIED, INVALID_CONFIGURATION) for item in before):
        message = "the configuration is right again; the cluster has not applied the manifests of addon yet"
        return [Condition(MANIFEST_APPLIED, "Unknown", "AddonManifestPending", message)]
    return []  # the cluster's side has not said anything of it: what was said before stands


def _applied(stored: Work) -> Condition | None:
    for condition in stored.conditions:
        if condition.type == work.APPLIED and condition.observed_generation == stored.metadata.generation:
            if condition.status == "True":
                message = "manifests of addon are applied successfully"
                return Condition(MANIFEST_APPLIED, "True", "AddonManifestApplied", message)
            what = f": {'; '.join(stored.failed)[:1000]}" if stored.failed else ""
            message = f"failed to apply the manifests of addon{what}"
            return Condition(MANIFEST_APPLIED, "False", "AddonManifestAppliedFailed", message)
    return None


def _health(stored: Work) -> list[Condition]:
    """What the cluster's side reports of the agent's Deployment; it says so itself when the cluster is gone, by `Available`."""
    feedback = stored.feedback
    match feedback.get("available"):
        case "True":
            return [Condition(DEGRADED, "False", "AgentRuns", "the agent's Deployment is available")]
        case "False" if feedback.get("rollout") in _SETTLED:
            why = feedback.get("problem") or feedback.get("progress") or "it does not say why"
            message = f"the agent's Deployment {names.AGENT_DEPLOYMENT} is not available on the managed cluster: {why}"
            return [Condition(DEGRADED, "True", "AgentNotAvailable", message[:1000])]
    return []
