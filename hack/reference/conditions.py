"""docs/reference/conditions.md, from the conditions that the code may write."""

from collections.abc import Iterable, Mapping

from hack.reference.reasons import (
    Outcome,
    addon_outcomes,
    fan_out_outcomes,
    identity_outcomes,
    manager_outcomes,
    troubles,
)
from hack.reference.text import code, page, section, table
from hack.reference.words import ADDON, FAN_OUT, GOOD, MANAGER, TROUBLES, Entry, explained

_IDENTITY = """\
Shown by `kubectl describe msa -n CLUSTER NAME`. The agent writes them; the manager writes `Ready` where the agent cannot
(the second table below). `Ready` sums up. `TokenReported` is the agent's last word, for programs that know it from the addon that
this one replaces; it stays as it is while the manager owns `Ready`. `SecretCreated` stays True while the Secret is there, whatever the trouble
is. `LifetimeShortened` and `TTLIgnored` are there only while they are True.

`FieldsIgnored` is there only while a field or a label has no effect, and names it and the remedy: `ClusterProfileGateOff` and `NotFannedOut`
come from the manager, other reasons from the agent.

The manager adds `ClusterProfileCopyRefused` while a ClusterProfile of the cluster gets no copy of the credential
([clusterprofile.md](../clusterprofile.md#when-no-copy-is-made) has its reasons)."""

_TROUBLES = """\
What `Ready` and `TokenReported` say when they are False, and `SecretCreated` where there is no Secret. The message has the particulars.
What an API server often gets over by itself (`Forbidden...`, `Unauthorized...`, `...Busy`, `...Unreachable`, `ManagedClusterNotReady`) is reported when
it has lasted for some five seconds."""

_MANAGER = """\
What the manager writes into `Ready` where the agent cannot judge ([who writes Ready](../operations.md#who-writes-ready))."""

_FAN_OUT = """\
Of one in a namespace that ManagedClusterSets are bound to ([fan-out.md](../fan-out.md)), written by the manager. `Ready` sums up;
`status.fanOut` has the numbers and names the first failing clusters. Their reasons are those above, besides `TokenExpired` (nobody
renewed it in time: the agent there is away), `ManagedServiceAccountConflict` (one of that name exists and does not belong to this one;
`status.fanOut.failing` says how to adopt it) and the API server's own word where it could not be written (`Forbidden`, say)."""

_ADDON = """\
Written by the manager (in the mode AddOnTemplate by OCM, whose words may differ), shown by
`kubectl describe managedclusteraddon -n CLUSTER managed-serviceaccount`. OCM adds its own: `Available` is what
`kubectl get managedclusteraddon` shows, and comes from the agent's heartbeat. No condition `ManifestApplied` at all: the cluster's work
agent has not said anything yet. No condition of this table at all: the addon is not OCM's to roll out yet (see its ownerReference), or
the manager does not run."""


def conditions() -> str:
    identities = identity_outcomes()
    good = [outcome for outcome in identities if outcome.reason not in troubles()]
    return page(
        "Conditions",
        "the code and hack/reference/words.py",
        section(
            "Of a ManagedServiceAccount",
            _IDENTITY,
            _table(good, GOOD),
            _TROUBLES,
            _troubles(identities),
            _MANAGER,
            _table(manager_outcomes(), MANAGER),
        ),
        section(
            "Of a ManagedServiceAccount that is fanned out", _FAN_OUT, _table(fan_out_outcomes(), FAN_OUT)
        ),
        section("Of a ManagedClusterAddOn", _ADDON, _table(addon_outcomes(), ADDON)),
    )


def _table(outcomes: Iterable[Outcome], words: Mapping[str, Entry]) -> str:
    by_reason = {outcome.reason: outcome for outcome in outcomes}
    return table(
        ("condition", "status", "reason", "meaning", "what to do"),
        [
            (
                code(by_reason[reason].type),
                by_reason[reason].status,
                code(reason),
                entry.meaning,
                entry.remedy,
            )
            for reason, entry in explained(by_reason, words)
        ],
    )


def _troubles(outcomes: Iterable[Outcome]) -> str:
    reasons = {outcome.reason for outcome in outcomes} & troubles()
    return table(
        ("reason", "meaning", "what to do"),
        [(code(reason), entry.meaning, entry.remedy) for reason, entry in explained(reasons, TROUBLES)],
    )
