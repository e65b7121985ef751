"""docs/reference/events.md, from what the programs' own telemetry says when it is told all that it may be told."""

from datetime import UTC, datetime

from attrs import frozen
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from hack.reference.reasons import (
    Outcome,
    addon_outcomes,
    fan_out_outcomes,
    manager_outcomes,
    renewals,
    troubles,
)
from hack.reference.text import code, codes, page, paragraph, section, table
from hack.reference.words import (
    ADDON_EVENTS,
    IDENTITY_EVENTS,
    MANAGER,
    PROFILE_EVENTS,
    RENEWALS,
    REQUEST_EVENTS,
    explained,
)
from msa.agent.telemetry import Telemetry as AgentTelemetry
from msa.api import addon, names
from msa.api.addon import ManagedClusterAddOn
from msa.api.certificates import SigningRequest
from msa.api.fleet_identity import FleetIdentity
from msa.api.managedserviceaccount import ManagedServiceAccount
from msa.api.meta import Condition, ObjectMeta
from msa.hub.fanout_observer import FanOutTelemetry
from msa.hub.profile_telemetry import ProfileTelemetry
from msa.hub.readiness_telemetry import ReadinessTelemetry
from msa.hub.telemetry import Telemetry as ManagerTelemetry
from msa.policy import doubts, profiles, rotation, status
from msa.policy.doubts import Doubt
from msa.policy.profiles import Rejection
from msa.policy.readiness import READY
from msa.policy.status import Trouble
from msa.runtime.metrics import Metrics
from msa.runtime.recorder import EventRecorder, ObjectReference

_INTRO = """\
`kubectl describe` shows them with the object. All are on the hub; repeated ones are counted up within ten minutes, and at most ten a
second are sent: an Event may be missing, the condition that it tells of is not."""

_IDENTITY = """\
From the agent, in the cluster's namespace. Besides these, each reason for which `Ready` is False comes as a Warning when it begins;
[conditions.md](conditions.md) tells what to do:"""

_RENEWALS = """\
The messages of `TokenIssued` and `Repaired` begin with one of these words, which are also the label `reason` of `msa_rotations_total`
and `kind` of `msa_repairs_total`:"""

_FAN_OUT = """\
From the manager, of one in a namespace that ManagedClusterSets are bound to: `FannedOut` (Normal) says on how many clusters it was created
or changed, `Withdrawn` (Normal) from how many it was removed, and why, `RemovalHeld` (Warning) from how many it would be removed though nobody saw why
([MsaRemovalsHeld](../runbooks/MsaRemovalsHeld.md)). `EditReverted` (Warning), on a child, names what somebody had edited in it. Besides, each reason of its condition `Ready` comes when it begins, as a Warning where something is to be done:"""

_PROFILES = """\
From the manager, with the feature gate ClusterProfile, once for each cause ([clusterprofile.md](../clusterprofile.md) tells what to do). Without the gate, a label that asks for copies is told by a Warning `FieldsIgnored`, as
are `spec.placementRef` and `spec.rollout` in a managed cluster's namespace. On a ClusterProfile, `RemovalHeld` (Warning) says that copies or `accessProviders` would be
deleted with most others though nobody saw why ([MsaRemovalsHeld](../runbooks/MsaRemovalsHeld.md)):"""

_READY = """\
From the manager, when it writes `Ready` because the agent cannot ([who writes Ready](../operations.md#who-writes-ready)); a Normal one,
with the agent's own reason, when that holds again: `TokenFresh` where the token is good."""

_ADDON = """\
From the manager, in the cluster's namespace, when a condition is another than before; [conditions.md](conditions.md) tells what they
mean and what to do."""

_AGENTS = """\
From the agent, in the cluster's namespace (`kubectl get events -n CLUSTER`):"""

_REQUEST = """\
From the manager, in the namespace `default`, since a CertificateSigningRequest has none: `kubectl describe csr NAME` shows them, and so does
`kubectl get events -n default`. A request
that is in doubt is left undecided, not denied: whoever may do that can still `kubectl certificate approve` or `deny` it. The message
says what was found and what is wanted. A manager that starts does not record it again. The reasons are also the label `reason` of `msa_csr_decisions_total`.

The cluster's registration agent makes good requests by itself. So where the table says nothing else to do: see who made this one
(`spec.username`), and why. What is said of a cluster or its addon is normal while the cluster joins: the request is looked at again
when that changes."""


@frozen(order=True)
class Told:
    """An Event, as far as it does not depend on names and times."""

    kind: str
    type: str
    reason: str


class Listener(EventRecorder):
    """Hears Events and sends none."""

    def __init__(self) -> None:
        self.heard: list[Told] = []

    def record(
        self,
        regarding: ObjectReference,
        type_: str,
        reason: str,
        message: str,  # noqa: ARG002 - of the Event itself, which nobody reads here
        *,
        lasting: bool = False,  # noqa: ARG002 - as above
    ) -> None:
        self.heard.append(Told(regarding.kind, type_, reason))


def events() -> str:
    return page(
        "Events",
        "the programs' telemetry and hack/reference/words.py",
        _INTRO,
        section("On a ManagedServiceAccount", *_of_identities()),
        section("On a ManagedServiceAccount whose agent cannot report", *_of_readiness()),
        section("On a ManagedServiceAccount that is fanned out", *_of_fan_out()),
        section("On a ManagedServiceAccount that is copied to ClusterProfiles", *_of_profiles()),
        section("On a ManagedClusterAddOn", _ADDON, _of_addons(), _AGENTS, _of_agents()),
        section("On a CertificateSigningRequest", _REQUEST, _of_requests()),
    )


def told() -> list[Told]:
    """All Events that the programs may send, those of the fan-out apart."""
    listener = Listener()
    with capture_logs():  # or it would log what never happened
        _tell_of_identities(AgentTelemetry(Metrics(CollectorRegistry()), listener, ""))
        manager = ManagerTelemetry(Metrics(CollectorRegistry()), listener, addon.V1BETA1)
        for outcome in sorted(addon_outcomes()):
            _tell_of_addon(manager, outcome)
        _tell_of_requests(manager)
    return list(dict.fromkeys(listener.heard))


def _tell_of_identities(agent: AgentTelemetry) -> None:
    identity = ManagedServiceAccount(ObjectMeta())
    for reason in renewals():
        agent.issued(identity, reason, "", 0.0)
        agent.repaired(identity, reason, "")
    agent.adopted(identity, str(rotation.Reason.ADOPTED), "")
    for type_ in (status.LIFETIME_SHORTENED, status.TTL_IGNORED):
        agent.limited(identity, type_, "")
    agent.held(0, 0, datetime(2026, 1, 1, tzinfo=UTC))
    for reason in sorted(troubles()):
        agent.failed(identity, Trouble(reason, ""), quietly=False)
        agent.refused(identity, Trouble(reason, ""), quietly=False)


def _tell_of_addon(manager: ManagerTelemetry, outcome: Outcome) -> None:
    condition = Condition(outcome.type, outcome.status, outcome.reason)
    manager.condition(ManagedClusterAddOn(ObjectMeta()), condition)


def _tell_of_requests(manager: ManagerTelemetry) -> None:
    manager.approved(SigningRequest(ObjectMeta()))
    for reason in doubts.Reason:
        manager.doubted(SigningRequest(ObjectMeta()), Doubt(reason, ""), logged=False)


def _of_identities() -> tuple[str, ...]:
    heard = [event for event in told() if event.kind == names.KIND]
    types = {event.reason: event.type for event in heard if event.reason not in troubles()}
    return (
        table(
            ("reason", "type", "meaning"),
            [
                (code(reason), types[reason], entry.meaning)
                for reason, entry in explained(types, IDENTITY_EVENTS)
            ],
        ),
        paragraph(f"{_IDENTITY} {codes(event.reason for event in heard if event.reason in troubles())}."),
        _RENEWALS,
        table(
            ("word", "meaning"),
            [(code(word), entry.meaning) for word, entry in explained(renewals(), RENEWALS)],
        ),
    )


def _of_readiness() -> tuple[str, ...]:
    listener = Listener()
    with capture_logs():
        telemetry = ReadinessTelemetry(Metrics(CollectorRegistry()), listener)
        for outcome in sorted(manager_outcomes()):
            telemetry.changed(
                FleetIdentity(ObjectMeta()), Condition(outcome.type, outcome.status, outcome.reason)
            )
    types = {event.reason: event.type for event in listener.heard}
    rows = [
        (code(word), types[word], entry.meaning, entry.remedy) for word, entry in explained(types, MANAGER)
    ]
    return _READY, table(("reason", "type", "meaning", "what to do"), rows)


def _of_fan_out() -> tuple[str, ...]:
    listener = Listener()
    origin = FleetIdentity(ObjectMeta())
    with capture_logs():
        telemetry = FanOutTelemetry(Metrics(CollectorRegistry()), listener)
        for outcome in sorted(fan_out_outcomes()):
            if outcome.type == READY:
                telemetry.condition(origin, Condition(outcome.type, outcome.status, outcome.reason))
    rows = [(code(event.reason), event.type) for event in sorted(listener.heard)]
    return _FAN_OUT, table(("reason", "type"), rows)


def _of_profiles() -> tuple[str, ...]:
    listener = Listener()
    with capture_logs():
        telemetry = ProfileTelemetry(Metrics(CollectorRegistry()), listener)
        for reason in profiles.Reason:
            telemetry.refused(FleetIdentity(ObjectMeta()), Rejection(reason, ""), repeated=False)
    types = {event.reason: event.type for event in listener.heard}
    rows = [(code(word), types[word], entry.meaning) for word, entry in explained(types, PROFILE_EVENTS)]
    return _PROFILES, table(("reason", "type", "meaning"), rows)


def _of_addons() -> str:
    types = {event.reason: event.type for event in told() if event.kind == addon.MANAGED_CLUSTER_ADDON}
    return table(
        ("reason", "type", "condition"),
        [
            (code(outcome.reason), types[outcome.reason], f"`{outcome.type}` is {outcome.status}")
            for outcome in sorted(addon_outcomes())
        ],
    )


def _of_agents() -> str:
    heard = {event.reason: event.type for event in told() if event.kind == addon.MANAGED_CLUSTER_ADDON}
    types = {reason: heard[reason] for reason in ADDON_EVENTS}
    rows = [(code(reason), types[reason], entry.meaning) for reason, entry in explained(types, ADDON_EVENTS)]
    return table(("reason", "type", "meaning"), rows)


def _of_requests() -> str:
    types = {event.reason: event.type for event in told() if event.kind == "CertificateSigningRequest"}
    return table(
        ("reason", "type", "meaning", "what to do"),
        [
            (code(reason), types[reason], entry.meaning, entry.remedy)
            for reason, entry in explained(types, REQUEST_EVENTS)
        ],
    )
