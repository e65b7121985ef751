"""What the end of the addon has not reached yet, and how that is said."""

from datetime import datetime

import pytest

from msa.api import names
from msa.api.addon import ManagedClusterAddOn
from msa.api.fleet_identity import FanOutStatus, FleetIdentity
from msa.api.meta import Condition, ObjectMeta, OwnerReference
from msa.policy.leaving import Left, goes_with_the_fleets, left, overdue, progress, seconds_for_events
from tests.support.builders import START


def _addon(cluster: str, deleted: datetime | None = None) -> ManagedClusterAddOn:
    return ManagedClusterAddOn(ObjectMeta(namespace=cluster, deletion_timestamp=deleted))


def _identity(*conditions: Condition, deleted: datetime | None = None) -> FleetIdentity:
    metadata = ObjectMeta(namespace="c1", name="robot", deletion_timestamp=deleted)
    return FleetIdentity(metadata, status=FanOutStatus(conditions=conditions))


REPORTED = Condition("TokenReported", "True", "TokenReported")
FRESH = Condition("Ready", "True", "TokenFresh")
UNAVAILABLE = Condition("Ready", "Unknown", "AgentUnavailable")
REMOVED = Condition("Ready", "False", "AddonRemoved")


def test_an_addon_on_its_way_out_is_not_installed_any_more() -> None:
    assert left([_addon("b"), _addon("a"), _addon("c", START)], []) == Left(("a", "b"), ())


@pytest.mark.parametrize(
    ("identity", "waits"),
    [
        (_identity(REPORTED, FRESH), True),
        (_identity(REPORTED, UNAVAILABLE), True),
        (_identity(REPORTED), True),
        (_identity(REPORTED, REMOVED), False),
        (_identity(FRESH), False),
        (_identity(), False),
        (_identity(REPORTED, FRESH, deleted=START), False),
    ],
    ids=["ready", "unknown", "no Ready yet", "told", "fanned out", "never answered for", "being deleted"],
)
def test_one_that_an_agent_has_answered_for_is_waited_for_until_it_reports_that_the_addon_was_removed(
    identity: FleetIdentity, waits: bool
) -> None:
    assert left([], [identity]) == Left((), ("c1/robot",) if waits else ())


FLEET = OwnerReference(kind="ClusterManagementAddOn", name=names.ADDON)


@pytest.mark.parametrize(
    ("owners", "goes"),
    [
        ((FLEET,), True),
        ((), False),
        ((FLEET, OwnerReference(kind="Fleet", name="mine")), False),
        ((OwnerReference(kind="ClusterManagementAddOn", name="cluster-proxy"),), False),
    ],
    ids=["ours", "nobody's", "another's too", "another addon's"],
)
def test_only_what_belongs_to_our_clustermanagementaddon_alone_goes_with_it(
    owners: tuple[OwnerReference, ...], goes: bool
) -> None:
    assert goes_with_the_fleets(ManagedClusterAddOn(ObjectMeta(owner_references=owners))) is goes


def test_progress_counts_what_is_left() -> None:
    assert progress(Left(("a",), ("a/x", "a/y"))) == (
        "waiting for 1 ManagedClusterAddOn to be deleted and for 2 ManagedServiceAccounts to report AddonRemoved"
    )


def test_when_the_time_is_over_it_names_the_first_of_what_is_left() -> None:
    many = tuple(f"c/{number}" for number in range(7))
    assert overdue(Left((), ()), 60) == []
    assert overdue(Left(("a",), many), 60) == [
        "not finished after 60 s; the removal goes on",
        "the ManagedClusterAddOn is not deleted in a",
        (
            "Ready does not report AddonRemoved in c/0, c/1, c/2, c/3, c/4 and 2 more, and may stay True although the token is no "
            "longer valid: the manager did not answer in time"
        ),
    ]


@pytest.mark.parametrize(("reported", "seconds"), [(0, 2.0), (50, 2.0), (80, 5.0), (2000, 15.0)])
def test_the_manager_gets_time_for_an_event_of_each(reported: int, seconds: float) -> None:
    assert seconds_for_events(reported) == seconds
