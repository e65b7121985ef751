from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from msa.api.cluster import ClusterSpec
from msa.policy import installation
from msa.policy.installation import Install, LeaveAlone, Part, Situation, Withdraw
from tests.support.builders import START
from tests.support.fleet import addon, cluster, fleet_addon, with_

WANTED = Situation(cluster(), addon(), fleet_addon())
SECOND = timedelta(seconds=1)
FIVE_MINUTES = timedelta(minutes=5)


def _gone(item: Any) -> Any:
    return with_(item, deletion_timestamp=START)


def test_an_accepted_cluster_with_the_fleets_addon_gets_the_agent() -> None:
    assert installation.verdict(WANTED) == Install(cluster(), addon())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"addon": None}, "the addon is removed from the cluster"),
        ({"addon": _gone(addon())}, "the addon is removed from the cluster"),
        ({"fleet": None}, "the addon is removed from the fleet"),
        ({"fleet": _gone(fleet_addon())}, "the addon is removed from the fleet"),
        ({"cluster": None}, "the cluster is removed"),
        ({"cluster": _gone(cluster())}, "the cluster is removed"),
        ({"cluster": with_(cluster(), spec=ClusterSpec())}, "the cluster is not accepted"),
        ({"addon": None, "fleet": None, "cluster": None}, "the addon is removed from the cluster"),
        (
            {"addon": with_(addon(), owner_references=()), "cluster": None},
            "the cluster is removed",
        ),
    ],
)
def test_the_agent_must_go_where_any_of_them_is_gone_going_or_not_accepted(
    changes: dict[str, Any], why: str
) -> None:
    seen = evolve(WANTED, deleted=frozenset(Part), **changes)
    assert installation.verdict(seen) == Withdraw(why)


@pytest.mark.parametrize("missing", ["addon", "fleet", "cluster"])
def test_from_what_is_missing_and_was_not_seen_being_deleted_nothing_follows(missing: str) -> None:
    absent: dict[str, Any] = {missing: None}
    found = installation.verdict(evolve(WANTED, **absent))
    assert isinstance(found, LeaveAlone)
    assert "nobody saw it being deleted" in found.why


def test_what_was_seen_being_deleted_counts_whatever_else_is_missing() -> None:
    seen = Situation(None, None, None, frozenset((Part.CLUSTER,)))
    assert installation.verdict(seen) == Withdraw("the cluster is removed")


def test_an_addon_that_is_not_the_fleets_is_neither_installed_nor_removed() -> None:
    assert isinstance(
        installation.verdict(evolve(WANTED, addon=with_(addon(), owner_references=()))), LeaveAlone
    )
