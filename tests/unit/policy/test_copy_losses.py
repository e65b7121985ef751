"""What takes copies of credentials away, and how soon: each line of the table."""

from typing import Any

import pytest
from attrs import evolve
from msgspec.structs import replace

from msa.api.cluster import ClusterSpec
from msa.api.clusterprofile import ClusterProfile
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.api.meta import Condition
from msa.hub.profile_ingest import keep_secret
from msa.policy.copy_losses import REMOVALS, Loss, Removal, losses, removal_of
from msa.policy.profiles import Situation
from tests.conftest import START
from tests.support.fleet import cluster, with_
from tests.support.profiles import COPY, IDENTITY, PROFILE, SOURCE, SYNC

KEPT = keep_secret(COPY)
WELL = Situation(
    cluster="c1",
    name="argocd",
    identity=IDENTITY,
    member=cluster(),
    source=keep_secret(SOURCE),
    profiles=(PROFILE,),
    copies=(KEPT,),
)


def _ready(status: str, reason: str) -> FleetIdentity:
    return replace(IDENTITY, status=FanOutStatus(conditions=(Condition("Ready", status, reason),)))


def _labelled(**labels: str) -> tuple[ClusterProfile]:
    return (with_(PROFILE, labels={**(PROFILE.metadata.labels or {}), **labels}),)


AT_ONCE: list[tuple[Loss, dict[str, Any]]] = [
    (Loss.NOT_ASKED_FOR, {"identity": with_(IDENTITY, labels=None)}),
    (Loss.NOT_ASKED_FOR, {"identity": with_(IDENTITY, labels={SYNC: "false"})}),
    (Loss.NOT_ASKED_FOR, {"identity": with_(IDENTITY, deletion_timestamp=START)}),
    (Loss.NOT_ASKED_FOR, {"identity": None, "identity_deleted": True}),
    (Loss.ENDED, {"identity": _ready("False", "TokenExpired")}),
    (Loss.ENDED, {"identity": _ready("False", "AddonRemoved")}),
    (Loss.DETACHED, {"member": replace(cluster(), spec=ClusterSpec(hub_accepts_client=False))}),
    (Loss.DETACHED, {"member": cluster(deletion_timestamp=START)}),
    (Loss.DETACHED, {"member": None, "cluster_deleted": True}),
    (Loss.FOREIGN, {"foreign": frozenset({"argo"})}),
    (Loss.OTHER_PROFILE, {"profiles": (with_(PROFILE, uid="another-profile-of-that-name"),)}),
    (Loss.OTHER_PROFILE, {"profiles": (with_(PROFILE, deletion_timestamp=START),)}),
    (Loss.OTHER_PROFILE, {"profiles": (with_(PROFILE, labels=None),)}),
    (Loss.OTHER_PROFILE, {"profiles": _labelled(**{"x-k8s.io/cluster-manager": "x"})}),
    (Loss.OTHER_PROFILE, {"profiles": _labelled(**{"open-cluster-management.io/cluster-name": "c2"})}),
]
CHECKED: list[tuple[Loss, dict[str, Any]]] = [
    (Loss.IDENTITY_MISSING, {"identity": None}),
    (Loss.NOT_BOUND, {"unbound": frozenset({"argo"})}),
]
NEVER: list[tuple[Loss, dict[str, Any]]] = [
    (Loss.CLUSTER_MISSING, {"member": None}),
    (Loss.PROFILE_MISSING, {"profiles": ()}),
    (Loss.PROFILE_MISSING, {"profiles": None}),
]
ROWS = [
    *((loss, changes, Removal.AT_ONCE) for loss, changes in AT_ONCE),
    *((loss, changes, Removal.CHECKED) for loss, changes in CHECKED),
    *((loss, changes, Removal.NEVER) for loss, changes in NEVER),
]


@pytest.mark.parametrize(("loss", "changes", "removal"), ROWS, ids=lambda value: str(value)[:40])
def test_a_copy_goes_at_once_for_what_is_certain_is_checked_for_what_is_missing_and_else_left_to_its_profile(
    loss: Loss, changes: dict[str, Any], removal: Removal
) -> None:
    found = losses(evolve(WELL, **changes), KEPT)
    assert found == {loss}
    assert removal_of(found) is removal


def test_each_loss_has_its_line() -> None:
    assert {loss for loss, _, _ in ROWS} == set(REMOVALS) == set(Loss)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"identity": _ready("Unknown", "AgentUnavailable")},
        {"identity": _ready("False", "SecretContested")},
        {"source": None},
        {"unbound": None},
        {"foreign": frozenset({"c2"}), "unbound": frozenset({"fleet"})},
    ],
    ids=lambda value: str(value)[:40],
)
def test_nothing_takes_away_a_copy_that_belongs(changes: dict[str, Any]) -> None:
    assert losses(evolve(WELL, **changes), KEPT) == frozenset()


def test_of_several_losses_the_most_certain_counts() -> None:
    everything_missing = evolve(WELL, identity=None, member=None, profiles=(), unbound=None)
    assert removal_of(losses(everything_missing, KEPT)) is Removal.CHECKED
    assert (
        removal_of(losses(evolve(everything_missing, foreign=frozenset({"argo"})), KEPT)) is Removal.AT_ONCE
    )
