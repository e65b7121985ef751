"""What must be written where for one ManagedServiceAccount on many clusters."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from msa.api import names
from msa.api.durations import rfc3339
from msa.api.fleet_identity import FanOutSpec, FanOutStatus, FleetIdentity, PlacementRef, Rollout
from msa.api.managedserviceaccount import Rotation
from msa.api.meta import Condition, ObjectMeta
from msa.policy import fanout
from msa.policy.fanout import PATIENCE, Health, Held, Verdict
from tests.conftest import START

LABELS = {names.LABEL_ORIGIN_NAMESPACE: "team", names.LABEL_ORIGIN_UID: "origin-uid"}
NOBODY: frozenset[str] = frozenset()


def _origin(spec: FanOutSpec = FanOutSpec(), **labels: str) -> FleetIdentity:  # noqa: B008 - a frozen value
    metadata = ObjectMeta(
        name="robot", namespace="team", uid="origin-uid", generation=7, labels=labels or None
    )
    return FleetIdentity(metadata, spec)


def _child(cluster: str, *, at: datetime = START, status: str = "", **changes: Any) -> FleetIdentity:
    """As it was made, and what the agent says of it."""
    metadata = ObjectMeta(
        name="robot",
        namespace=cluster,
        uid=cluster,
        generation=3,
        labels=LABELS,
        annotations={names.ANNOTATION_ROLLED_OUT: rfc3339(at)},
    )
    ready = (Condition("Ready", status, "R", "m", at, 3),) if status else ()
    return replace(FleetIdentity(metadata, status=FanOutStatus(conditions=ready)), **changes)


def _labelled(child: FleetIdentity, **labels: str | None) -> FleetIdentity:
    left = {key: value for key, value in {**LABELS, **labels}.items() if value is not None}
    return replace(child, metadata=replace(child.metadata, labels=left))


def _most(concurrent: int | str) -> FanOutSpec:
    return FanOutSpec(rollout=Rollout(concurrent))


ALL = _most("100%")


def _plan(
    origin: FleetIdentity,
    clusters: str,
    *stored: FleetIdentity,
    held: Held = Held(),  # noqa: B008 - a frozen value
    now: datetime = START,
) -> fanout.Plan:
    there = {item.metadata.namespace: item for item in stored}
    return fanout.plan(origin, clusters.split(), there, held, now)


def test_every_cluster_without_a_child_gets_one() -> None:
    found = _plan(_origin(ALL), "c1 c2 c3", _child("c2", status="True"))
    assert (found.create, found.rewrite, found.later) == (("c1", "c3"), (), NOBODY)


def test_a_child_that_says_what_its_origin_says_is_let_be() -> None:
    assert fanout.follows(_child("c1"), _origin())


OTHER = FanOutSpec(rotation=Rotation("24h"))


@pytest.mark.parametrize(
    "edited",
    [
        replace(_child("c1"), spec=OTHER),
        replace(_child("c1"), spec=FanOutSpec(audiences=("x",))),
        replace(_child("c1"), spec=FanOutSpec(ttl_seconds_after_creation=60)),
        replace(_child("c1"), spec=FanOutSpec(placement_ref=PlacementRef("p"))),
        replace(_child("c1"), spec=_most(1)),
        _labelled(_child("c1"), **{names.LABEL_ORIGIN_UID: None}),
        _labelled(_child("c1"), **{names.LABEL_ORIGIN_NAMESPACE: None}),
        _labelled(_child("c1"), **{names.LABEL_ORIGIN_UID: "of an earlier one"}),
        _labelled(_child("c1"), **{names.LABEL_SYNC_TO_PROFILE: "true"}),
    ],
    ids=["validity", "audiences", "ttl", "placement", "rollout", "no uid", "no namespace", "uid", "synced"],
)
def test_a_child_that_was_altered_is_put_back(edited: FleetIdentity) -> None:
    assert _plan(_origin(), "c1", edited).rewrite == (edited,)


def test_children_are_copied_to_cluster_profiles_where_their_origin_says_so() -> None:
    origin = _origin(FanOutSpec(), **{names.LABEL_SYNC_TO_PROFILE: "true"})
    assert fanout.child_body(origin, "c1", START)["metadata"]["labels"][names.LABEL_SYNC_TO_PROFILE] == "true"
    assert not fanout.follows(_child("c1"), origin)
    assert fanout.follows(_labelled(_child("c1"), **{names.LABEL_SYNC_TO_PROFILE: "true"}), origin)


def test_a_new_child_asks_for_the_same_token_and_has_no_life_of_its_own() -> None:
    spec = FanOutSpec(
        rotation=Rotation("1h"),
        audiences=("a", "b"),
        ttl_seconds_after_creation=60,
        placement_ref=PlacementRef(),
    )
    assert fanout.child_body(_origin(spec), "c1", START) == {
        "apiVersion": "authentication.open-cluster-management.io/v1beta1",
        "kind": "ManagedServiceAccount",
        "metadata": {
            "name": "robot",
            "namespace": "c1",
            "labels": LABELS,
            "annotations": {
                names.ANNOTATION_ROLLED_OUT: "2026-01-01T00:00:00Z",
                names.ANNOTATION_ORIGIN_GENERATION: "7",
            },
        },
        "spec": {"rotation": {"validity": "1h"}, "audiences": ("a", "b")},
    }


def test_what_was_added_to_a_child_by_hand_is_taken_away() -> None:
    changes = fanout.child_changes(_origin(), START)
    assert changes["spec"] == {
        "rotation": {"validity": "8640h0m0s"},
        "audiences": None,
        "ttlSecondsAfterCreation": None,
        "placementRef": None,
        "rollout": None,
    }
    assert changes["metadata"]["labels"] == {**LABELS, names.LABEL_SYNC_TO_PROFILE: None}


def test_a_foreign_object_of_that_name_is_left_alone_and_named() -> None:
    foreign = replace(_child("c1"), metadata=ObjectMeta(name="robot", namespace="c1"))
    found = _plan(_origin(ALL), "c1 c2", foreign)
    assert (found.create, found.rewrite, found.foreign) == (("c2",), (), (foreign,))
    verdict = fanout.conflict(foreign, _origin())
    assert verdict.reason == "ManagedServiceAccountConflict"
    assert "ManagedServiceAccount c1/robot exists and does not belong to team/robot" in verdict.message
    assert "kubectl label --overwrite -n c1 msa robot " in verdict.message


def test_a_child_of_another_namespace_is_foreign_and_its_owner_is_named() -> None:
    theirs = _labelled(
        _child("c1"), **{names.LABEL_ORIGIN_NAMESPACE: "others", names.LABEL_ORIGIN_UID: "other-uid"}
    )
    assert _plan(_origin(), "c1", theirs).foreign == (theirs,)
    assert (
        "exists and belongs to ManagedServiceAccount others/robot"
        in fanout.conflict(theirs, _origin()).message
    )


def test_a_child_on_its_way_out_is_waited_for() -> None:
    child = _child("c1")
    leaving = replace(child, metadata=replace(child.metadata, deletion_timestamp=START), spec=OTHER)
    found = _plan(_origin(), "c1", leaving)
    assert (found.create, found.rewrite) == ((), ())


def test_a_cluster_that_could_not_be_written_takes_nobodys_turn() -> None:
    found = _plan(_origin(_most(1)), "c1 c2", held=Held(frozenset({"c1"})))
    assert (found.create, found.later) == (("c2",), NOBODY)


@pytest.mark.parametrize(
    ("most", "clusters", "expected"),
    [
        (3, 100, 3),
        (0, 100, 1),
        ("25%", 100, 25),
        ("25%", 5, 2),
        ("25%", 1, 1),
        ("1%", 2000, 20),
        ("100%", 7, 7),
        ("300%", 8, 8),
        ("25%", 0, 1),
        ("a lot", 100, 25),
        ("9" * 5000 + "%", 100, 25),
        (10**30, 100, 10**30),
    ],
)
def test_concurrency_is_a_number_or_a_share_rounded_up(most: int | str, clusters: int, expected: int) -> None:
    assert fanout.concurrency(_most(most), clusters) == expected


def test_no_more_clusters_are_changed_than_are_allowed_to_be_not_ready() -> None:
    origin = _origin(_most(2))
    assert _plan(origin, "c1 c2 c3").create == ("c1", "c2")
    first = _plan(origin, "c1 c2 c3", _child("c1"), _child("c2"))
    assert (first.create, first.later, first.due) == ((), frozenset({"c3"}), START + PATIENCE)
    then = _plan(origin, "c1 c2 c3", _child("c1", status="True"), _child("c2"))
    assert (then.create, then.later, then.due) == (("c3",), NOBODY, None)


def test_a_cluster_that_fails_holds_up_the_others_for_ten_minutes_and_no_longer() -> None:
    origin, dead = _origin(_most(1)), _child("c1", status="False")
    assert _plan(origin, "c1 c2", dead, now=START + PATIENCE - timedelta(seconds=1)).create == ()
    assert _plan(origin, "c1 c2", dead, now=START + PATIENCE).create == ("c2",)


def test_a_change_of_the_origin_goes_to_the_clusters_in_the_same_steps() -> None:
    children = [_child(name, status="True") for name in ("c1", "c2", "c3")]
    found = _plan(_origin(FanOutSpec(rotation=Rotation("24h"), rollout=Rollout(2))), "c1 c2 c3", *children)
    assert [item.metadata.namespace for item in found.rewrite] == ["c1", "c2"]
    assert found.later == {"c3"}


def test_what_somebody_edited_is_put_back_though_no_place_is_free() -> None:
    """It had the change already; only the next change has to wait for its turn."""
    said = {names.ANNOTATION_ROLLED_OUT: rfc3339(START), names.ANNOTATION_ORIGIN_GENERATION: "7"}
    metadata = replace(_child("c2").metadata, annotations=said)
    edited = replace(_child("c2"), metadata=metadata, spec=OTHER)
    found = _plan(_origin(_most(1)), "c1 c2 c3", _child("c1"), edited)
    assert (found.rewrite, found.create, found.later) == ((edited,), (), frozenset({"c3"}))
    older = replace(
        edited, metadata=replace(metadata, annotations={**said, names.ANNOTATION_ORIGIN_GENERATION: "6"})
    )
    assert _plan(_origin(_most(1)), "c1 c2", _child("c1"), older).later == {"c2"}


@pytest.mark.parametrize("forged", ["9999-12-31T23:59:59Z", "2500-01-01T00:00:00Z", "soon", ""])
def test_a_time_that_a_tenant_wrote_holds_up_nobody(forged: str) -> None:
    child = _child("c1")
    lying = replace(
        child, metadata=replace(child.metadata, annotations={names.ANNOTATION_ROLLED_OUT: forged})
    )
    assert _plan(_origin(_most(1)), "c1 c2", lying).create == ("c2",)


def test_a_cluster_that_may_have_the_change_already_holds_its_place() -> None:
    """Else a watch that lags would let a bad change through to the whole fleet, as conflict upon conflict."""
    unclear = frozenset({"c1", "c2"})
    found = _plan(_origin(_most(2)), "c1 c2 c3 c4", held=Held(unclear, unclear))
    assert (found.create, found.later) == ((), frozenset({"c3", "c4"}))


def _rolled(cluster: str, at: datetime) -> FleetIdentity:
    child = _child(cluster)
    return replace(
        child, metadata=replace(child.metadata, annotations={names.ANNOTATION_ROLLED_OUT: rfc3339(at)})
    )


def test_a_cluster_that_writes_anew_when_it_was_rolled_out_holds_its_place_no_longer() -> None:
    origin, later = _origin(_most(1)), START + timedelta(minutes=9)
    held = Held(since={"c1": START})
    assert _plan(origin, "c1 c2", _rolled("c1", later), held=held, now=later).create == ()
    ended = _plan(origin, "c1 c2", _rolled("c1", later), held=held, now=START + PATIENCE)
    assert ended.create == ("c2",)
    assert ended.holding == {"c2"}


def test_after_a_restart_a_cluster_may_hold_its_place_once_more_and_what_it_holds_is_told() -> None:
    first = _plan(_origin(_most(1)), "c1 c2", _rolled("c1", START))
    assert (first.create, first.due) == ((), START + PATIENCE)
    assert first.holding == {"c1"}
    assert _plan(_origin(_most(2)), "c1 c2 c3").holding == {"c1", "c2"}


def test_a_cluster_that_always_writes_first_holds_its_place_no_longer_than_any_other() -> None:
    unclear = frozenset({"c1"})
    held = Held(unclear, unclear, {"c1": START})
    assert _plan(_origin(_most(1)), "c1 c2", held=held).create == ()
    assert _plan(_origin(_most(1)), "c1 c2", held=held, now=START + PATIENCE).create == ("c2",)


def test_what_somebody_edited_is_named_as_users_know_it() -> None:
    edited = replace(_child("c1"), spec=FanOutSpec(rotation=Rotation("24h"), ttl_seconds_after_creation=5))
    edited = _labelled(edited, **{names.LABEL_ORIGIN_UID: None})
    assert fanout.edits(edited, _origin()) == [
        "spec.rotation",
        "spec.ttlSecondsAfterCreation",
        f"label {names.LABEL_ORIGIN_UID}",
    ]
    assert fanout.edits(_child("c1"), _origin()) == []


@given(
    states=st.dictionaries(
        st.sampled_from([f"c{number}" for number in range(12)]),
        st.sampled_from(["absent", "fresh", "failing", "ready", "outdated", "foreign"]),
        min_size=1,
    ),
    most=st.integers(1, 6),
)
def test_at_any_time_at_most_so_many_are_changed_and_not_ready(states: dict[str, str], most: int) -> None:
    made: dict[str, Callable[[str], FleetIdentity]] = {
        "fresh": _child,
        "failing": lambda name: _child(name, status="False"),
        "ready": lambda name: _child(name, status="True"),
        "outdated": lambda name: replace(_child(name, status="True"), spec=OTHER),
        "foreign": lambda name: replace(_child(name), metadata=ObjectMeta(name="robot", namespace=name)),
    }
    stored = {name: made[state](name) for name, state in states.items() if state != "absent"}
    found = fanout.plan(_origin(_most(most)), states, stored, Held(), START)
    before = sum(state in ("fresh", "failing") for state in states.values())
    changed = len(found.create) + len(found.rewrite)
    assert changed <= max(0, most - before)
    behind = sum(state in ("absent", "outdated") for state in states.values())
    assert changed + len(found.later) == behind
    assert changed == min(behind, max(0, most - before))


def _said(kind: str, status: str, generation: int = 3) -> Condition:
    return Condition(kind, status, "Why", "what", START, generation)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ((), Verdict(Health.WAITING)),
        ((_said("Ready", "True"),), Verdict(Health.READY)),
        ((_said("Ready", "False"),), Verdict(Health.FAILING, "Why", "what")),
        ((_said("Ready", "True", 2),), Verdict(Health.WAITING)),
        ((_said("Ready", "False", 2),), Verdict(Health.WAITING)),
        ((_said("TokenReported", "True", 0),), Verdict(Health.READY)),
        ((_said("TokenReported", "False", 0),), Verdict(Health.FAILING, "Why", "what")),
        ((_said("TokenReported", "True"), _said("Ready", "False")), Verdict(Health.FAILING, "Why", "what")),
        ((_said("SecretCreated", "True"),), Verdict(Health.WAITING)),
    ],
)
def test_a_child_fares_as_its_agent_says(conditions: tuple[Condition, ...], expected: Verdict) -> None:
    assert fanout.judge(replace(_child("c1"), status=FanOutStatus(conditions=conditions)), START) == expected


def test_a_token_that_nobody_renewed_is_no_good_token() -> None:
    status = FanOutStatus(conditions=(_said("Ready", "True"),), expiration_timestamp=START)
    dead = replace(_child("c1"), status=status)
    assert fanout.judge(dead, START - timedelta(seconds=1)).health is Health.READY
    assert fanout.judge(dead, START) == Verdict(
        Health.FAILING,
        "TokenExpired",
        "the token expired at 2026-01-01T00:00:00Z and the agent on the cluster has not renewed it",
    )
